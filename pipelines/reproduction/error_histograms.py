"""Errors of orientations as histograms with intervals that grow: errors span three decades."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import ArrayLike

_EDGES_RAD = np.geomspace(1e-3, np.pi, 36)
_LABEL = "error (rad); left: 0.001 and less"


def error_histogram(errors: ArrayLike) -> list[float]:
    """Gives the share of errors (rad) in each interval, in percent; the first has smaller ones."""
    clipped = np.clip(np.asarray(errors, np.float64), _EDGES_RAD[0], _EDGES_RAD[-1])
    counts, _ = np.histogram(clipped, _EDGES_RAD)
    shares: list[float] = (100 * counts / counts.sum()).round(2).tolist()
    return shares


def draw_error_histogram(axes: Axes, shares: Sequence[float], **style: Any) -> None:
    """Draws what `error_histogram` gives."""
    axes.stairs(shares, _EDGES_RAD, fill=True, alpha=0.6, **style)
    axes.set(xscale="log", xlabel=_LABEL, ylabel="particles (%)")
    axes.set_xlim(_EDGES_RAD[0], _EDGES_RAD[-1])


def mark_mean_error(axes: Axes, error: float, **style: Any) -> None:
    """Marks the mean error (rad) below the bars."""
    axes.plot([max(error, _EDGES_RAD[0])], [1.5], "v", mec="k", clip_on=False, **style)
