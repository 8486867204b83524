"""Figure 8: distances are learned, and the largest are underestimated.

Section 3.3, without noise, on the asymmetric particle and on the symmetric one. The paper takes
the symmetric particle from a quarter of the sphere, and leaves its symmetry out of the distances;
ours is the distance under the point group, of views from everywhere.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from cryotwin.datasets.pairs import pair_distances
from cryotwin.pipelines.reproduction.column_legend import COLORS, name_columns
from cryotwin.pipelines.reproduction.estimated_distances import (
    OFF_RAD,
    draw_distances,
    largest_bias,
    outliers,
    shown,
    slope_at_large,
)
from cryotwin.pipelines.reproduction.levels import settled, typical
from cryotwin.pipelines.reproduction.own_column import OwnTraining, own_training
from cryotwin.pipelines.reproduction.paper_column import PaperTraining, paper_training
from cryotwin.pipelines.reproduction.result import OURS, PAPER, Cell, Result, Table, Trend
from cryotwin.pipelines.reproduction.target import Target
from cryotwin.pipelines.reproduction.trial import ORIENTATIONS_FILE, shown_pairs, try_estimator
from cryotwin.pipelines.reproduction.verdict import has_learned
from cryotwin.pipelines.reproduction.views import ViewSettings
from cryotwin.pipelines.reproduction.workspace import Record, Workspace

_FEW_EPOCHS = 10
"""Of so few it can't be told whether a loss has converged."""

_NEARER_RAD = OFF_RAD / 2
"""A copy has to be so much nearer to explain an outlier."""

_LOSSES = {"training": ":", "validation": "-"}


@dataclass(frozen=True)
class Settings:
    """Of the experiment.

    Attributes:
        projections: over the three splits.
        box_px: edge of the images.
        orientations: of the projections.
        quarter: of those of the symmetric particle in the paper's column.
    """

    projections: int
    box_px: int
    orientations: str
    quarter: str


def settings(workspace: Workspace) -> Settings:
    """Gives the settings at the size of the workspace."""
    scale = workspace.scale
    return Settings(scale.count, scale.box_px, "so3", "so3-quarter")


def run(workspace: Workspace, settings: Settings) -> Result:
    """Trains and tries both columns on both particles."""
    cases = [
        _case(workspace, column, target, _training(workspace, settings, column, target))
        for target in (workspace.asymmetric, workspace.symmetric)
        for column in (PAPER, OURS)
    ]
    drawn = ("column", "particle", "curve", "training_passes")
    curves = {
        "cases": [
            {**{what: case[what] for what in drawn}, "pairs": shown(case["pairs"])}
            for case in cases
        ]
    }
    return Result([_table(cases)], trends(cases), curves, _remarks(workspace))


def _training(
    workspace: Workspace, settings: Settings, column: str, target: Target
) -> PaperTraining | OwnTraining:
    quarter = column == PAPER and target.symmetry != "C1"
    views = ViewSettings(
        target,
        settings.box_px,
        settings.projections,
        settings.quarter if quarter else settings.orientations,
    )
    if column == PAPER:
        return paper_training(workspace, views)
    return own_training(workspace, views, symmetry=target.symmetry)


def _case(
    workspace: Workspace, column: str, target: Target, training: PaperTraining | OwnTraining
) -> Record:
    record, folder = try_estimator(workspace, training)
    case = {
        "column": column,
        "particle": target.name,
        "curve": np.round(record["curve"], 4).tolist(),
        "pairs": record["pairs"],
        **{what: record[what] for what in ("distance_loss", "training_seconds", "training_passes")},
    }
    if column == PAPER and target.symmetry != "C1":
        with np.load(folder / ORIENTATIONS_FILE) as kept:
            pairs = shown_pairs(kept["true"], "C1")
            nearest = pair_distances(kept["true"], pairs, symmetry=target.symmetry)
        case["nearest_copies"] = nearest.round(4).tolist()
    return case


def _table(cases: list[Record]) -> Table:
    rows: list[list[Cell]] = []
    for case in cases:
        off = outliers(case["pairs"])
        rows.append(
            [
                case["particle"],
                case["column"],
                case["distance_loss"],
                largest_bias(case["pairs"])[0],
                slope_at_large(case["pairs"]),
                100 * float(np.mean(off)),
                case["training_passes"] / 1000,
                case["training_seconds"] / 60,
            ]
        )
    return Table(
        "Test split, without noise; the largest distances are the last sixth of their range (above "
        "150 degrees without symmetry), the slope is over the last third",
        [
            "particle",
            "column",
            "distance loss (rad²)",
            "bias at the largest (rad)",
            "slope at large ones",
            f"off by more than {OFF_RAD:g} rad (%)",
            "images passed in training (thousands)",
            "training (min)",
        ],
        rows,
    )


def trends(cases: list[Record]) -> list[Trend]:
    """Checks what section 3.3 says of the cases of both particles, the paper's column first."""
    paper = [case for case in cases if case["column"] == PAPER]
    ours = [case for case in cases if case["column"] == OURS]
    found = [_convergence(case) for case in paper]
    found += [_plateau(case) for case in paper]
    found += [_less_of_a_plateau(*both) for both in zip(paper, ours, strict=True)]
    return found + [_outliers(case) for case in paper if "nearest_copies" in case]


def _convergence(case: Record) -> Trend:
    losses = [validation for _, validation in case["curve"]]
    half = len(losses) // 2
    fall = losses[0] - min(losses)
    late = min(losses[: half + 1]) - min(losses)
    return Trend(
        f"the loss falls and flattens: less than a quarter of its fall is in the second half of "
        f"the training (Figure 8a), {case['particle']}",
        f"validation {losses[0]:.3f} to {min(losses):.3f} rad², {100 * late / fall:.0f}% of that "
        "late"
        if fall > 0
        else f"validation {losses[0]:.3f} rad² and never lower",
        None if len(losses) < _FEW_EPOCHS else bool(fall > 0 and late < fall / 4),
    )


def _plateau(case: Record) -> Trend:
    bias, error = largest_bias(case["pairs"])
    return Trend(
        f"the largest distances are underestimated: the bias is below zero by three times its "
        f"standard error (Figure 8b), {case['particle']}",
        f"bias {bias:+.2f} +- {error:.2f} rad, slope {slope_at_large(case['pairs']):.2f}",
        bias < -3 * error if _has_learned(case) else None,
    )


def _less_of_a_plateau(paper: Record, ours: Record) -> Trend:
    """Networks differ too; Figure 17a compares the heads alone."""
    biases = [abs(largest_bias(case["pairs"])[0]) for case in (paper, ours)]
    slopes = [slope_at_large(case["pairs"]) for case in (paper, ours)]
    return Trend(
        "cryotwin plateaus less: less bias at the largest distances, a slope that is nearer to 1 "
        f"(beyond the paper), {paper['particle']}",
        f"bias {biases[1]:.2f} instead of {biases[0]:.2f} rad, slope {slopes[1]:.2f} instead of "
        f"{slopes[0]:.2f}",
        (biases[1] < biases[0] and abs(1 - slopes[1]) < abs(1 - slopes[0]))
        if _has_learned(paper)
        else None,
    )


def _outliers(case: Record) -> Trend:
    """Whether outliers are pairs that have nearer copies under the point group.

    Pairs at large distances have both more often, so that pairs are compared with others of about
    the same distance: a Mantel-Haenszel test.
    """
    true = np.asarray(case["pairs"])[:, 0]
    nearer = true - np.asarray(case["nearest_copies"]) > _NEARER_RAD
    off = outliers(case["pairs"])
    expected, variance = expected_overlap(nearer, off, (8 * true / true.max()).astype(int))
    found = int(np.sum(nearer & off))
    return Trend(
        "outliers come from the symmetry that is left: more of them have a nearer copy, by two "
        f"standard deviations, than of pairs at the same distance (Figure 8b), {case['particle']}",
        f"{found} of {off.sum()} outliers, {expected:.0f} +- {variance**0.5:.0f} expected",
        found > expected + 2 * variance**0.5 if _has_learned(case) else None,
    )


def expected_overlap(
    first: NDArray[np.bool_], second: NDArray[np.bool_], stratum: NDArray[np.int_]
) -> tuple[float, float]:
    """Gives mean and variance of the number in both sets if they're independent in each stratum.

    That is the hypergeometric distribution in each. All are (pairs,).
    """
    mean = variance = 0.0
    for each in np.unique(stratum):
        chosen = stratum == each
        total, a, b = int(chosen.sum()), int(first[chosen].sum()), int(second[chosen].sum())
        mean += a * b / total
        if total > 1:
            variance += a * b * (total - a) * (total - b) / (total**2 * (total - 1))
    return mean, variance


def _has_learned(case: Record) -> bool:
    return has_learned(
        typical({"validation": [validation for _, validation in settled(case["curve"])]})
    )


def _remarks(workspace: Workspace) -> list[str]:
    target = workspace.symmetric
    averages = (
        "In its first epochs cryotwin's validation loss is above its training loss, probably as "
        "the running averages of the batch normalisation lag behind the weights."
    )
    if target.symmetry == "C1":
        return [averages]
    return [
        averages,
        f"{target.name} in the paper's column: views from a quarter of the sphere, distances "
        f"without symmetry. In cryotwin's: views from the whole sphere, distances under "
        f"{target.symmetry}, which end at less than pi. The losses of the two are of different "
        "distances.",
    ]


def draw(figure: Figure, curves: Mapping[str, Any]) -> None:
    """Draws losses over the images passed, and estimated over true distances, by particle."""
    particles = list(dict.fromkeys(case["particle"] for case in curves["cases"]))
    panels = figure.subplots(1, 2 * len(particles))
    for place, particle in enumerate(particles):
        cases = [case for case in curves["cases"] if case["particle"] == particle]
        _draw_losses(panels[place], cases)
        panels[place].set_title(f"{particle}: loss")
        scatter = panels[place + len(particles)]
        draw_distances(scatter, {case["column"]: case["pairs"] for case in cases})
        scatter.set_title(f"{particle}: distances")
    styles = [
        Line2D([], [], color="0.3", ls=style, label=f"{name} loss")
        for name, style in _LOSSES.items()
    ]
    name_columns(figure, styles)


def _draw_losses(axes: Axes, cases: list[Record]) -> None:
    for case in cases:
        losses = np.array(case["curve"])
        passed = np.arange(1, len(losses) + 1) / len(losses) * case["training_passes"]
        for values, style in zip(losses.T, _LOSSES.values(), strict=True):
            axes.plot(passed, values, style, color=COLORS[case["column"]])
    axes.set(
        xscale="log", yscale="log", xlabel="images passed in training", ylabel="$L_{DE}$ (rad²)"
    )
