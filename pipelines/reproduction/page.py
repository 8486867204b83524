"""The page of all results: index.html, one file that opens offline, and results.md."""

import base64
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2

from cryotwin.imaging.atomic import atomic_output
from cryotwin.pipelines.reproduction.experiments import EXPERIMENTS
from cryotwin.pipelines.reproduction.result import Cell, Result
from cryotwin.recovery.report import TEMPLATES

PAGE_FILE, TEXT_FILE = "index.html", "results.md"

_VERDICTS = {True: "holds", False: "does not hold", None: "cannot be told at this size"}


@dataclass(frozen=True)
class Entry:
    """A finished experiment.

    Attributes:
        name: of it.
        facts: of its file: title, source, size, reduction, settings, command, machine, date,
            seconds.
        result: what it found.
        figure: the PNG file.
    """

    name: str
    facts: Mapping[str, Any]
    result: Result
    figure: Path

    @property
    def picture(self) -> str:
        """The figure as a link that holds it."""
        data = base64.b64encode(self.figure.read_bytes()).decode()
        return f"data:image/png;base64,{data}"


def write_page(out: Path, entries: Sequence[Entry]) -> None:
    """Writes both pages, each whole or not at all."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader([Path(__file__).parent / "templates", TEMPLATES]),
        autoescape=jinja2.select_autoescape(["html.j2"]),
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters |= {"cell": format_cell, "verdict": _VERDICTS.get, "stretch": _stretch}
    missing = [each for name, each in EXPERIMENTS.items() if name not in {e.name for e in entries}]
    for name in (PAGE_FILE, TEXT_FILE):
        text = environment.get_template(f"{name}.j2").render(entries=entries, missing=missing)
        with atomic_output(out / name) as temporary:
            temporary.write_text(text, encoding="utf-8")


def format_cell(value: Cell) -> str:
    """Writes a cell of a table: numbers to three digits, a dash where there is nothing."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "-"
    if isinstance(value, str):
        return value
    if isinstance(value, int) or (value == int(value) and abs(value) < 1e6):
        return f"{value:,.0f}"
    return f"{value:.2g}" if abs(value) < 0.01 else f"{value:.3g}"


def _stretch(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    minutes = seconds / 60
    return f"{minutes:.0f} min" if minutes < 120 else f"{minutes / 60:.1f} h"
