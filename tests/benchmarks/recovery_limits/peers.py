"""`recover` beside ASPIRE and RELION's InitialModel, on the same images of one protein."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cryotwin.models.model_files import resolve, sha256
from recovery_limits.figures import ErrorPanels, draw_errors_against_noise
from recovery_limits.peer_levels import Level
from recovery_limits.peer_programs import (
    AspireRun,
    OwnRun,
    RelionRun,
    run_aspire,
    run_own,
    run_relion,
)
from recovery_limits.recoveries import digest_of_recovery
from recovery_limits.sections import write_limits_section
from zoo.pages import figure_link, markdown_table, measured_on
from zoo.records import Record, Task, run_tasks

PARTS = ("aspire", "relion", "recover")


def compare_peers(
    cache: Path,
    docs: Path,
    all_levels: Sequence[Level],
    budget_seconds: float,
    relion_share: float,
    parts: Sequence[str],
    only: str | None,
    command: str,
) -> None:
    """Runs the programs `parts` on all levels, and writes table and figure when all have run."""
    code = digest_of_recovery()
    tasks = {
        "aspire": [
            Task(f"aspire-{level.label}-{method}{'-denoised' * denoise}", run_aspire, run)
            for level in all_levels
            for method in ("voting", "lud")
            for denoise in ((False, True) if level.snr is not None else (False,))
            for run in [AspireRun(level, method, denoise)]
        ],
        "relion": [
            Task(f"relion-{level.label}", run_relion, run)
            for level in all_levels
            for run in [RelionRun(level, budget_seconds, relion_share)]
        ],
        "recover": [
            Task(f"recover-{level.label}", run_own, run)
            for level in all_levels
            for name in [level.estimator]
            for run in [OwnRun(level, name, sha256(resolve(name)), code)]
        ],
    }
    records = {
        part: run_tasks(cache, tasks[part]) for part in parts if only is None or part == only
    }
    if only is not None:
        return
    figure = docs / "figures" / "recovery-peers.svg"
    rows = [compared(level, records) for level in all_levels]
    draw_errors_against_noise(figure, [level.name for level in all_levels], panel(rows), "degrees")
    content = [
        figure_link(figure, "Physical error against noise, of three programs"),
        peer_table(rows),
        "All that ASPIRE ran, errors in degrees and seconds:",
        aspire_table(records["aspire"]),
        measured_on([record for part in records.values() for record in part], command),
    ]
    write_limits_section(docs, "peers", content)


def _of_level(records: Sequence[Record], level: Level) -> list[Record]:
    return [record for record in records if record["settings"]["level"]["name"] == level.name]


def compared(level: Level, records: dict[str, list[Record]]) -> dict[str, Any]:
    """Gathers a level's results: ASPIRE's by the best of its methods."""
    aspire = min(_of_level(records["aspire"], level), key=lambda each: each["physical_error_deg"])
    others = {part: _of_level(records[part], level)[0] for part in records if part != "aspire"}
    return {"level": level.name, "aspire": aspire, **others}


def panel(rows: Sequence[dict[str, Any]]) -> ErrorPanels:
    """Arranges the errors for the figure."""
    names = {"aspire": "ASPIRE, best", "relion": "RELION InitialModel", "recover": "recover"}
    curves = {
        name: [(row["level"], row[part]["physical_error_deg"]) for row in rows]
        for part, name in names.items()
        if part in rows[0]
    }
    images = rows[0]["recover"]["settings"]["level"]["images"]
    return {f"{images} images of 5j0n": curves}


def peer_table(rows: Sequence[dict[str, Any]]) -> str:
    """Gives a row for each level: errors in degrees, and seconds."""
    header = ["SNR", "ASPIRE, best of its methods (°)", "which", "s, one core"]
    if "relion" in rows[0]:
        header += ["RELION InitialModel (°)", "s, two cores", "iterations"]
    header += ["`recover` (°)", "s, one core"]
    return markdown_table(header, [_peer_cells(row) for row in rows])


def _peer_cells(row: dict[str, Any]) -> list[str]:
    aspire, own = row["aspire"], row["recover"]
    cells = [row["level"], f"{aspire['physical_error_deg']:.2f}"]
    cells += [_method(aspire), f"{aspire['seconds']:.0f}"]
    if "relion" in row:
        relion = row["relion"]
        cells += [f"{relion['physical_error_deg']:.1f}", f"{relion['seconds']:.0f}"]
        cells += [f"{relion['iteration']}"]
    return [*cells, f"**{own['physical_error_deg']:.2f}**", f"{own['seconds']:.0f}"]


def aspire_table(records: Sequence[Record]) -> str:
    """Gives a row for each level and method of ASPIRE."""
    rows = [
        [
            record["settings"]["level"]["name"],
            _method(record),
            f"{record['physical_error_deg']:.2f}",
            f"{record['physical_median_deg']:.2f}",
            f"{record['seconds']:.0f}",
        ]
        for record in records
    ]
    return markdown_table(["SNR", "method", "mean (°)", "median (°)", "s"], rows)


def _method(record: Record) -> str:
    name = {"voting": "voting", "lud": "LUD"}[record["settings"]["method"]]
    return f"{name}, denoised" if record["settings"]["denoise"] else name
