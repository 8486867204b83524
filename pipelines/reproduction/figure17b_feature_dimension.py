"""Figure 17b: how many features are enough.

Appendix D, without noise. In the paper's column the filters of the last convolution are the
features. Our head stands for tr(Ri^T Rj) / 3, which 9 features hold exactly and fewer do not.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from matplotlib.figure import Figure

from cryotwin.pipelines.reproduction.column_legend import name_columns
from cryotwin.pipelines.reproduction.estimated_distances import draw_distances
from cryotwin.pipelines.reproduction.levels import (
    TOLERANCE,
    draw_losses,
    is_dead,
    level_table,
    try_levels,
    typical,
)
from cryotwin.pipelines.reproduction.own_column import OwnTraining, own_training
from cryotwin.pipelines.reproduction.paper_column import PaperTraining, paper_training
from cryotwin.pipelines.reproduction.result import OURS, PAPER, Result, Trend
from cryotwin.pipelines.reproduction.verdict import told
from cryotwin.pipelines.reproduction.views import (
    HALF_OF_THE_DIRECTIONS,
    ViewSettings,
    half_of_the_directions,
)
from cryotwin.pipelines.reproduction.workspace import Workspace

_TOO_FEW, _ENOUGH = 4, 16
"""Features, as the paper has it."""


@dataclass(frozen=True)
class Settings:
    """Of the experiment.

    Attributes:
        views: projections of the particle without symmetry.
        feature_dims: numbers of features, from the paper's least to its 512.
    """

    views: ViewSettings
    feature_dims: tuple[int, ...]


def settings(workspace: Workspace) -> Settings:
    """Gives the settings at the size of the workspace."""
    scale = workspace.scale
    dims = {"quick": (4, 512), "full": (4, 16, 512)}.get(
        scale.name, (4, 8, 16, 32, 64, 128, 256, 512)
    )
    return Settings(half_of_the_directions(workspace), dims)


def run(workspace: Workspace, settings: Settings) -> Result:
    """Trains and tries both columns with each number of features."""

    def training(column: str, dim: int) -> PaperTraining | OwnTraining:
        way = paper_training if column == PAPER else own_training
        return way(workspace, settings.views, feature_dim=dim)

    ends = (settings.feature_dims[0], settings.feature_dims[-1])
    curves = try_levels(workspace, settings.feature_dims, training, with_pairs=ends)
    title = f"{workspace.asymmetric.name} without noise"
    remarks = [HALF_OF_THE_DIRECTIONS]
    return Result([level_table(title, "features", curves)], trends(curves), curves, remarks)


def trends(curves: Mapping[str, Any]) -> list[Trend]:
    """Checks that 4 features are not enough and 16 are, in each column."""
    return [
        trend
        for column in (PAPER, OURS)
        for trend in _trends(column, dict(zip(curves["levels"], curves[column], strict=True)))
    ]


def _trends(column: str, by_dim: Mapping[int, Any]) -> list[Trend]:
    losses = {dim: typical(numbers) for dim, numbers in by_dim.items()}
    seen = ", ".join(f"{dim}: {loss:.3f}" for dim, loss in losses.items()) + " rad²"
    dead = [str(dim) for dim, numbers in by_dim.items() if is_dead(numbers)]
    if dead:
        seen += f"; with {' and '.join(dead)} features all ReLUs before them have died"
    best = min(losses.values())
    most = by_dim[max(by_dim)]
    found = [
        Trend(
            f"{_TOO_FEW} features are not enough: their loss is more than "
            f"{100 * TOLERANCE:.0f}% above the lowest (Figure 17b), {column}",
            seen,
            None
            if is_dead(by_dim[_TOO_FEW])  # That tells of the optimizer, not of the features.
            else told(losses[_TOO_FEW] > (1 + TOLERANCE) * best, typical(most)),
        )
    ]
    if _ENOUGH in losses:
        found.append(
            Trend(
                f"more than {_ENOUGH} features gain nothing: the loss with {_ENOUGH} is less than "
                f"{100 * TOLERANCE:.0f}% above the lowest (Figure 17b), {column}",
                seen,
                told(losses[_ENOUGH] < (1 + TOLERANCE) * best, typical(most)),
            )
        )
    return found


def draw(figure: Figure, curves: Mapping[str, Any]) -> None:
    """Draws boxes of the losses, and estimated over true distances at both ends."""
    panels = figure.subplots(1, 3, width_ratios=(1.4, 1, 1))
    draw_losses(panels[0], curves)
    panels[0].set_xlabel("features")
    for axes, place in zip(panels[1:], (0, -1), strict=True):
        draw_distances(axes, {column: curves[column][place]["pairs"] for column in (PAPER, OURS)})
        axes.set_title(f"{curves['levels'][place]} features")
    name_columns(figure)
