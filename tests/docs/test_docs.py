"""What README and docs/ say is true of the code: links, commands, names."""

import ast
import importlib
import re
import shlex
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted(
    [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *ROOT.glob("docs/*.md")]
)
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
CODE_SPAN = re.compile(r"`cryotwin ([a-z]+)")

per_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


@cache
def fenced(page: Path, *languages: str) -> list[str]:
    """Gives the code blocks of a page in the given languages."""
    blocks = FENCE.findall(page.read_text(encoding="utf-8"))
    return [text for language, text in blocks if language in languages]


def prose(page: Path) -> str:
    return FENCE.sub("", page.read_text(encoding="utf-8"))


def anchors(page: Path) -> set[str]:
    """Gives the anchors that a page's headings get: lower case, hyphens for spaces."""
    headings = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-") for text in headings}


def command_lines(page: Path) -> list[str]:
    """Gives the shell lines of a page, comments and continuations resolved."""
    lines = "".join(fenced(page, "bash", "sh", "console")).replace("\\\n", " ").splitlines()
    return [line.removeprefix("$ ").strip() for line in lines]


@per_page
def test_every_relative_link_resolves(page: Path) -> None:
    for link in LINK.findall(prose(page)):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{page.name} links to {link}, which is not there"
        if anchor:
            assert anchor in anchors(target), f"{page.name} links to {link}: no such heading"


@per_page
def test_every_command_line_parses(page: Path) -> None:
    from cryotwin.pipelines.command_line import build_parser

    for line in command_lines(page):
        words = shlex.split(line, comments=True)
        if words[:1] != ["cryotwin"]:
            continue
        try:
            build_parser().parse_args(words[1:])
        except SystemExit as stopped:
            pytest.fail(f"{page.name} shows {line!r}: the parser ends with {stopped.code}")


@per_page
def test_every_flag_of_beam_that_is_shown_exists(page: Path) -> None:
    from cryotwin.pipelines.beam_options import resolve_runner, unknown_arguments
    from cryotwin.pipelines.command_line import build_parser

    resolve_runner("DaskRunner")  # Makes its flags known.
    for line in command_lines(page):
        words = shlex.split(line, comments=True)
        if words[:2] in (["cryotwin", "generate"], ["cryotwin", "embed"]):
            flags = build_parser().parse_args(words[1:]).beam_args
            assert not unknown_arguments(flags), f"{page.name} shows {line!r}"


@per_page
def test_every_command_that_is_named_exists(page: Path) -> None:
    from cryotwin.pipelines.command_line import build_parser

    for name in sorted(set(CODE_SPAN.findall(prose(page)))):
        with pytest.raises(SystemExit) as stopped:
            build_parser().parse_args([name, "--help"])
        assert stopped.value.code == 0, f"{page.name} names 'cryotwin {name}'"


@per_page
def test_every_make_target_that_is_shown_exists(page: Path) -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for line in command_lines(page):
        words = shlex.split(line, comments=True)
        if words[:1] == ["make"]:
            assert words[1] in targets, f"{page.name} shows {line!r}"


@per_page
def test_every_name_that_an_example_imports_exists(page: Path) -> None:
    for block in fenced(page, "python"):
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("cryotwin"):
                module = importlib.import_module(str(node.module))
                for alias in node.names:
                    assert hasattr(module, alias.name), f"{node.module} has no {alias.name}"


@pytest.mark.parametrize(
    "row",
    re.findall(r"^\| `(cryotwin\.[\w.]+)", (ROOT / "docs" / "api.md").read_text(), re.MULTILINE),
)
def test_every_function_of_the_api_page_exists(row: str) -> None:
    module, _, name = row.rpartition(".")
    assert hasattr(importlib.import_module(module), name)


def test_the_readme_shows_the_two_commands() -> None:
    lines = [line.split("#")[0].strip() for line in command_lines(ROOT / "README.md")]
    assert "make demo" in lines
    assert "make test" in lines


def test_the_readme_leads_to_every_page_of_the_documentation() -> None:
    links = set(LINK.findall(prose(ROOT / "README.md")))
    for page in (ROOT / "docs").glob("*.md"):
        assert f"docs/{page.name}" in links
