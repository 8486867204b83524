"""A wheel made from the checkout holds all that a user needs, and works away from the checkout."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

SUBPACKAGES = ("imaging", "datasets", "models", "recovery", "pipelines")


@pytest.fixture(scope="module")
def wheel(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Builds a wheel from a copy of the sources, so that the checkout stays as it is."""
    work = tmp_path_factory.mktemp("wheel")
    sources = work / "sources"
    sources.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(repository / name, sources)
    for name in SUBPACKAGES:
        shutil.copytree(
            repository / name, sources / name, ignore=shutil.ignore_patterns("__pycache__")
        )
    pip(
        "wheel",
        "--no-deps",
        "--no-index",
        "--no-build-isolation",
        "--wheel-dir",
        str(work / "dist"),
        str(sources),
    )
    (built,) = (work / "dist").glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Installs the wheel, alone, into an empty folder."""
    target = tmp_path_factory.mktemp("installed")
    pip("install", "--no-deps", "--no-index", "--target", str(target), str(wheel))
    return target


def pip(*arguments: str) -> None:
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def run_outside(target: Path, folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """Runs a command in an unrelated folder, with the installed wheel before all other paths."""
    environment = {**os.environ, "PYTHONPATH": str(target), "TF_CPP_MIN_LOG_LEVEL": "2"}
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


def test_the_wheel_holds_every_source_file_and_every_data_file(
    wheel: Path, repository: Path
) -> None:
    inside = set(zipfile.ZipFile(wheel).namelist())
    expected = {
        f"cryotwin/{path.relative_to(repository).as_posix()}"
        for name in SUBPACKAGES
        for path in (repository / name).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert expected <= inside, f"missing: {sorted(expected - inside)}"
    assert "cryotwin/imaging/bundled/7cfn.cif.gz" in inside
    assert "cryotwin/models/published/7cfn.keras" in inside
    assert "cryotwin/models/published/7cfn.md" in inside
    assert any(name.startswith("cryotwin/recovery/templates/") for name in inside)


def test_the_wheel_holds_nothing_but_the_package(wheel: Path) -> None:
    roots = {name.split("/")[0] for name in zipfile.ZipFile(wheel).namelist()}
    assert {root for root in roots if not root.endswith(".dist-info")} == {"cryotwin"}


def test_the_wheel_carries_licence_and_typing_marker(wheel: Path) -> None:
    inside = zipfile.ZipFile(wheel).namelist()
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in inside)
    for name in SUBPACKAGES:
        assert f"cryotwin/{name}/py.typed" in inside


def test_an_installed_wheel_is_imported_from_where_it_was_installed(
    installed: Path, tmp_path: Path
) -> None:
    code = "import " + ", ".join(f"cryotwin.{name}" for name in SUBPACKAGES)
    code += "\n" + "\n".join(f"print(cryotwin.{name}.__file__)" for name in SUBPACKAGES)
    done = run_outside(installed, tmp_path, sys.executable, "-c", code)
    assert done.returncode == 0, done.stderr
    places = [Path(line).resolve() for line in done.stdout.split()]
    assert len(places) == len(SUBPACKAGES)
    for place in places:
        assert place.is_relative_to(installed.resolve())


def test_an_installed_wheel_reads_its_bundled_structure(installed: Path, tmp_path: Path) -> None:
    code = (
        "from cryotwin.imaging.structures import read_structure\n"
        "print(len(read_structure('7cfn').positions_angstrom))"
    )
    done = run_outside(installed, tmp_path, sys.executable, "-c", code)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 8000


def test_the_console_script_shows_its_help(installed: Path, tmp_path: Path) -> None:
    done = run_outside(installed, tmp_path, str(installed / "bin" / "cryotwin"), "--help")
    assert done.returncode == 0, done.stderr
    for command in ("demo", "generate", "train", "recover", "evaluate", "models"):
        assert command in done.stdout


def test_the_console_script_lists_the_published_estimator(installed: Path, tmp_path: Path) -> None:
    done = run_outside(installed, tmp_path, str(installed / "bin" / "cryotwin"), "models")
    assert done.returncode == 0, done.stderr
    assert "7cfn" in done.stdout


def test_an_installed_wheel_makes_its_dataset_known_to_tfds(
    installed: Path, tmp_path: Path
) -> None:
    code = (
        "import cryotwin.datasets, tensorflow_datasets as tfds\n"
        "builder = tfds.builder('cryotwin_projections/5a1a', data_dir='unused')\n"
        "print(builder.code_path)\n"
        "print(len(builder.url_infos), builder.info.citation[:5], builder.get_metadata().tags[0])"
    )
    done = run_outside(installed, tmp_path, sys.executable, "-c", code)
    assert done.returncode == 0, done.stderr
    place, facts = done.stdout.splitlines()[-2:]
    assert Path(place).resolve().is_relative_to(installed.resolve())
    assert facts == "2 @misc content.data-type.image"
