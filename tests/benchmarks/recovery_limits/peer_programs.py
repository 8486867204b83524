"""The programs that are compared: each takes the images of a level and gives their orientations."""

import os
import shlex
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cryotwin.imaging.errors import InputError
from cryotwin.imaging.rotations import matrices_to_quaternions
from cryotwin.recovery.alignment import align_orientations
from recovery_limits.particles import Particles
from recovery_limits.peer_levels import Level, level_particles
from recovery_limits.relion_initial_model import initial_model
from zoo.records import Record

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

_DIAMETER_SHARE = 0.8
"""Of the box: the circle that RELION puts around the particle."""

_RELION_THREADS = 2


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
        cache / "relion" / run.level.label,
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
