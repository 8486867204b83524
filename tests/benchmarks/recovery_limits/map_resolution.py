"""Resolution against the true map: what the recovered orientations leave of it.

Physical alignment only: a turn of the object, its mirror image, and its place in the box.
"""

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cryotwin.imaging.rotations import quaternions_to_matrices
from cryotwin.recovery.alignment import Alignment, align_orientations
from cryotwin.recovery.evaluation import match_position, to_estimated_frame
from cryotwin.recovery.masking import soft_particle_mask
from cryotwin.recovery.reconstruction import combine_half_maps, reconstruct_halves
from cryotwin.recovery.resolution import fourier_shell_correlation, resolution_at
from recovery_limits.figures import draw_shell_correlations
from recovery_limits.particles import Condition, particles
from recovery_limits.recoveries import RecoveryRun, outcome, recovery_run, recovery_task
from recovery_limits.sections import write_limits_section
from zoo.pages import figure_link, markdown_table, measured_on
from zoo.records import Record, Task, run_tasks

THRESHOLD = 0.5

Volume = NDArray[np.float32]


@dataclass(frozen=True)
class Maps:
    """The maps that a recovery's orientations and shifts give."""

    run: RecoveryRun


def measure_resolution(
    cache: Path,
    docs: Path,
    conditions: list[Condition],
    threads: int,
    command: str,
) -> None:
    """Recovers what has not been recovered yet, and writes the table and the figure."""
    runs = [recovery_run(condition, threads) for condition in conditions]
    run_tasks(cache, [recovery_task(run) for run in runs])
    tasks = [Task(f"maps-{run.condition.label}", measure_maps, Maps(run)) for run in runs]
    records = run_tasks(cache, tasks)
    figure = docs / "figures" / "recovery-resolution.svg"
    draw_shell_correlations(figure, curves(conditions, records))
    content = [
        figure_link(figure, "Correlation with the true map"),
        resolution_table(conditions, records),
        measured_on(records, command),
    ]
    write_limits_section(docs, "resolution", content)


def measure_maps(cache: Path, maps: Maps) -> Record:
    """Compares with the true map: (i) noiseless images, (ii) the images, (iii) their best map."""
    run = maps.run
    given, found = particles(cache, run.condition), outcome(cache, run)
    symmetry = run.condition.symmetry
    aligned = align_orientations(found.quaternions, given.quaternions, symmetry=symmetry)
    truth = to_estimated_frame(given.volume, aligned)
    estimated = quaternions_to_matrices(found.quaternions)
    true = in_estimated_frame(quaternions_to_matrices(given.quaternions), aligned)
    weighted = partial(weighted_map, symmetry=symmetry, threads=run.threads)
    noiseless = weighted(given.noiseless, estimated, found.shifts_px)
    recovered = weighted(given.images, estimated, found.shifts_px)
    best = match_position(weighted(given.images, true, given.shifts_px), recovered)
    mask = soft_particle_mask(recovered)
    pixel = given.pixel_size_angstrom
    return {
        "pixel_size_angstrom": pixel,
        "noiseless": compared(noiseless, truth, soft_particle_mask(noiseless), pixel),
        "recovered": compared(recovered, truth, mask, pixel),
        "true_orientations": compared(best, truth, mask, pixel),
        "mask_share": float(mask.mean()),
    }


def in_estimated_frame(
    true_rotations: NDArray[np.float64], aligned: Alignment
) -> NDArray[np.float64]:
    """Gives the true orientations (P, 3, 3) in the frame, and of the hand, of the estimated ones.

    With R_true = A R_est B it is A^T R_true B^T: a map made with them needs no interpolation.
    """
    return np.asarray(aligned.left.T @ true_rotations @ aligned.right.T)


def weighted_map(
    images: Volume,
    rotations: NDArray[np.float64],
    shifts_px: NDArray[np.float64],
    symmetry: str,
    threads: int,
) -> Volume:
    """Makes the map of all images as `recover` does: two halves, shells weighted by their FSC."""
    halves = np.arange(len(images)) % 2
    half_maps = reconstruct_halves(
        images, rotations, halves, shifts_px=shifts_px, symmetry=symmetry, threads=threads
    )
    mask = soft_particle_mask((half_maps[0] + half_maps[1]) / 2)
    return combine_half_maps(half_maps, fourier_shell_correlation(*half_maps, mask=mask))


def compared(volume: Volume, truth: Volume, mask: Volume, pixel_size_angstrom: float) -> Record:
    """Gives FSC and resolution of a map against the true one, in the whole box and in the mask."""
    moved = match_position(truth, volume)
    record: Record = {}
    for name, weights in (("unmasked", None), ("masked", mask)):
        fsc = fourier_shell_correlation(volume, moved, mask=weights)
        record[name] = {
            "resolution_angstrom": resolution_at(
                fsc, pixel_size_angstrom, THRESHOLD, size=len(volume)
            ),
            "fsc": [round(float(value), 4) for value in fsc],
        }
    return record


def resolution_table(conditions: list[Condition], records: list[Record]) -> str:
    """Gives two rows for each condition: without a mask and with one. All in angstrom."""
    header = [
        "orientations recovered from",
        "SNR (dB)",
        "shifts up to (px)",
        "mask",
        "(i) noiseless images (Å)",
        "(ii) the images themselves (Å)",
        "the same, true orientations (Å)",
        "ratio",
        "Nyquist (Å)",
    ]
    rows = []
    for condition, record in zip(conditions, records, strict=True):
        for mask in ("unmasked", "masked"):
            noiseless, found, best = (
                record[which][mask]["resolution_angstrom"]
                for which in ("noiseless", "recovered", "true_orientations")
            )
            rows.append(
                [
                    f"{condition.protein} ({condition.symmetry})",
                    "none" if condition.snr_db is None else f"{condition.snr_db:g}",
                    f"{condition.max_shift_px:g}",
                    "none" if mask == "unmasked" else "soft",
                    f"{noiseless:.2f}",
                    f"{found:.2f}",
                    f"{best:.2f}",
                    f"{found / best:.3f}",
                    f"{2 * record['pixel_size_angstrom']:.2f}",
                ]
            )
    return markdown_table(header, rows)


def curves(conditions: list[Condition], records: list[Record]) -> dict[str, dict[str, list[float]]]:
    """Arranges the correlations within the mask for the figure, a panel for each condition."""
    names = {
        "noiseless": "noiseless images",
        "recovered": "the images",
        "true_orientations": "true orientations",
    }
    chosen = {}
    for condition, record in zip(conditions, records, strict=True):
        noise = "no noise" if condition.snr_db is None else f"{condition.snr_db:g} dB"
        title = f"{condition.protein}, {noise}, shifts {condition.max_shift_px:g} px"
        chosen[title] = {name: record[which]["masked"]["fsc"] for which, name in names.items()}
    return chosen
