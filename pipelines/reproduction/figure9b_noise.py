"""Figure 9b: how well distances are learned, and orientations recovered, under noise.

Section 3.4: white noise of variance 0 to 25 on projections of variance 1. The paper's column has
the same noise in every epoch; ours draws it afresh.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from cryotwin.pipelines.reproduction.column_legend import name_columns
from cryotwin.pipelines.reproduction.levels import (
    draw_losses_and_recovery,
    level_table,
    try_conditions,
    typical,
)
from cryotwin.pipelines.reproduction.result import OURS, PAPER, Result, Trend
from cryotwin.pipelines.reproduction.verdict import has_recovered, told
from cryotwin.pipelines.reproduction.views import (
    HALF_OF_THE_DIRECTIONS,
    Condition,
    ViewSettings,
    half_of_the_directions,
)
from cryotwin.pipelines.reproduction.workspace import Workspace

_LEVEL = "noise variance (at 116 px)"

_OVERFITTED = 1.1
"""Validation over training loss from which on a training has overfitted."""


_REMARK = (
    "cryotwin's training loss is of noise that is drawn afresh, of a quarter to all of the "
    "standard deviation; its validation and test images have all of it."
)


@dataclass(frozen=True)
class Settings:
    """Of the experiment.

    Attributes:
        views: projections of the particle without symmetry.
        noise_variances: on the paper's images of 116 px; the first is 0.
    """

    views: ViewSettings
    noise_variances: tuple[float, ...]


def settings(workspace: Workspace) -> Settings:
    """Gives the settings at the size of the workspace."""
    scale = workspace.scale
    variances = {"quick": (0.0, 16.0), "full": (0.0, 4.0, 16.0, 25.0)}.get(
        scale.name, (0.0, 1.0, 4.0, 9.0, 16.0, 25.0)
    )
    return Settings(half_of_the_directions(workspace), variances)


def run(workspace: Workspace, settings: Settings) -> Result:
    """Trains and tries both columns at each variance."""
    curves = try_conditions(
        workspace,
        settings.views,
        settings.noise_variances,
        lambda level: Condition(noise_variance=level),
    )
    title = f"{workspace.asymmetric.name} in noise"
    remarks = [HALF_OF_THE_DIRECTIONS, _REMARK]
    return Result([level_table(title, _LEVEL, curves)], trends(curves), curves, remarks)


def trends(curves: Mapping[str, Any]) -> list[Trend]:
    """Checks what section 3.4 says, in the paper's column and, where it applies, in ours."""
    return [
        trend
        for column in (PAPER, OURS)
        for trend in (
            _rise(column, curves[column], "validation", "distance loss"),
            _rise(column, curves[column], "o4_error", "O(4) error"),
            _together(column, curves[column], "distance_loss", "distance loss"),
            _together(column, curves[column], "loss", "recovery loss"),
        )
    ] + [_overfitting(curves)]


def _rise(column: str, levels: list[Any], what: str, name: str) -> Trend:
    values = [float(np.median(numbers[what])) for numbers in levels]
    unit = "rad²" if what == "validation" else "rad"
    return Trend(
        f"the {name} rises with the noise (Figure 9b), {column}",
        ", ".join(f"{value:.3f}" for value in values) + f" {unit}",
        told(bool(np.all(np.diff(values) > 0)), typical(levels[0]))
        if what == "validation" or has_recovered(values[0])
        else None,
    )


def _together(column: str, levels: list[Any], what: str, name: str) -> Trend:
    """Whether of any two levels the one with less of `what` has less O(4) error too."""
    agreeing = [
        (first[what] < second[what]) == (first["o4_error"] < second["o4_error"])
        for first, second in combinations(levels, 2)
    ]
    return Trend(
        f"a smaller {name} goes with a smaller O(4) error (section 3.4), {column}",
        f"in {sum(agreeing)} of {len(agreeing)} pairs of levels",
        told(all(agreeing), typical(levels[0])) if has_recovered(levels[0]["o4_error"]) else None,
    )


def _overfitting(curves: Mapping[str, Any]) -> Trend:
    noisiest = curves[PAPER][-1]
    ratio = typical(noisiest) / float(np.median(noisiest["training"]))
    return Trend(
        "noise is overfitted where it is the same in every epoch: at the strongest, the "
        f"validation loss is above {_OVERFITTED:g} times the training loss (section 3.4)",
        f"{ratio:.2f} times",
        told(ratio > _OVERFITTED, typical(curves[PAPER][0])),
    )


def draw(figure: Figure, curves: Mapping[str, Any]) -> None:
    """Draws losses and the recovery's error over the variance."""
    panels = draw_losses_and_recovery(figure, curves, _LEVEL)
    (training, *_) = (
        panels[0].plot(place - 0.18, np.median(numbers["training"]), "D", color="w", mec="k")
        for place, numbers in enumerate(curves[PAPER])
    )
    training[0].set_label("training loss, as in the paper")
    name_columns(figure, training)
