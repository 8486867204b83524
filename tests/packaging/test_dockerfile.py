"""What of the Dockerfile can be checked where there is no container engine."""

import re
import shlex
import tomllib
from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def lines(repository: Path) -> list[list[str]]:
    text = (repository / "Dockerfile").read_text().replace("\\\n", " ")
    return [shlex.split(line) for line in text.splitlines() if line and not line.startswith("#")]


@pytest.fixture(scope="module")
def project(repository: Path) -> dict:
    return tomllib.loads((repository / "pyproject.toml").read_text())


def copied(lines: list[list[str]]) -> set[str]:
    return {name for line in lines if line[0] == "COPY" for name in line[1:-1]}


def test_the_image_has_the_version_of_beam_that_is_pinned(lines, repository):
    version = lines[0][1].split(":")[1]
    assert f"apache-beam=={version}\n" in (repository / "constraints.txt").read_text()


def test_the_python_of_the_image_is_one_that_is_supported(lines, project):
    minor = int(re.search(r"python3\.(\d+)", lines[0][1])[1])
    lowest, highest = map(int, re.findall(r"3\.(\d+)", project["project"]["requires-python"]))
    assert lowest <= minor < highest


def test_what_is_copied_exists_and_is_all_that_an_install_needs(lines, project, repository):
    assert all((repository / name).exists() for name in copied(lines))
    needed = {*project["tool"]["setuptools"]["package-dir"].values(), "pyproject.toml"}
    needed |= {project["project"]["readme"], *project["project"]["license-files"]}
    assert needed | {"constraints.txt"} == copied(lines)


def test_the_entry_point_of_the_base_image_stays(lines):
    assert not {"ENTRYPOINT", "CMD"} & {line[0] for line in lines}
