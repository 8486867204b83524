"""Error against cost: when does a training reach an error, and what did that cost? Pure NumPy."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class CostCurve:
    """A training, evaluated now and then.

    Attributes:
        seconds: (E,) of training until each evaluation, evaluations not counted; ascending.
        passes: (E,) forward passes until then.
        error: (E,) rad^2.
    """

    seconds: Array
    passes: Array
    error: Array

    @classmethod
    def from_points(cls, points: Sequence[Sequence[float]], error: int = 2) -> "CostCurve":
        """Makes one of rows (seconds, passes, error, ...); `error` says in which column that is."""
        table = np.asarray(points, np.float64).reshape(len(points), -1)
        return cls(table[:, 0], table[:, 1], table[:, error])

    @property
    def end(self) -> "CostCurve":
        """The last evaluation alone."""
        return CostCurve(self.seconds[-1:], self.passes[-1:], self.error[-1:])

    def smoothed(self, window: int) -> "CostCurve":
        """Replaces each error by the median of it and those before, `window` in all.

        What comes later has no part in it, so no error is reached before it was measured.
        """
        return CostCurve(self.seconds, self.passes, trailing_median(self.error, window))


@dataclass(frozen=True)
class Cost:
    """What it took: seconds of training and forward passes."""

    seconds: float
    passes: float


def trailing_median(values: ArrayLike, window: int) -> Array:
    """Gives the median of each value and up to `window` - 1 before it."""
    values = np.asarray(values, np.float64)
    return np.array(
        [np.median(values[max(0, end - window) : end]) for end in range(1, len(values) + 1)]
    )


def cost_to_reach(curve: CostCurve, error: float) -> Cost | None:
    """Gives what it took until the error was first as low as this; None when it never was."""
    reached = np.flatnonzero(curve.error <= error)
    if len(reached) == 0:
        return None
    return Cost(float(curve.seconds[reached[0]]), float(curve.passes[reached[0]]))


def cheapest_to_reach(curves: Sequence[CostCurve], error: float) -> Cost | None:
    """Gives the least time of several trainings of different lengths; None when none got there."""
    costs = [cost for curve in curves if (cost := cost_to_reach(curve, error)) is not None]
    return min(costs, key=lambda cost: cost.seconds, default=None)


def common_error(first: Sequence[CostCurve], second: Sequence[CostCurve]) -> float:
    """Gives the lowest error that both sides reach."""
    return max(min(float(curve.error.min()) for curve in side) for side in (first, second))
