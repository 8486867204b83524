"""Figure 9a: how well distances are learned from projections that are off-centre.

Section 3.4: both components of the shift from a triangular distribution of growing limits.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from matplotlib.figure import Figure

from cryotwin.pipelines.reproduction.column_legend import name_columns
from cryotwin.pipelines.reproduction.levels import (
    TOLERANCE,
    draw_losses_and_recovery,
    level_table,
    try_conditions,
    typical,
)
from cryotwin.pipelines.reproduction.result import OURS, PAPER, Result, Trend
from cryotwin.pipelines.reproduction.verdict import told
from cryotwin.pipelines.reproduction.views import (
    HALF_OF_THE_DIRECTIONS,
    Condition,
    ViewSettings,
    half_of_the_directions,
)
from cryotwin.pipelines.reproduction.workspace import Workspace

_LEVEL = "largest shift (px of 116)"

_ONE_PIXEL = (
    "The seven poolings by two of the paper's Figure 18 leave one pixel, of 116 as of 32: the last "
    "average is over that one, and that features do not change with a shift is learned rather than "
    "built in."
)


@dataclass(frozen=True)
class Settings:
    """Of the experiment.

    Attributes:
        views: projections of the particle without symmetry.
        max_shifts_px: limits of the shifts, in pixels of the paper's 116; the first is 0.
    """

    views: ViewSettings
    max_shifts_px: tuple[float, ...]


def settings(workspace: Workspace) -> Settings:
    """Gives the settings at the size of the workspace."""
    scale = workspace.scale
    shifts = {"quick": (0.0, 10.0), "full": (0.0, 5.0, 10.0)}.get(
        scale.name, (0.0, 2.0, 5.0, 10.0, 15.0, 20.0)
    )
    return Settings(half_of_the_directions(workspace), shifts)


def run(workspace: Workspace, settings: Settings) -> Result:
    """Trains and tries both columns at each limit."""
    curves = try_conditions(
        workspace,
        settings.views,
        settings.max_shifts_px,
        lambda level: Condition(max_shift_px=level),
    )
    title = f"{workspace.asymmetric.name}, off-centre"
    remarks = [HALF_OF_THE_DIRECTIONS, _ONE_PIXEL]
    return Result([level_table(title, _LEVEL, curves)], trends(curves), curves, remarks)


def trends(curves: Mapping[str, Any]) -> list[Trend]:
    """Checks that the loss is flat: nowhere higher than without shifts by `TOLERANCE`."""
    losses = [typical(numbers) for numbers in curves[PAPER]]
    rise = max(losses[1:]) / losses[0] - 1
    seen = ", ".join(f"{loss:.3f}" for loss in losses) + f" rad², {100 * rise:+.0f}% at most"
    ours = [typical(numbers) for numbers in curves[OURS]]
    return [
        Trend(
            "learning is not harder as projections get shifted farther: the loss rises by less "
            f"than {100 * TOLERANCE:.0f}% (Figure 9a)",
            seen,
            told(rise < TOLERANCE, typical(curves[PAPER][0])),
        ),
        Trend(
            "cryotwin's loss is lower at every shift (beyond the paper)",
            ", ".join(f"{loss:.3f}" for loss in ours) + " rad²",
            all(own < paper for own, paper in zip(ours, losses, strict=True)),
        ),
    ]


def draw(figure: Figure, curves: Mapping[str, Any]) -> None:
    """Draws losses and the recovery's error over the limit of the shifts."""
    draw_losses_and_recovery(figure, curves, _LEVEL)
    name_columns(figure)
