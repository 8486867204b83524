"""Figure 14: exact distances give orientations without error, if the minimum is the right one.

Appendix B, on orientations of the symmetric particle: a quarter of the sphere without symmetry, as
in the paper, and the whole sphere under the point group.
"""

import math
from collections.abc import Callable, Mapping, Sequence
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
from cryotwin.pipelines.reproduction.paper_recovery import AdamSettings, recover_by_adam
from cryotwin.pipelines.reproduction.recovery_cases import QUARTER
from cryotwin.pipelines.reproduction.result import OURS, PAPER, Cell, Result, Table, Trend
from cryotwin.pipelines.reproduction.workspace import Record, Workspace
from cryotwin.recovery.alignment import align_orientations
from cryotwin.recovery.embedding import embed_distances

_ZERO_RAD2 = 1e-3
"""Losses below are on their way to zero; wrong minima have 0.05 and more."""

_TINY_RAD2 = 1e-16


@dataclass(frozen=True)
class Settings:
    """Of the experiment.

    Attributes:
        particles: P (1,650 in the paper).
        symmetry: point group in the second case of ours.
        seeds: starts of the paper's recovery, and repetitions of ours.
    """

    particles: int
    symmetry: str
    seeds: int


@dataclass(frozen=True)
class _Case:
    column: str
    particles: int
    orientations: str
    symmetry: str
    seed: int


def settings(workspace: Workspace) -> Settings:
    """Gives the settings at the size of the workspace."""
    few = workspace.scale.name == "quick"
    return Settings(300 if few else 1650, workspace.symmetric.symmetry, 3 if few else 5)


def run(workspace: Workspace, settings: Settings) -> Result:
    """Recovers from exact distances, from several seeds."""
    kinds = [(PAPER, QUARTER, "C1"), (OURS, QUARTER, "C1")]
    if settings.symmetry != "C1":
        kinds.append((OURS, "so3", settings.symmetry))
    groups = []
    for column, orientations, symmetry in kinds:
        cases = [
            _Case(column, settings.particles, orientations, symmetry, seed)
            for seed in range(settings.seeds)
        ]
        runs = [workspace.step("exact", case, _worker(case))[0] for case in cases]
        groups.append(
            {"column": column, "orientations": orientations, "symmetry": symmetry, "runs": runs}
        )
    return Result([_table(settings, groups)], trends(groups), {"groups": groups})


def _worker(case: _Case) -> Callable[[Path], Record]:
    def work(folder: Path) -> Record:
        rng = keyed_generator(case.seed, "exact distances")
        true = draw_quaternions(case.orientations, case.particles, rng)
        distances = pairwise_distances(true, symmetry=case.symmetry)
        if case.column == PAPER:
            return _as_in_the_paper(distances, true, case)
        return _our_way(distances, true, case)

    return work


def _as_in_the_paper(
    distances: NDArray[np.floating], true: NDArray[np.floating], case: _Case
) -> Record:
    found = recover_by_adam(distances, AdamSettings(seed=case.seed))
    aligned = align_orientations(found.quaternions, true, ambiguity="o4", symmetry=case.symmetry)
    return {
        "loss": found.loss,
        "o4_error": aligned.mean_error,
        "steps": found.steps,
        "losses": found.losses,
        "trusted": None,
        "agreeing": None,
    }


def _our_way(distances: NDArray[np.floating], true: NDArray[np.floating], case: _Case) -> Record:
    found = embed_distances(distances, symmetry=case.symmetry, seed=case.seed)
    aligned = align_orientations(found.quaternions, true, ambiguity="o4", symmetry=case.symmetry)
    return {
        "loss": found.loss,
        "o4_error": aligned.mean_error,
        "steps": [],
        "losses": found.start_losses.tolist(),
        "trusted": found.trusted,
        "agreeing": found.agreeing_starts,
    }


def _table(settings: Settings, groups: Sequence[Record]) -> Table:
    rows: list[list[Cell]] = []
    for group in groups:
        runs = group["runs"]
        trusted = [run["trusted"] for run in runs]
        rows.append(
            [
                group["column"],
                group["orientations"],
                group["symmetry"],
                len(runs),
                sum(not _is_right(run) for run in runs),
                None if group["column"] == PAPER else sum(trusted),
                float(np.median([run["loss"] for run in runs])),
                float(np.median([run["o4_error"] for run in runs])),
                float(np.max([run["o4_error"] for run in runs])),
                float(np.median([run["seconds"] for run in runs])),
            ]
        )
    return Table(
        f"{settings.particles:,} orientations, exact distances; medians over the runs",
        [
            "column",
            "orientations",
            "symmetry",
            "runs",
            "in a wrong minimum",
            "trusted by their certificate",
            "L_OR (rad²)",
            "O(4) error (rad)",
            "largest (rad)",
            "seconds",
        ],
        rows,
    )


def _is_right(run: Mapping[str, Any]) -> bool:
    return bool(run["loss"] < _ZERO_RAD2)


def trends(groups: Sequence[Mapping[str, Any]]) -> list[Trend]:
    """Checks what Appendix B says, and our certificate."""
    paper = [run for group in groups if group["column"] == PAPER for run in group["runs"]]
    ours = [run for group in groups if group["column"] == OURS for run in group["runs"]]
    right = [run for run in paper if _is_right(run)]
    return [
        Trend(
            "the recovery loss converges to zero from every start, although it is not convex "
            "(Appendix B)",
            f"in {len(right)} of {len(paper)} starts; the lowest loss is "
            f"{min(run['loss'] for run in paper):.1e} rad²",
            len(right) == len(paper),
        ),
        Trend(
            "where it does, the orientations are exact (Appendix B)",
            f"O(4) error at most {max(run['o4_error'] for run in right):.1e} rad"
            if right
            else "it never does",
            max(run["o4_error"] for run in right) < math.sqrt(_ZERO_RAD2) if right else False,
        ),
        Trend(
            "cryotwin's recovery finds the right minimum each time, and tells so (beyond the "
            "paper)",
            f"{sum(map(_is_right, ours))} of {len(ours)}, {sum(run['trusted'] for run in ours)} of "
            "them trusted",
            all(_is_right(run) and run["trusted"] for run in ours),
        ),
    ]


def draw(figure: Figure, curves: Mapping[str, Any]) -> None:
    """Draws the paper's loss over its steps, and where the starts of both columns end."""
    descent, ends = figure.subplots(1, 2)
    (paper, *others) = curves["groups"]
    for run in paper["runs"]:
        descent.plot(run["steps"], _visible(run["losses"]), color=COLORS[PAPER])
    descent.set(yscale="log", xlabel="steps of Adam", ylabel="recovery loss $L_{OR}$ (rad²)")
    descent.set_title(f"{PAPER}: {len(paper['runs'])} starts")
    ends.plot(
        np.zeros(len(paper["runs"])),
        _visible([run["loss"] for run in paper["runs"]]),
        "o",
        color=COLORS[PAPER],
        alpha=0.6,
        label=f"{PAPER}: its one start",
    )
    for place, group in enumerate(others, start=1):
        starts = [loss for run in group["runs"] for loss in run["losses"]]
        label = f"{OURS}: its starts" if place == 1 else None
        ends.plot(
            place + np.linspace(-0.2, 0.2, len(starts)),
            _visible(starts),
            ".",
            color="0.5",
            label=label,
        )
        kept = [run["loss"] for run in group["runs"]]
        label = f"{OURS}: what it keeps" if place == 1 else None
        ends.plot(
            np.full(len(kept), place),
            _visible(kept),
            "o",
            color=COLORS[OURS],
            alpha=0.6,
            label=label,
        )
    names = [f"{group['orientations']}, {group['symmetry']}" for group in curves["groups"]]
    ends.set_xticks(range(len(names)), names)
    ends.set(yscale="log", ylabel="loss at the end (rad²)", xlim=(-0.5, len(names) - 0.5))
    figure.legend(loc="outside upper right", ncols=3)


def _visible(losses: Sequence[float]) -> NDArray[np.float64]:
    return np.maximum(losses, _TINY_RAD2)
