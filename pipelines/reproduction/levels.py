"""One thing varied and all else equal: losses and errors at its levels, in both columns.

The paper's L_DE is a distribution over epochs (its Figures 9 and 17). So is ours: that of the
validation loss over the last quarter of the epochs, where it has settled.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from cryotwin.pipelines.reproduction.column_legend import COLORS
from cryotwin.pipelines.reproduction.estimated_distances import shown
from cryotwin.pipelines.reproduction.own_column import OwnTraining, own_training
from cryotwin.pipelines.reproduction.paper_column import PaperTraining, paper_training
from cryotwin.pipelines.reproduction.result import OURS, PAPER, Cell, Table
from cryotwin.pipelines.reproduction.trial import try_estimator
from cryotwin.pipelines.reproduction.views import Condition, ViewSettings
from cryotwin.pipelines.reproduction.workspace import Record, Workspace

TOLERANCE = 0.15
"""A loss that changes by less, relatively, counts as flat."""

_ALL_ZERO = np.pi**2 / 3
"""The loss, rad^2, of whoever answers 0."""


def try_levels(
    workspace: Workspace,
    levels: Sequence[Any],
    training: Callable[[str, Any], PaperTraining | OwnTraining | None],
    *,
    with_pairs: Sequence[Any] = (),
) -> Record:
    """Tries estimators at levels.

    Args:
        workspace: where.
        levels: numbers or names.
        training: gives the settings of a column at a level; None leaves that out.
        with_pairs: levels whose numbers get `pairs`, to be drawn, as well.

    Returns:
        Curves: "levels", and by column a list with `level_numbers` or None for each level.
    """
    curves: dict[str, Any] = {"levels": list(levels)}
    for column in (PAPER, OURS):
        curves[column] = []
        for level in levels:
            chosen = training(column, level)
            if chosen is None:
                curves[column].append(None)
                continue
            record, _ = try_estimator(workspace, chosen)
            curves[column].append(level_numbers(record))
            if level in with_pairs:
                curves[column][-1]["pairs"] = shown(record["pairs"])
    return curves


def try_conditions(
    workspace: Workspace,
    views: ViewSettings,
    levels: Sequence[float],
    condition: Callable[[float], Condition],
) -> Record:
    """Gives the curves of `try_levels` of both columns where what the microscope does is varied.

    Args:
        workspace: where.
        views: the projections.
        levels: of what is varied.
        condition: that belongs to a level.
    """

    def training(column: str, level: float) -> PaperTraining | OwnTraining:
        settings = paper_training if column == PAPER else own_training
        return settings(workspace, views, condition(level))

    return try_levels(workspace, levels, training)


def level_numbers(record: Record) -> Record:
    """Takes the settled losses and the errors of a trial out of the record of it."""
    training, validation = np.array(settled(record["curve"])).T.round(5).tolist()
    return {
        "training": training,
        "validation": validation,
        **{what: record[what] for what in ("distance_loss", "loss", "o4_error")},
    }


def settled(curve: Sequence[Any]) -> Sequence[Any]:
    """Gives the last quarter of the epochs, at least one."""
    return curve[-max(1, len(curve) // 4) :]


def typical(numbers: Mapping[str, Any]) -> float:
    """Gives the median of the settled validation losses: L_DE in one number, rad^2."""
    return float(np.median(numbers["validation"]))


def is_dead(numbers: Mapping[str, Any]) -> bool:
    """Whether all distances are 0: ReLUs before the features that have died never come back."""
    return abs(typical(numbers) / _ALL_ZERO - 1) < 0.05


def level_table(title: str, name: str, curves: Mapping[str, Any]) -> Table:
    """Writes losses and errors of both columns over the levels, called `name`."""
    rows: list[list[Cell]] = []
    for column in (PAPER, OURS):
        for level, numbers in zip(curves["levels"], curves[column], strict=True):
            if numbers is not None:
                rows.append(
                    [
                        column,
                        level,
                        float(np.median(numbers["training"])),
                        typical(numbers),
                        numbers["distance_loss"],
                        numbers["loss"],
                        numbers["o4_error"],
                    ]
                )
    header = ["column", name, "training loss (rad²)", "validation loss (rad²)"]
    header += ["test loss (rad²)", "recovery loss (rad²)", "O(4) error (rad)"]
    return Table(title, header, rows)


def draw_losses(axes: Axes, curves: Mapping[str, Any]) -> None:
    """Draws a box of the settled validation losses at each level, at 0, 1, 2, ...."""
    for column, shift in ((PAPER, -0.18), (OURS, 0.18)):
        for place, numbers in enumerate(curves[column]):
            if numbers is None:
                continue
            axes.boxplot(
                numbers["validation"],
                positions=[place + shift],
                widths=0.3,
                boxprops={"color": COLORS[column]},
                whiskerprops={"color": COLORS[column]},
                capprops={"color": COLORS[column]},
                # Boxes may be as flat as a line.
                medianprops={"color": COLORS[column], "lw": 3, "solid_capstyle": "butt"},
                flierprops={"ms": 2},
            )
    _prepare(axes, curves["levels"], "validation loss $L_{DE}$ (rad²)")


def draw_over_levels(axes: Axes, curves: Mapping[str, Any], what: str, label: str) -> None:
    """Draws a number of `level_numbers` over the levels of both columns."""
    for column in (PAPER, OURS):
        values = [np.nan if each is None else each[what] for each in curves[column]]
        axes.plot(values, "o-", color=COLORS[column])
    _prepare(axes, curves["levels"], label)


def _prepare(axes: Axes, levels: Sequence[Any], label: str) -> None:
    """Names the levels, and gives a logarithmic axis plain numbers."""
    names = [level if isinstance(level, str) else f"{level:g}" for level in levels]
    axes.set_xticks(range(len(levels)), names)
    axes.set(yscale="log", xlim=(-0.5, len(levels) - 0.5), ylabel=label)
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter(NullFormatter())


def draw_losses_and_recovery(figure: Figure, curves: Mapping[str, Any], name: str) -> Any:
    """Draws L_DE, L_OR and E_OR over the levels, called `name`: the paper's Figure 9.

    Returns:
        The three axes.
    """
    panels = figure.subplots(1, 3)
    draw_losses(panels[0], curves)
    draw_over_levels(panels[1], curves, "loss", "recovery loss $L_{OR}$ (rad²)")
    draw_over_levels(panels[2], curves, "o4_error", "O(4) error $E_{OR}$ (rad)")
    for axes in panels:
        axes.set_xlabel(name)
    return panels
