"""`recover` on the particles of a condition: run once, its orientations and map kept."""

import hashlib
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import cryotwin.recovery
from cryotwin.imaging.atomic import atomic_output
from cryotwin.models.model_files import load, resolve, sha256
from cryotwin.recovery import recover
from cryotwin.recovery.evaluation import evaluate_orientations
from recovery_limits.particles import Condition, particles
from zoo.records import Record, Task, settings_name


@dataclass(frozen=True)
class RecoveryRun:
    """All that the outcome of a recovery depends on.

    Attributes:
        condition: the images.
        estimator: a published name.
        digest: of its file.
        code: of the modules of `cryotwin.recovery`, so that other code is measured anew.
        threads: of the recovery.
    """

    condition: Condition
    estimator: str
    digest: str
    code: str
    threads: int


@dataclass(frozen=True)
class Outcome:
    """What a recovery found: quaternions (P, 4) and shifts (P, 2) in pixels as x, y."""

    quaternions: NDArray[np.float64]
    shifts_px: NDArray[np.float64]


def recovery_run(condition: Condition, threads: int) -> RecoveryRun:
    """Describes the recovery of a condition by the code and the estimators of today."""
    estimator = condition.estimator
    return RecoveryRun(
        condition, estimator, sha256(resolve(estimator)), digest_of_recovery(), threads
    )


def recovery_task(run: RecoveryRun) -> Task:
    """Gives the task that does it."""
    return Task(f"recover-{run.condition.label}", run_recovery, run)


def digest_of_recovery() -> str:
    """Digests the modules of `cryotwin.recovery`."""
    digest = hashlib.sha256()
    for path in sorted(Path(cryotwin.recovery.__file__).resolve().parent.glob("*.py")):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]


def run_recovery(cache: Path, run: RecoveryRun) -> Record:
    """Recovers orientations without the truth, keeps them, and compares them with the truth."""
    given = particles(cache, run.condition)
    symmetry = run.condition.symmetry
    estimator = load(run.estimator)
    began = time.perf_counter()
    recovery = recover(
        given.images,
        estimator,
        pixel_size_angstrom=given.pixel_size_angstrom,
        symmetry=symmetry,
        max_shift_px=run.condition.max_shift_px,
        threads=run.threads,
        progress=lambda text: print(f"  {text}", flush=True),
    )
    seconds = time.perf_counter() - began
    path = _outcome_path(cache, run)
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_output(path) as temporary, temporary.open("wb") as file:
        np.savez(file, quaternions=recovery.quaternions, shifts_px=recovery.shifts_px)
    errors = evaluate_orientations(recovery.quaternions, given.quaternions, symmetry=symmetry)
    return {
        "physical_error_rad": errors.physical.mean_error,
        "physical_median_rad": errors.physical.median_error,
        "o4_error_rad": errors.o4.mean_error,
        "seconds": seconds,
        "seconds_by_stage": recovery.metrics["seconds"],
    }


def outcome(cache: Path, run: RecoveryRun) -> Outcome:
    """Reads what a recovery found."""
    with np.load(_outcome_path(cache, run)) as saved:
        return Outcome(saved["quaternions"], saved["shifts_px"])


def _outcome_path(cache: Path, run: RecoveryRun) -> Path:
    return cache / "recoveries" / f"{settings_name(run.condition.label, run)}.npz"
