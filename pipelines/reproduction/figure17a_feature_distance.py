"""Figure 17a: which distance between features serves best, the Euclidean or the cosine one.

Appendix D, without noise. Beside them the head "so3", which is exact: on our network and, where
there is time, on the paper's, so that nothing differs but the head.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from matplotlib.figure import Figure

from cryotwin.pipelines.reproduction.column_legend import name_columns
from cryotwin.pipelines.reproduction.estimated_distances import draw_distances
from cryotwin.pipelines.reproduction.levels import (
    draw_losses,
    level_table,
    try_levels,
    typical,
)
from cryotwin.pipelines.reproduction.own_column import OwnTraining, own_training
from cryotwin.pipelines.reproduction.paper_column import PaperTraining, paper_training
from cryotwin.pipelines.reproduction.result import OURS, PAPER, Result, Trend
from cryotwin.pipelines.reproduction.verdict import has_learned
from cryotwin.pipelines.reproduction.views import (
    HALF_OF_THE_DIRECTIONS,
    ViewSettings,
    half_of_the_directions,
)
from cryotwin.pipelines.reproduction.workspace import Workspace

_HEADS = ("euclidean", "cosine", "so3")


@dataclass(frozen=True)
class Settings:
    """Of the experiment.

    Attributes:
        views: projections of the particle without symmetry.
        paper_heads: that the paper's network is trained with, in the paper's way.
        own_heads: that ours is trained with, in our way.
    """

    views: ViewSettings
    paper_heads: tuple[str, ...]
    own_heads: tuple[str, ...]


def settings(workspace: Workspace) -> Settings:
    """Gives the settings at the size of the workspace."""
    scale = workspace.scale
    paper_heads = _HEADS[:2] if scale.name == "quick" else _HEADS
    return Settings(half_of_the_directions(workspace), paper_heads, ("so3",))


def run(workspace: Workspace, settings: Settings) -> Result:
    """Trains and tries the networks with each head."""

    def training(column: str, head: str) -> PaperTraining | OwnTraining | None:
        if column == PAPER:
            known = head in settings.paper_heads
            return paper_training(workspace, settings.views, head=head) if known else None
        if head not in settings.own_heads:
            return None
        return own_training(workspace, settings.views, head=head)

    curves = try_levels(workspace, _HEADS, training, with_pairs=_HEADS)
    title = f"{workspace.asymmetric.name} without noise"
    remarks = [HALF_OF_THE_DIRECTIONS, _REMARK]
    return Result([level_table(title, "head", curves)], trends(curves), curves, remarks)


_REMARK = (
    "Losses are of the distances as the head gives them. The Euclidean one gives distances above "
    "pi too; only for the recovery they are clipped to pi."
)


def trends(curves: Mapping[str, Any]) -> list[Trend]:
    """Compares the heads by their settled validation losses."""
    euclidean, cosine, so3 = curves[PAPER]
    found = [
        Trend(
            "the cosine distance has a lower loss than the Euclidean one (Figure 17a)",
            _seen({"cosine": cosine, "euclidean": euclidean}),
            _lower(cosine, euclidean),
        )
    ]
    if so3 is not None:
        found.append(
            Trend(
                "the exact head has a lower loss than the cosine one on the paper's network, "
                "trained as in the paper (beyond the paper)",
                _seen({"so3": so3, "cosine": cosine}),
                _lower(so3, cosine),
            )
        )
    return found


def _seen(heads: Mapping[str, Any]) -> str:
    return ", ".join(f"{head} {typical(numbers):.3f}" for head, numbers in heads.items()) + " rad²"


def _lower(first: Mapping[str, Any], second: Mapping[str, Any]) -> bool | None:
    """Whether the first is lower; None if neither has learned."""
    if not (has_learned(typical(first)) or has_learned(typical(second))):
        return None
    return typical(first) < typical(second)


def draw(figure: Figure, curves: Mapping[str, Any]) -> None:
    """Draws boxes of the losses, and estimated over true distances for each head."""
    panels = figure.subplots(1, 1 + len(_HEADS), width_ratios=(1.5, 1, 1, 1))
    draw_losses(panels[0], curves)
    panels[0].set_xlabel("head")
    for place, (axes, head) in enumerate(zip(panels[1:], _HEADS, strict=True)):
        at_head = {column: curves[column][place] for column in (PAPER, OURS)}
        draw_distances(
            axes, {column: each["pairs"] for column, each in at_head.items() if each is not None}
        )
        axes.set_title(f"{head} head")
    name_columns(figure)
