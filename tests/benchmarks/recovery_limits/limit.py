"""The limit: `recover` without ground truth beside exhaustive matching against the true map."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cryotwin.imaging.fourier import fourier_disc, images_to_disc
from cryotwin.imaging.rotations import matrices_to_quaternions, quaternions_to_matrices
from cryotwin.recovery.evaluation import evaluate_orientations
from cryotwin.recovery.masking import soft_particle_mask
from cryotwin.recovery.reconstruction import filter_shells, reconstruct_halves
from cryotwin.recovery.resolution import fourier_shell_correlation
from recovery_limits.figures import ErrorPanels, draw_errors_against_noise
from recovery_limits.likelihood_descent import Descent
from recovery_limits.particles import Condition, Particles, particles
from recovery_limits.projection_matching import match_exhaustively
from recovery_limits.recoveries import recovery_run, recovery_task
from recovery_limits.sections import write_limits_section
from zoo.pages import figure_link, markdown_table, measured_on
from zoo.records import Record, Task, run_tasks

PARTS = ("oracle", "own-map", "recover")

_STEPS = 20


@dataclass(frozen=True)
class Reference:
    """Matching of a condition's images against a map that the truth gives."""

    condition: Condition
    threads: int


def measure_limit(
    cache: Path,
    docs: Path,
    conditions: list[Condition],
    threads: int,
    parts: Sequence[str],
    only: str | None,
    command: str,
) -> None:
    """Runs oracles and recoveries, and writes the table and the figure when all are there."""
    tasks = {
        "oracle": [
            Task(f"oracle-{each.label}", measure_oracle, Reference(each, threads))
            for each in conditions
        ],
        "own-map": [
            Task(f"own-map-{each.label}", measure_own_map, Reference(each, threads))
            for each in conditions
        ],
        "recover": [recovery_task(recovery_run(each, threads)) for each in conditions],
    }
    records = {
        part: run_tasks(cache, tasks[part]) for part in parts if only is None or part == only
    }
    if only is not None:
        return
    figure = docs / "figures" / "recovery-limit.svg"
    draw_errors_against_noise(figure, *error_curves(conditions, records))
    everything = [record for part in records.values() for record in part]
    content = [
        figure_link(figure, "Physical error against noise"),
        limit_table(conditions, records),
        measured_on(everything, command),
    ]
    write_limits_section(docs, "limit", content)


def measure_oracle(cache: Path, reference: Reference) -> Record:
    """Matches the images exhaustively against the true map."""
    condition = reference.condition
    given = particles(cache, condition)
    began = time.perf_counter()
    matches = match_exhaustively(
        given.images,
        given.volume,
        given.quaternions,
        given.shifts_px,
        max_shift_px=condition.max_shift_px,
        symmetry=condition.symmetry,
        threads=reference.threads,
    )
    seconds = time.perf_counter() - began
    return {
        **_errors(matches.quaternions, given, condition),
        "from_truth": float(matches.from_truth.mean()),
        "seconds": seconds,
    }


def measure_own_map(cache: Path, reference: Reference) -> Record:
    """Matches the images against the best map that these images can give.

    Each half is matched against the map of the other half, made with the true orientations and
    shifts and filtered by the FSC of the two: no refinement has a better reference. The descent
    starts at the truth.
    """
    condition = reference.condition
    given = particles(cache, condition)
    began = time.perf_counter()
    rotations = quaternions_to_matrices(given.quaternions)
    halves = np.arange(len(rotations)) % 2
    maps = reconstruct_halves(
        given.images,
        rotations,
        halves,
        shifts_px=given.shifts_px,
        symmetry=condition.symmetry,
        threads=reference.threads,
    )
    mask = soft_particle_mask((maps[0] + maps[1]) / 2)
    fsc = np.clip(fourier_shell_correlation(*maps, mask=mask), 0, 1)
    disc = fourier_disc(given.images.shape[-1])
    for half in (0, 1):
        rows = np.flatnonzero(halves == half)
        descent = Descent(
            filter_shells(maps[1 - half] * mask, fsc),
            disc,
            condition.max_shift_px > 0,
            reference.threads,
        )
        rotations[rows], _, _ = descent.run(
            images_to_disc(given.images[rows], disc),
            np.arange(len(rows)),
            rotations[rows],
            given.shifts_px[rows],
            _STEPS,
        )
    return {
        **_errors(matrices_to_quaternions(rotations), given, condition),
        "seconds": time.perf_counter() - began,
    }


def _errors(quaternions: np.ndarray, given: Particles, condition: Condition) -> Record:
    errors = evaluate_orientations(quaternions, given.quaternions, symmetry=condition.symmetry)
    return {
        "physical_error_rad": errors.physical.mean_error,
        "physical_median_rad": errors.physical.median_error,
    }


def limit_table(conditions: list[Condition], records: dict[str, list[Record]]) -> str:
    """Gives a row for each condition; references that were left out have no column."""
    names = {"oracle": "oracle: the true map", "own-map": "the images' own best map"}
    limits = {part: name for part, name in names.items() if part in records}
    header = [
        "protein",
        "SNR (dB)",
        "shifts up to (px)",
        *(f"{name} (rad)" for name in limits.values()),
        "`recover`: physical error (rad)",
        "O(4) error (rad)",
        *(f"over {name.partition(':')[0]}" for name in limits.values()),
        "seconds",
    ]
    rows = []
    for number, condition in enumerate(conditions):
        found = records["recover"][number]
        error = found["physical_error_rad"]
        least = [records[part][number]["physical_error_rad"] for part in limits]
        rows.append(
            [
                f"{condition.protein} ({condition.symmetry})",
                "none" if condition.snr_db is None else f"{condition.snr_db:g}",
                f"{condition.max_shift_px:g}",
                *(_radians(limit) for limit in least),
                f"**{_radians(error)}**",
                _radians(found["o4_error_rad"]),
                *(_ratio(error, limit, condition) for limit in least),
                f"{found['seconds']:.0f}",
            ]
        )
    return markdown_table(header, rows)


def _radians(value: float) -> str:
    return f"{value:.4f}" if value >= 1e-3 else f"{value:.1g}"


def _ratio(error: float, limit: float, condition: Condition) -> str:
    """Gives error over limit; without noise the limit is the arithmetic's, and says nothing."""
    return "-" if condition.snr_db is None else f"{error / limit:.2f}"


def error_curves(
    conditions: list[Condition], records: dict[str, list[Record]]
) -> tuple[list[str], ErrorPanels]:
    """Gives the noises, and the errors for the figure: a panel for each protein and shift."""
    names = {"oracle": "true map", "own-map": "own best map", "recover": "recover"}
    panels: ErrorPanels = {}
    noises: list[str] = []
    for number, condition in enumerate(conditions):
        title = f"{condition.protein}, shifts up to {condition.max_shift_px:g} px"
        noise = "none" if condition.snr_db is None else f"{condition.snr_db:g} dB"
        if noise not in noises:
            noises.append(noise)
        for part, name in names.items():
            if part not in records or (part == "oracle" and condition.snr_db is None):
                continue  # Some 1e-7: the axis would show little else.
            value = records[part][number]["physical_error_rad"]
            panels.setdefault(title, {}).setdefault(name, []).append((noise, value))
    return noises, panels
