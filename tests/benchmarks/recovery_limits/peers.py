"""`recover` beside ASPIRE and RELION's InitialModel, on the same images of one protein."""

import os
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cryotwin.imaging.errors import InputError
from cryotwin.imaging.fourier import resize_images
from cryotwin.imaging.randomness import keyed_generator
from cryotwin.imaging.rotations import matrices_to_quaternions
from cryotwin.models.model_files import resolve, sha256
from cryotwin.recovery.alignment import align_orientations
from recovery_limits.figures import ErrorPanels, draw_errors_against_noise
from recovery_limits.particles import Condition, Particles, particles
from recovery_limits.recoveries import digest_of_recovery
from recovery_limits.relion_initial_model import initial_model
from recovery_limits.sections import write_limits_section
from zoo.pages import figure_link, markdown_table, measured_on
from zoo.projections import PAPER_COUNT, SEED, SIZE_PX
from zoo.records import Record, Task, run_tasks

PARTS = ("aspire", "relion", "recover")
ASPIRE_PYTHON = "CRYOTWIN_ASPIRE_PYTHON"
"""The variable that names the interpreter of an environment with `aspire`."""

ONE_THREAD = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMBA_NUM_THREADS",
    "TF_NUM_INTRAOP_THREADS",
    "TF_NUM_INTEROP_THREADS",
)

_PROTEIN = "5j0n"
_DIAMETER_SHARE = 0.8
"""Of the box: the circle that RELION puts around the particle."""

_RELION_THREADS = 2


@dataclass(frozen=True)
class Level:
    """Images of 5j0n in a small box.

    Attributes:
        name: for people.
        snr: of the images in this box; None is no noise.
        shift_share: of the box, that neither component of a shift exceeds.
        box_px: edge of the box.
        images: how many.
        count: projections of the dataset, over all splits.
    """

    name: str
    snr: float | None
    shift_share: float = 0.0
    box_px: int = 64
    images: int = 500
    count: int = PAPER_COUNT

    @property
    def estimator(self) -> str:
        """The published estimator for these images: that for noise, or that for none."""
        return _PROTEIN if self.snr is not None else f"{_PROTEIN}-clean"


def levels(images: int, count: int) -> list[Level]:
    """Lists the levels of noise. -12 dB at 116 px is 0.21 after cropping to 64 px."""
    cropped = 10**-1.2 * (SIZE_PX / 64) ** 2
    table: list[tuple[str, float | None, float]] = [
        ("none", None, 0.0),
        ("1/2", 1 / 2, 0.0),
        ("0.21", cropped, 0.0),
        ("1/8", 1 / 8, 0.0),
        ("1/16", 1 / 16, 0.0),
        ("1/2, shifts", 1 / 2, 0.05),
    ]
    return [Level(*row, images=images, count=count) for row in table]


@dataclass(frozen=True)
class AspireRun:
    """A method of ASPIRE, with or without its covariance Wiener denoiser."""

    level: Level
    method: str
    denoise: bool


@dataclass(frozen=True)
class RelionRun:
    """RELION's InitialModel with a budget, and a share of its job's iterations."""

    level: Level
    budget_seconds: float
    share: float


@dataclass(frozen=True)
class OwnRun:
    """`recover` with a published estimator; the digests are of its file and of the code."""

    level: Level
    estimator: str
    digest: str
    code: str


def compare_peers(
    cache: Path,
    docs: Path,
    all_levels: Sequence[Level],
    budget_seconds: float,
    relion_share: float,
    only: str | None,
    command: str,
) -> None:
    """Runs all programs on all levels, and writes the table and the figure when all have run."""
    if only in (None, "aspire"):
        aspire_python()
    code = digest_of_recovery()
    tasks = {
        "aspire": [
            Task(f"aspire-{_slug(level)}-{method}{'-denoised' * denoise}", run_aspire, run)
            for level in all_levels
            for method in ("voting", "lud")
            for denoise in ((False, True) if level.snr is not None else (False,))
            for run in [AspireRun(level, method, denoise)]
        ],
        "relion": [
            Task(f"relion-{_slug(level)}", run_relion, run)
            for level in all_levels
            for run in [RelionRun(level, budget_seconds, relion_share)]
        ],
        "recover": [
            Task(f"recover-{_slug(level)}", run_own, run)
            for level in all_levels
            for name in [level.estimator]
            for run in [OwnRun(level, name, sha256(resolve(name)), code)]
        ],
    }
    records = {
        part: run_tasks(cache, tasks[part]) for part in PARTS if only is None or part == only
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


def aspire_python() -> str:
    """Gives the interpreter that runs ASPIRE.

    Raises:
        InputError: the variable is not set.
    """
    python = os.environ.get(ASPIRE_PYTHON)
    if not python:
        raise InputError(
            f"{ASPIRE_PYTHON} must name the Python of an environment with aspire 0.14.3; "
            "it is not set"
        )
    return python


def level_particles(cache: Path, level: Level) -> Particles:
    """Gives the images of a level in its box: cropped in Fourier space, shifted, then noisy."""
    shift_px = level.shift_share * SIZE_PX
    condition = Condition(_PROTEIN, None, shift_px, level.count, level.images)
    given = particles(cache, condition)
    images = resize_images(given.images, level.box_px)
    scale = level.box_px / given.images.shape[-1]
    noisy = images
    if level.snr is not None:
        rng = keyed_generator(SEED, "peers")
        noise = rng.standard_normal(images.shape, dtype=np.float32)
        noisy = images + noise * np.float32(np.sqrt(images.var() / level.snr))
    return Particles(
        noisy,
        images,
        given.quaternions,
        given.shifts_px * scale,
        given.volume,
        given.pixel_size_angstrom / scale,
    )


def run_aspire(cache: Path, run: AspireRun) -> Record:
    """Runs a method of ASPIRE on one core."""
    given = level_particles(cache, run.level)
    script = Path(__file__).with_name("aspire_orientations.py")
    return _on_one_core(
        [aspire_python(), str(script)],
        given,
        method=run.method,
        denoise=run.denoise,
        max_shift=run.level.shift_share,
    )


def run_own(cache: Path, run: OwnRun) -> Record:
    """Runs `recover` on one core."""
    given = level_particles(cache, run.level)
    return _on_one_core(
        [sys.executable, "-m", "recovery_limits.own_orientations"],
        given,
        max_shift=run.level.shift_share,
        estimator=run.estimator,
    )


def run_relion(cache: Path, run: RelionRun) -> Record:
    """Runs RELION's InitialModel on two cores."""
    given = level_particles(cache, run.level)
    box = run.level.box_px * given.pixel_size_angstrom
    found = initial_model(
        given.images,
        given.pixel_size_angstrom,
        cache / "relion" / _slug(run.level),
        particle_diameter_angstrom=round(_DIAMETER_SHARE * box),
        max_shift_px=run.level.shift_share * run.level.box_px,
        budget_seconds=run.budget_seconds,
        threads=_RELION_THREADS,
        share=run.share,
    )
    return {
        **_errors(found.rotations, given.quaternions),
        "seconds": found.seconds,
        "iteration": found.iteration,
    }


def _on_one_core(words: list[str], given: Particles, **inputs: Any) -> Record:
    """Runs a program that takes and gives .npz files, on one core, and measures its errors."""
    environment = {**os.environ, **dict.fromkeys(ONE_THREAD, "1")}
    with tempfile.TemporaryDirectory() as name:
        source, target, log = (Path(name) / file for file in ("in.npz", "out.npz", "log.txt"))
        np.savez(
            source,
            images=given.images,
            pixel_size_angstrom=given.pixel_size_angstrom,
            **inputs,
        )
        with log.open("w") as output:
            process = subprocess.Popen(
                [*words, str(source), str(target)],
                env=environment,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
            _pin(process.pid)
            status = process.wait()
        if status != 0:
            tail = log.read_text(errors="replace")[-2000:]
            raise RuntimeError(f"{shlex.join(words)} ended with status {status}: {tail}")
        with np.load(target) as found:
            rotations, seconds = found["rotations"], float(found["seconds"])
    return {**_errors(rotations, given.quaternions), "seconds": seconds}


def _pin(process: int) -> None:
    """Keeps a process, and the threads that it will start, on one core, where the system can."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(process, {max(os.sched_getaffinity(0))})


def _errors(rotations: NDArray[np.float64], true: NDArray[np.float64]) -> Record:
    aligned = align_orientations(matrices_to_quaternions(rotations), true, ambiguity="object")
    return {
        "physical_error_deg": float(np.degrees(aligned.mean_error)),
        "physical_median_deg": float(np.degrees(aligned.median_error)),
    }


def _slug(level: Level) -> str:
    return level.name.replace("/", "of").replace(", ", "-").replace(".", "p")


def _of_level(records: Sequence[Record], level: Level) -> list[Record]:
    return [record for record in records if record["settings"]["level"]["name"] == level.name]


def compared(level: Level, records: dict[str, list[Record]]) -> dict[str, Any]:
    """Gathers a level's results: ASPIRE's by the best of its methods."""
    aspire = min(_of_level(records["aspire"], level), key=lambda each: each["physical_error_deg"])
    (relion,), (own,) = (_of_level(records[part], level) for part in ("relion", "recover"))
    return {"level": level.name, "aspire": aspire, "relion": relion, "recover": own}


def panel(rows: Sequence[dict[str, Any]]) -> ErrorPanels:
    """Arranges the errors for the figure."""
    names = {"aspire": "ASPIRE, best", "relion": "RELION InitialModel", "recover": "recover"}
    curves = {
        name: [(row["level"], row[part]["physical_error_deg"]) for row in rows]
        for part, name in names.items()
    }
    return {"500 images of 5j0n": curves}


def peer_table(rows: Sequence[dict[str, Any]]) -> str:
    """Gives a row for each level: errors in degrees, and seconds."""
    header = [
        "SNR",
        "ASPIRE, best of its methods (°)",
        "which",
        "s, one core",
        "RELION InitialModel (°)",
        "s, two cores",
        "iterations",
        "`recover` (°)",
        "s, one core",
    ]
    cells = []
    for row in rows:
        aspire, relion, own = row["aspire"], row["relion"], row["recover"]
        cells.append(
            [
                row["level"],
                f"{aspire['physical_error_deg']:.2f}",
                _method(aspire),
                f"{aspire['seconds']:.0f}",
                f"{relion['physical_error_deg']:.1f}",
                f"{relion['seconds']:.0f}",
                f"{relion['iteration']}",
                f"**{own['physical_error_deg']:.2f}**",
                f"{own['seconds']:.0f}",
            ]
        )
    return markdown_table(header, cells)


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
