"""Figure 13: the same from orientations that are not uniform: uniform Euler angles.

Appendix A, without noise, on the particle without symmetry; beside it the case of Figures 10 and 11
with uniform orientations.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from cryotwin.pipelines.reproduction.column_legend import COLORS, name_columns
from cryotwin.pipelines.reproduction.error_histograms import draw_error_histogram, error_histogram
from cryotwin.pipelines.reproduction.recovered_maps import AIDED, UNAIDED, recovered_maps
from cryotwin.pipelines.reproduction.recovery_cases import (
    RecoveryCase,
    case_training,
    evaluated_error,
    evaluated_errors,
    try_training,
)
from cryotwin.pipelines.reproduction.result import OURS, PAPER, Cell, Result, Table, Trend
from cryotwin.pipelines.reproduction.verdict import has_learned, has_recovered
from cryotwin.pipelines.reproduction.views import make_views
from cryotwin.pipelines.reproduction.workspace import Record, Workspace

_BARELY = 1.25
"""What grows by no more than this factor is barely affected."""

_LITTLE = {"error": 0.01, "resolution_angstrom": 0.0}
"""Nor is what grows by no more than this, rad or angstrom."""


@dataclass(frozen=True)
class Settings:
    """Of the experiment.

    Attributes:
        projections: over the three splits.
        box_px: edge of the images.
        orientations: of the projections: the uniform ones, then the others.
    """

    projections: int
    box_px: int
    orientations: tuple[str, str]


def settings(workspace: Workspace) -> Settings:
    """Gives the settings at the size of the workspace."""
    scale = workspace.scale
    return Settings(scale.count, scale.box_px, ("so3", "euler"))


def run(workspace: Workspace, settings: Settings) -> Result:
    """Goes the whole way from both distributions in both columns."""
    cases = [
        _case(workspace, RecoveryCase(workspace.asymmetric, column, orientations=orientations))
        for column in (PAPER, OURS)
        for orientations in settings.orientations
    ]
    remarks = [
        "Errors and maps are those by which each column judges itself: after an alignment over "
        "O(4) in the paper's, physical ones in cryotwin's.",
        f"The Nyquist limit of the maps is {cases[0]['nyquist_angstrom']:.1f} Å.",
    ]
    return Result(
        [_table(workspace.asymmetric.name, cases)],
        trends(cases),
        {"particle": workspace.asymmetric.name, "cases": _drawn(cases)},
        remarks,
    )


def _case(workspace: Workspace, case: RecoveryCase) -> Record:
    training = case_training(workspace, case)
    record, _ = try_training(workspace, training)
    maps = recovered_maps(workspace, training)[AIDED if case.column == PAPER else UNAIDED]
    made = make_views(workspace, training.views)
    return {
        "column": case.column,
        "orientations": case.orientations,
        "curve": np.round(record["curve"], 4).tolist(),
        "distance_loss": record["distance_loss"],
        "loss": record["loss"],
        "error": evaluated_error(record, case.column),
        "errors": evaluated_errors(record, case.column),
        "fsc": maps["fsc"],
        "resolution_angstrom": maps["resolution_angstrom"],
        "nyquist_angstrom": 2 * made.pixel_size_angstrom,
        "box_angstrom": len(made.volume) * made.pixel_size_angstrom,
    }


def _table(particle: str, cases: Sequence[Record]) -> Table:
    rows: list[list[Cell]] = [
        [
            case["column"],
            case["orientations"],
            case["distance_loss"],
            case["loss"],
            case["error"],
            case["resolution_angstrom"],
        ]
        for case in cases
    ]
    return Table(
        f"{particle}, without noise, test split",
        [
            "column",
            "orientations",
            "L_DE (rad²)",
            "L_OR (rad²)",
            "mean error (rad)",
            "resolution at FSC 0.5 (Å)",
        ],
        rows,
    )


def _drawn(cases: Sequence[Record]) -> list[Record]:
    kept = ("column", "orientations", "curve", "error", "fsc", "box_angstrom")
    return [
        {**{what: case[what] for what in kept}, "histogram": error_histogram(case["errors"])}
        for case in cases
    ]


def trends(cases: Sequence[Record]) -> list[Trend]:
    """Checks in both columns that orientations and map are barely affected.

    Args:
        cases: of each column the uniform one first, with "column", "distance_loss", "error" (rad)
            and "resolution_angstrom".
    """
    found = []
    for column in (PAPER, OURS):
        uniform, other = (case for case in cases if case["column"] == column)
        for what, name, limit, unit in (
            ("error", "recovered orientations", "a quarter or by 0.01 rad", "rad"),
            ("resolution_angstrom", "the reconstructed map", "a quarter", "Å"),
        ):
            found.append(
                Trend(
                    f"{name}: barely affected by orientations that are not uniform, worse by less "
                    f"than {limit} (Appendix A), {column}",
                    f"{uniform[what]:.3g} and {other[what]:.3g} {unit}",
                    other[what] < max(_BARELY * uniform[what], uniform[what] + _LITTLE[what])
                    if has_learned(uniform["distance_loss"]) and has_recovered(uniform["error"])
                    else None,
                )
            )
    return found


def draw(figure: Figure, curves: Mapping[str, Any]) -> None:
    """Draws validation losses, histograms of errors, and FSC curves of all four cases."""
    grid = figure.subplot_mosaic([["losses", "so3", "fsc"], ["losses", "euler", "fsc"]])
    losses, correlation = grid["losses"], grid["fsc"]
    histograms = (grid["so3"], grid["euler"])
    names = list(dict.fromkeys(case["orientations"] for case in curves["cases"]))
    styles = dict(zip(names, ("-", "--"), strict=True))
    for case in curves["cases"]:
        look = {"color": COLORS[case["column"]], "ls": styles[case["orientations"]]}
        validation = np.array(case["curve"])[:, 1]
        losses.plot(np.arange(1, len(validation) + 1) / len(validation), validation, **look)
        fsc = case["fsc"]
        correlation.plot(np.arange(1, len(fsc)) / case["box_angstrom"], fsc[1:], **look)
        axes = histograms[names.index(case["orientations"])]
        draw_error_histogram(axes, case["histogram"], color=COLORS[case["column"]])
        axes.set_title(f"orientations '{case['orientations']}'", fontsize=8)
    histograms[0].set(xlabel="")
    losses.set(yscale="log", xlabel="share of the epochs", ylabel="validation loss (rad²)")
    correlation.axhline(0.5, color="k", lw=0.6)
    correlation.set(xlabel="spatial frequency (1/Å)", ylabel="FSC with the true map")
    correlation.set_ylim(top=1.05)
    losses.set_title(f"{curves['particle']}, without noise", fontsize=8)
    lines = [Line2D([], [], color="0.3", ls=style, label=name) for name, style in styles.items()]
    name_columns(figure, lines)
