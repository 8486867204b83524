"""Estimated against true distances of test pairs: how they plateau, and how they are drawn."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import ArrayLike, NDArray

from cryotwin.pipelines.reproduction.column_legend import COLORS

_LARGE, _LARGEST = 2 / 3, 5 / 6
"""Of the range of true distances: without symmetry from 120 and from 150 degrees."""

OFF_RAD = 1.0
"""From here on an estimate is an outlier."""

_SHOWN = 500


def largest_bias(pairs: ArrayLike) -> tuple[float, float]:
    """Gives the mean error (rad) in the last sixth of the range, and its standard error.

    Args:
        pairs: rows (true, estimated) in rad, (pairs, 2).
    """
    true, estimated = np.asarray(pairs, np.float64).T
    errors = (estimated - true)[true > _LARGEST * true.max()]
    return float(errors.mean()), float(errors.std(ddof=1) / np.sqrt(len(errors)))


def slope_at_large(pairs: ArrayLike) -> float:
    """Gives the slope of estimated over true distances in the last third of the range.

    1 for an exact estimator, 0 where it plateaus. `pairs` as in `largest_bias`.
    """
    true, estimated = np.asarray(pairs, np.float64).T
    large = true > _LARGE * true.max()
    return float(np.polyfit(true[large], estimated[large], 1)[0])


def outliers(pairs: ArrayLike) -> NDArray[np.bool_]:
    """Tells which of `pairs` (as in `largest_bias`) are off by more than `OFF_RAD`."""
    true, estimated = np.asarray(pairs, np.float64).T
    return np.abs(estimated - true) > OFF_RAD


def shown(pairs: ArrayLike) -> list[list[float]]:
    """Thins and rounds pairs for a figure's JSON: true and estimated distances, rad."""
    values: list[list[float]] = np.asarray(pairs)[:_SHOWN].T.round(2).tolist()
    return values


def draw_distances(axes: Axes, columns: Mapping[str, Sequence[Sequence[float]]]) -> None:
    """Draws `shown` pairs, by the column of their estimator, over each other."""
    for column, (true, estimated) in columns.items():
        axes.plot(true, estimated, ".", ms=4, alpha=0.5, mew=0, color=COLORS[column])
    axes.plot([0, np.pi], [0, np.pi], color="0.3", lw=0.8)
    axes.set(xlim=(0, np.pi), xlabel="true distance (rad)", ylabel="estimated (rad)")
    axes.set_ylim(bottom=0)
