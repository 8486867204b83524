"""Figure 7: how far recovered orientations are off when their distances are.

Section 3.2: true distances plus Gaussian errors of variance 0 to 0.8 rad^2.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from cryotwin.imaging.orientations import draw_quaternions
from cryotwin.imaging.randomness import keyed_generator
from cryotwin.imaging.rotations import pairwise_distances
from cryotwin.pipelines.reproduction.column_legend import COLORS
from cryotwin.pipelines.reproduction.recovered import (
    recover_as_in_the_paper,
    recover_our_way,
    recovery_numbers,
)
from cryotwin.pipelines.reproduction.result import OURS, PAPER, Result, Table, Trend
from cryotwin.pipelines.reproduction.workspace import Record, Workspace

WRONG_RAD = 0.5
"""O(4) error from which on a recovery has ended in a wrong minimum: noise alone makes far less."""


@dataclass(frozen=True)
class Settings:
    """Of the experiment.

    Attributes:
        particles: P (1,650 in the paper).
        orientations: the paper's distribution here (its footnote 6).
        variances: of the errors, rad^2.
        seeds: repetitions, each with its own orientations and errors.
    """

    particles: int
    orientations: str
    variances: tuple[float, ...]
    seeds: int


@dataclass(frozen=True)
class _Case:
    particles: int
    orientations: str
    variance: float
    seed: int


def settings(workspace: Workspace) -> Settings:
    """Gives the settings at the size of the workspace."""
    few = workspace.scale.name == "quick"
    variances = (0.0, 0.2, 0.8) if few else (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8)
    return Settings(300 if few else 1650, "euler-half", variances, 3 if few else 5)


def run(workspace: Workspace, settings: Settings) -> Result:
    """Recovers orientations from perturbed distances, at each variance and seed."""
    rows: list[list[float]] = []
    curves: dict[str, Any] = {"variances": list(settings.variances), PAPER: [], OURS: []}
    for variance in settings.variances:
        cases = [
            _Case(settings.particles, settings.orientations, variance, seed)
            for seed in range(settings.seeds)
        ]
        records = [workspace.step("perturbed", case, _worker(case))[0] for case in cases]
        for column in (PAPER, OURS):
            curves[column].append([_shown(record[column]) for record in records])
        rows.append(
            [
                variance,
                *(number for column in (PAPER, OURS) for number in _row(curves[column][-1])),
            ]
        )
    header = ["variance (rad²)"]
    header += [
        f"{column}: {what}"
        for column in (PAPER, OURS)
        for what in (
            "O(4) error (rad)",
            "physical error (rad)",
            "loss (rad²)",
            "repetitions in a wrong minimum",
        )
    ]
    title = (
        f"{settings.particles:,} orientations, of {settings.seeds} repetitions that of the lowest "
        f"loss; above {WRONG_RAD:g} rad over O(4) a minimum is wrong"
    )
    return Result([Table(title, header, rows)], _trends(curves), curves)


def _row(runs: Sequence[Record]) -> list[float]:
    best = lowest(runs)
    wrong = sum(run["o4_error"] > WRONG_RAD for run in runs)
    return [best["o4_error"], best["physical_error"], best["loss"], wrong]


def lowest(runs: Sequence[Record]) -> Record:
    """Gives the repetition of the lowest loss, which its user can tell without the truth."""
    return min(runs, key=lambda run: run["loss"])


def _shown(record: Record) -> Record:
    return {what: record[what] for what in ("o4_error", "physical_error", "loss")}


def _worker(case: _Case) -> Any:
    def work(folder: Path) -> Record:
        true, distances = perturbed_distances(case)
        found = {
            PAPER: recover_as_in_the_paper(distances, true, seed=case.seed),
            OURS: recover_our_way(distances, true, seed=case.seed),
        }
        return {column: recovery_numbers(recovered) for column, recovered in found.items()}

    return work


def perturbed_distances(case: _Case) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
    """Draws orientations (P, 4) and distances (P, P) with errors, clipped to [0, pi]."""
    rng = keyed_generator(case.seed, "perturbed distances")
    true = draw_quaternions(case.orientations, case.particles, rng)
    errors = np.triu(rng.normal(0, np.sqrt(case.variance), (case.particles,) * 2), 1)
    distances = np.clip(pairwise_distances(true) + errors + errors.T, 0, np.pi)
    np.fill_diagonal(distances, 0)
    return true, distances


def _trends(curves: Mapping[str, Any]) -> list[Trend]:
    losses = [lowest(runs)["loss"] for runs in curves[PAPER]]
    # One repetition scatters by more than neighbouring variances differ.
    errors = [
        float(np.mean([run["o4_error"] for run in runs if run["o4_error"] <= WRONG_RAD] or np.nan))
        for runs in curves[PAPER]
    ]
    wrong = [run["loss"] for runs in curves[PAPER] for run in runs if run["o4_error"] > WRONG_RAD]
    return [
        Trend(
            "the error grows with the variance of the distances' errors (section 3.2), in the mean "
            "over repetitions in the right minimum",
            ", ".join(f"{error:.3f}" for error in errors) + " rad",
            bool(np.all(np.diff(errors) > 0)),
        ),
        Trend(
            "the recovery loss tells the error without the truth (section 3.2)",
            ", ".join(f"{loss:.3f}" for loss in losses) + " rad²",
            bool(np.all(np.diff(losses) > 0)),
        ),
        Trend(
            "one start is enough: that the problem is not convex is no issue (Appendix B)",
            f"{len(wrong)} of {sum(map(len, curves[PAPER]))} in a wrong minimum",
            not wrong,
        ),
    ]


def draw(figure: Figure, curves: Mapping[str, Any]) -> None:
    """Draws error and loss over the variance, a dot for each repetition."""
    panels = figure.subplots(1, 2)
    for axes, what, label in zip(
        panels, ("o4_error", "loss"), ("O(4) error (rad)", "recovery loss (rad²)"), strict=True
    ):
        for column in (PAPER, OURS):
            values = np.array([[run[what] for run in runs] for runs in curves[column]])
            best = [lowest(runs)[what] for runs in curves[column]]
            axes.plot(curves["variances"], best, color=COLORS[column], label=column)
            for repetition in values.T:
                axes.plot(curves["variances"], repetition, ".", color=COLORS[column])
        axes.set(xlabel="variance of the distances' errors (rad²)", ylabel=label)
    panels[0].legend()
