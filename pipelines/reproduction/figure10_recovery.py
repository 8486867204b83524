"""Figure 10: orientations recovered from estimated distances, of both particles, in noise or not.

Section 3.5. The paper takes the symmetric particle from a quarter of the sphere and leaves its
symmetry out; ours takes it from everywhere, under its point group.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from cryotwin.pipelines.reproduction.column_legend import COLORS, name_columns
from cryotwin.pipelines.reproduction.error_histograms import (
    draw_error_histogram,
    error_histogram,
    mark_mean_error,
)
from cryotwin.pipelines.reproduction.recovery_cases import (
    QUARTER,
    RecoveryCase,
    case_training,
    evaluated_error,
    evaluated_errors,
    try_training,
)
from cryotwin.pipelines.reproduction.result import OURS, PAPER, Cell, Result, Table, Trend
from cryotwin.pipelines.reproduction.verdict import has_learned, has_recovered
from cryotwin.pipelines.reproduction.workspace import Record, Workspace

_REPORTED_RAD = {
    ("5j0n", 0.0): 0.20,
    ("5j0n", 16.0): 0.25,
    ("5a1a", 0.0): 0.13,
    ("5a1a", 16.0): 0.13,
}
"""The paper's E_OR, by particle and noise variance (section 3.5)."""

_HARDLY = 1.25
"""An error that grows by no more than this factor has hardly grown."""

_STYLES = {"training": ":", "validation": "-"}


@dataclass(frozen=True)
class Settings:
    """Of the experiment.

    Attributes:
        projections: over the three splits.
        box_px: edge of the images.
        asymmetric_noises: variances on the paper's images, of the particle without symmetry.
        symmetric_noises: of the particle with symmetry.
    """

    projections: int
    box_px: int
    asymmetric_noises: tuple[float, ...]
    symmetric_noises: tuple[float, ...]


def settings(workspace: Workspace) -> Settings:
    """Gives the settings at the size of the workspace."""
    scale = workspace.scale
    noises = (0.0, 16.0)
    return Settings(scale.count, scale.box_px, noises, noises[: 1 if scale.name == "quick" else 2])


def run(workspace: Workspace, settings: Settings) -> Result:
    """Recovers the orientations of all cases in both columns."""
    cases = [
        _case(workspace, RecoveryCase(target, column, noise))
        for target, noises in (
            (workspace.asymmetric, settings.asymmetric_noises),
            (workspace.symmetric, settings.symmetric_noises),
        )
        for noise in noises
        for column in (PAPER, OURS)
    ]
    names = (workspace.asymmetric.name, workspace.symmetric.name)
    remarks = [
        "Errors that are drawn are those by which each column judges itself: O(4) in the paper's, "
        "physical ones after recover(), without any help by the truth, in cryotwin's.",
        f"Of {workspace.symmetric.name} the paper's column has orientations '{QUARTER}' and "
        f"distances without symmetry, cryotwin's the whole sphere and all errors under "
        f"{workspace.symmetric.symmetry}: the losses of the two are of different distances.",
    ]
    return Result([_table(cases)], trends(cases, *names), {"cases": _drawn(cases)}, remarks)


def _case(workspace: Workspace, case: RecoveryCase) -> Record:
    training = case_training(workspace, case)
    record, _ = try_training(workspace, training)
    kept = ("distance_loss", "loss", "o4_error", "physical_error", "steps", "losses")
    return {
        "particle": case.target.name,
        "noise_variance": case.noise_variance,
        "column": case.column,
        "curve": np.round(record["curve"], 4).tolist(),
        **{what: record[what] for what in kept},
        "whole_error": record.get("whole_physical_error"),
        "error": evaluated_error(record, case.column),
        "errors": evaluated_errors(record, case.column),
    }


def _table(cases: Sequence[Record]) -> Table:
    rows: list[list[Cell]] = [
        [
            case["particle"],
            case["noise_variance"],
            case["column"],
            case["distance_loss"],
            case["loss"],
            case["o4_error"],
            case["physical_error"],
            case["whole_error"],
            _REPORTED_RAD.get((case["particle"], case["noise_variance"]))
            if case["column"] == PAPER
            else None,
        ]
        for case in cases
    ]
    return Table(
        "Test split; mean errors",
        [
            "particle",
            "noise variance",
            "column",
            "L_DE (rad²)",
            "L_OR (rad²)",
            "O(4) error (rad)",
            "physical error (rad)",
            "physical error after recover() (rad)",
            "O(4) error that the paper reports (rad)",
        ],
        rows,
    )


def _drawn(cases: Sequence[Record]) -> list[Record]:
    kept = ("particle", "noise_variance", "column", "curve", "steps", "losses", "loss", "error")
    return [
        {**{what: case[what] for what in kept}, "histogram": error_histogram(case["errors"])}
        for case in cases
    ]


def trends(cases: Sequence[Record], asymmetric: str, symmetric: str) -> list[Trend]:
    """Checks what section 3.5 says of the recovered orientations.

    Args:
        cases: with "particle", "noise_variance", "column", "distance_loss" and "error" (rad).
        asymmetric: name of the particle without symmetry.
        symmetric: name of the other.
    """
    found = []
    for column in (PAPER, OURS):
        by = {
            (case["particle"], case["noise_variance"] > 0): case
            for case in cases
            if case["column"] == column
        }
        found.append(
            _compare(
                f"noise makes recovered orientations worse (Figure 10b), {asymmetric}, {column}",
                by.get((asymmetric, False)),
                by.get((asymmetric, True)),
                lambda clean, noisy: clean < noisy,
            )
        )
        found.append(
            _compare(
                f"{symmetric} is recovered better than {asymmetric} (section 3.5), {column}",
                by.get((symmetric, False)),
                by.get((asymmetric, False)),
                lambda one, other: one < other,
            )
        )
        found.append(
            _compare(
                f"noise hardly matters to {symmetric}: the error grows by less than a quarter "
                f"(Figure 10d), {column}",
                by.get((symmetric, False)),
                by.get((symmetric, True)),
                lambda clean, noisy: noisy < _HARDLY * clean,
            )
        )
    return [trend for trend in found if trend is not None] + [_ours_is_better(cases)]


def _compare(claim: str, first: Record | None, second: Record | None, holds: Any) -> Trend | None:
    """Checks a claim on the errors of two cases; None if one was not made."""
    if first is None or second is None:
        return None
    errors = first["error"], second["error"]
    # What noise does can be told if all goes well without.
    learned = has_learned(min(first["distance_loss"], second["distance_loss"]))
    told = learned and has_recovered(min(errors))
    return Trend(
        claim,
        f"{errors[0]:.2g} and {errors[1]:.2g} rad",
        bool(holds(*errors)) if told else None,
    )


def _ours_is_better(cases: Sequence[Record]) -> Trend:
    pairs = [
        (paper["error"], ours["error"])
        for paper in cases
        for ours in cases
        if (paper["column"], ours["column"]) == (PAPER, OURS)
        and all(paper[key] == ours[key] for key in ("particle", "noise_variance"))
    ]
    return Trend(
        "the physical error of cryotwin, which nothing but the images tells, is below the paper's "
        "error with all of O(4) (beyond the paper)",
        "; ".join(f"{ours:.2g} against {paper:.2g}" for paper, ours in pairs) + " rad",
        all(ours < paper for paper, ours in pairs),
    )


def draw(figure: Figure, curves: Mapping[str, Any]) -> None:
    """Draws for each case, in its own panels, L_DE, the recovery loss and the errors."""
    names = list(dict.fromkeys(map(_name, curves["cases"])))
    figure.set_size_inches(9, 6.6)
    panels = figure.subplots(3, len(names), squeeze=False, sharex="row", sharey="row")
    for place, name in enumerate(names):
        panels[0, place].set_title(name)
        for case in curves["cases"]:
            if _name(case) == name:
                _draw_case(panels[:, place], case)
    for row, label in enumerate(
        ("$L_{DE}$ (rad²)", "recovery loss $L_{OR}$ (rad²)", "particles (%)")
    ):
        for axes in panels[row]:
            axes.set_ylabel("")
        panels[row, 0].set_ylabel(label)
    styles = [Line2D([], [], color="0.3", ls=style, label=name) for name, style in _STYLES.items()]
    marks = [
        Line2D([], [], color="0.3", ls="--", label="lowest loss"),
        Line2D([], [], color="0.3", ls="", marker="v", label="mean error"),
    ]
    name_columns(figure, [*styles, *marks])


def _name(case: Mapping[str, Any]) -> str:
    return f"{case['particle']}, noise {case['noise_variance']:g}"


def _draw_case(panels: NDArray[Any], case: Mapping[str, Any]) -> None:
    color = COLORS[case["column"]]
    losses = np.array(case["curve"])
    share = np.arange(1, len(losses) + 1) / len(losses)
    for values, style in zip(losses.T, _STYLES.values(), strict=True):
        panels[0].plot(share, values, style, color=color)
    panels[0].set(yscale="log", xlabel="share of the epochs")
    panels[1].plot(case["steps"], np.maximum(case["losses"], 1e-12), color=color)
    panels[1].axhline(max(case["loss"], 1e-12), color=color, ls="--", lw=0.8)
    panels[1].set(yscale="log", xlabel="steps of Adam")
    draw_error_histogram(panels[2], case["histogram"], color=color)
    mark_mean_error(panels[2], case["error"], color=color)
