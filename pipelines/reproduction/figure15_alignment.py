"""Figure 15: recovered orientations before and after they are aligned with the true ones.

Appendix B, after an exact recovery: equation (5) by FTRL over six angles and a sign, as in the
paper, and by our alignment in closed form.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from cryotwin.imaging.orientations import draw_quaternions
from cryotwin.imaging.randomness import keyed_generator
from cryotwin.imaging.rotations import canonical_quaternions, orientation_distances
from cryotwin.imaging.stopwatch import Stopwatch
from cryotwin.pipelines.reproduction.column_legend import COLORS, name_columns
from cryotwin.pipelines.reproduction.error_histograms import draw_error_histogram, error_histogram
from cryotwin.pipelines.reproduction.paper_alignment import FtrlSettings, align_by_ftrl
from cryotwin.pipelines.reproduction.result import OURS, PAPER, Cell, Result, Table, Trend
from cryotwin.pipelines.reproduction.workspace import Record, Workspace
from cryotwin.recovery.alignment import align_orientations

_ALIGNED_RAD = 0.01
"""Mean errors below are those of the right minimum; wrong ones have 0.4 and more."""

_TINY_RAD = 1e-8


@dataclass(frozen=True)
class Settings:
    """Of the experiment.

    Attributes:
        particles: P (1,650 in the paper).
        orientations: their distribution.
        seeds: repetitions, each with its own isometry and starts.
    """

    particles: int
    orientations: str
    seeds: int


@dataclass(frozen=True)
class _Case:
    particles: int
    orientations: str
    seed: int


def settings(workspace: Workspace) -> Settings:
    """Gives the settings at the size of the workspace."""
    few = workspace.scale.name == "quick"
    return Settings(300 if few else 1650, "so3", 3 if few else 10)


def run(workspace: Workspace, settings: Settings) -> Result:
    """Aligns exact recoveries in both ways."""
    runs = []
    for seed in range(settings.seeds):
        case = _Case(settings.particles, settings.orientations, seed)
        runs.append(workspace.step("alignment", case, _worker(case))[0])
    table = Table(
        f"{settings.particles:,} orientations, an exact recovery, {settings.seeds} repetitions",
        [
            "alignment",
            f"below {_ALIGNED_RAD} rad",
            "mean error, median (rad)",
            "largest (rad)",
            f"of its single runs below {_ALIGNED_RAD} rad (%)",
            "seconds, median",
        ],
        [_row(column, runs) for column in (PAPER, OURS)],
    )
    return Result([table], trends(runs), {"runs": runs})


def _row(column: str, runs: Sequence[Record]) -> list[Cell]:
    errors = [run[column]["mean_error"] for run in runs]
    single = [error for run in runs for error in run[column]["run_errors"]]
    return [
        column,
        f"{sum(error < _ALIGNED_RAD for error in errors)} of {len(errors)}",
        float(np.median(errors)),
        max(errors),
        100 * float(np.mean(np.array(single) < _ALIGNED_RAD)) if single else None,
        float(np.median([run[column]["align_seconds"] for run in runs])),
    ]


def _worker(case: _Case) -> Callable[[Path], Record]:
    def work(folder: Path) -> Record:
        true, estimated = exact_recovery(case.particles, case.orientations, case.seed)
        watch = Stopwatch()
        with watch.stage(PAPER):
            ftrl = align_by_ftrl(estimated, true, FtrlSettings(seed=case.seed))
        with watch.stage(OURS):
            ours = align_orientations(estimated, true, ambiguity="o4")
        return {
            "before": error_histogram(orientation_distances(estimated, true)),
            PAPER: {
                "mean_error": ftrl.mean_error,
                "run_errors": ftrl.run_errors,
                "after": error_histogram(ftrl.errors),
                "align_seconds": watch.seconds[PAPER],
            },
            OURS: {
                "mean_error": ours.mean_error,
                "run_errors": [],
                "after": error_histogram(ours.errors),
                "align_seconds": watch.seconds[OURS],
            },
        }

    return work


def exact_recovery(
    particles: int, orientations: str, seed: int
) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
    """Draws true quaternions (P, 4), and others (P, 4) with the same distances.

    Those are T q with a random T in O(4): what an exact recovery gives.
    """
    rng = keyed_generator(seed, "exact recovery")
    true = draw_quaternions(orientations, particles, rng)
    isometry, _ = np.linalg.qr(rng.standard_normal((4, 4)))
    return true, canonical_quaternions(true @ isometry.T)


def trends(runs: Sequence[Mapping[str, Any]]) -> list[Trend]:
    """Checks whether alignments are perfect."""
    return [
        Trend(
            f"{claim}, to less than {_ALIGNED_RAD} rad",
            ", ".join(f"{run[column]['mean_error']:.2g}" for run in runs) + " rad",
            all(run[column]["mean_error"] < _ALIGNED_RAD for run in runs),
        )
        for column, claim in (
            (PAPER, "the lowest of six runs of FTRL aligns each time (Appendix B)"),
            (OURS, "cryotwin's alignment aligns each time (beyond the paper)"),
        )
    ]


def draw(figure: Figure, curves: Mapping[str, Any]) -> None:
    """Draws errors before and after, and the mean errors of all runs."""
    before, after, ends = figure.subplots(1, 3)
    runs = curves["runs"]
    draw_error_histogram(before, runs[0]["before"], color="0.5")
    before.set_title("before the alignment, seed 0", fontsize=8)
    for column in (PAPER, OURS):
        draw_error_histogram(after, runs[0][column]["after"], color=COLORS[column])
    after.set_title("after the alignment, seed 0", fontsize=8)
    for seed, run in enumerate(runs):
        for column, shift in ((PAPER, -0.12), (OURS, 0.12)):
            single = np.maximum(run[column]["run_errors"], _TINY_RAD)
            ends.plot(np.full(len(single), seed + shift), single, ".", color="0.5")
            lowest = max(run[column]["mean_error"], _TINY_RAD)
            ends.plot(seed + shift, lowest, "o", color=COLORS[column], alpha=0.7)
    ends.axhline(_ALIGNED_RAD, color="k", lw=0.6)
    ends.set(yscale="log", xlabel="seed", ylabel="mean error after (rad; at least 1e-8)")
    ends.set_xticks(range(len(runs)))
    name_columns(figure, [Line2D([], [], color="0.5", marker=".", ls="", label="a run of FTRL")])
