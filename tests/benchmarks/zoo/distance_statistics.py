"""How far estimated distances are off, over all pairs and by true distance. Pure NumPy."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

BINS = 20
"""Of the true distance, equally wide on [0, pi]."""

Array = NDArray[np.float64]


@dataclass(frozen=True)
class BinnedErrors:
    """Errors of distances by true distance.

    Attributes:
        edges: (bins + 1,) rad.
        pairs: (bins,) how many pairs there are.
        bias: (bins,) rad, mean of estimated less true; NaN where there is no pair.
        squared_error: (bins,) rad^2, mean of the square of that; NaN where there is no pair.
    """

    edges: Array
    pairs: NDArray[np.int64]
    bias: Array
    squared_error: Array

    @property
    def mean_squared_error(self) -> float:
        """Over all pairs, rad^2."""
        filled = self.pairs > 0
        return float(np.average(self.squared_error[filled], weights=self.pairs[filled]))

    @property
    def uniform_squared_error(self) -> float:
        """As if the true distances were uniform on [0, pi], as the paper's pairs are; rad^2."""
        return float(np.nanmean(self.squared_error))


def errors_by_distance(
    estimated: NDArray[np.floating], true: NDArray[np.floating], *, bins: int = BINS
) -> BinnedErrors:
    """Sorts the errors of pairs into bins of their true distance.

    Args:
        estimated: (pairs,) rad.
        true: (pairs,) rad, in [0, pi].
        bins: how many.
    """
    edges = np.linspace(0, np.pi, bins + 1)
    place = np.clip(np.digitize(true, edges) - 1, 0, bins - 1)
    error = estimated - true
    pairs = np.bincount(place, minlength=bins)
    with np.errstate(invalid="ignore"):
        bias = np.bincount(place, error, bins) / pairs
        squared = np.bincount(place, error**2, bins) / pairs
    return BinnedErrors(edges, pairs, bias, squared)


def pairs_of(matrix: NDArray[np.floating]) -> Array:
    """Gives the entries i < j of a matrix (P, P), as (pairs,)."""
    return matrix[np.triu_indices(len(matrix), 1)].astype(np.float64)
