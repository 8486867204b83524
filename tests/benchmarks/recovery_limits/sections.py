"""The page that the benchmarks of recovery fill."""

from collections.abc import Sequence
from pathlib import Path

from zoo.pages import write_section

PAGE = "recovery-limits.md"


def write_limits_section(docs: Path, name: str, paragraphs: Sequence[str]) -> None:
    """Puts paragraphs into the section `name` of the page."""
    write_section(docs / PAGE, name, paragraphs, maker="make limits")
