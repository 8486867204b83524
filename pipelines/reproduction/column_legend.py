"""The colors of the two columns in figures, and the legend above all panels that names them."""

from collections.abc import Sequence

from matplotlib.artist import Artist
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from cryotwin.pipelines.reproduction.result import OURS, PAPER

COLORS = {PAPER: "C0", OURS: "C1"}


def name_columns(figure: Figure, others: Sequence[Artist] = ()) -> None:
    """Draws the legend above the panels, where it covers nothing, with other handles after."""
    columns = [
        Line2D([], [], color=color, lw=5, alpha=0.7, label=column)
        for column, color in COLORS.items()
    ]
    handles = [*columns, *others]
    figure.legend(handles=handles, loc="outside upper center", ncols=len(handles))
