"""Tables of distances as they come in: what is refused, what is missing, and guesses for that."""

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components, shortest_path

from cryotwin.imaging.errors import InputError
from cryotwin.recovery.embedding_descent import Terms

Table = NDArray[np.float32]

_SLACK_RAD = 1e-4
_LEAST_DISTANCES = 3
"""An orientation has three numbers."""


def read_table(
    distances: NDArray[np.floating], weights: NDArray[np.floating] | None, limit_rad: float
) -> Terms:
    """Checks distances and weights, and makes a weight of zero of what is missing.

    Args:
        distances: (P, P) rad, NaN where there is none.
        weights: (P, P), at least 0; None weighs all alike.
        limit_rad: distances above it are set to it.

    Raises:
        InputError: distances that are no table of distances or do not tie the particles together.
    """
    table = np.array(distances, dtype=np.float32)
    if table.ndim != 2 or table.shape[0] != table.shape[1] or len(table) < 4:
        raise InputError(f"distances must be (P, P) with P >= 4, not {table.shape}")
    np.fill_diagonal(table, np.nan)
    _check_values(table)
    known = np.isfinite(table)
    if weights is None:
        weighed = known.astype(np.float32)
    else:
        weighed = np.where(known, _checked_weights(weights, len(table)), np.float32(0))
    _check_ties(weighed > 0)
    return Terms(np.minimum(np.where(known, table, 0), np.float32(limit_rad)), weighed)


def fill_gaps(terms: Terms, largest_rad: float) -> Table:
    """Gives the targets (P, P), with the shortest path over known ones where one is missing.

    A distance is at most the length of any path. Where no path leads, and at most, it is
    `largest_rad`.
    """
    known = terms.weights > 0
    if np.count_nonzero(known) == len(known) * (len(known) - 1):
        return terms.targets.copy()
    edges = np.nonzero(known)
    # Zero would be no edge.
    lengths = np.maximum(terms.targets[edges].astype(np.float64), 1e-9)
    graph = csr_array((lengths, edges), shape=known.shape)
    paths = np.minimum(shortest_path(graph, directed=False), largest_rad).astype(np.float32)
    filled: Table = np.where(known, terms.targets, paths)
    np.fill_diagonal(filled, 0)
    return filled


def _check_values(table: Table) -> None:
    if np.isinf(table).any():
        raise InputError("distances must be finite or NaN (no distance), but some are infinite")
    if np.isnan(table).all():
        raise InputError("there are no distances: all are NaN")
    low, high = np.nanmin(table), np.nanmax(table)
    if low < 0 or high > np.pi + _SLACK_RAD:
        raise InputError(f"distances must be in [0, pi] rad, not [{low:.3g}, {high:.3g}]")
    different = ~np.isclose(table, table.T, rtol=0, atol=_SLACK_RAD, equal_nan=True)
    if different.any():
        i, j = np.argwhere(different)[0]
        raise InputError(
            f"distances must be symmetric, but d[{i}, {j}] is {table[i, j]:.3g} and "
            f"d[{j}, {i}] is {table[j, i]:.3g}"
        )


def _checked_weights(weights: NDArray[np.floating], count: int) -> Table:
    weights = np.asarray(weights, dtype=np.float32)
    if weights.shape != (count, count):
        raise InputError(f"weights must be ({count}, {count}) as distances, not {weights.shape}")
    weights = weights.copy()
    np.fill_diagonal(weights, 0)
    if not np.isfinite(weights).all() or weights.min() < 0:
        raise InputError("weights must be finite and at least 0")
    if not np.allclose(weights, weights.T, rtol=1e-4, atol=0):
        raise InputError("weights must be symmetric, but w[i, j] and w[j, i] differ")
    return weights


def _check_ties(known: NDArray[np.bool_]) -> None:
    """Checks what can be seen of the graph alone; the certificate tells the rest."""
    neighbours = known.sum(axis=1)
    if neighbours.min() == 0:
        raise InputError(f"particle {int(neighbours.argmin())} has no distance to any other")
    parts, labels = connected_components(csr_array(known), directed=False)
    if parts > 1:
        sizes = np.sort(np.bincount(labels))[::-1]
        some = ", ".join(map(str, sizes[:3])) + (", ..." if parts > 3 else "")
        raise InputError(
            f"the distances do not connect the particles: {parts} parts of {some} particles have "
            "no distance between them"
        )
    if neighbours.min() < _LEAST_DISTANCES:
        raise InputError(
            f"the distances do not determine the orientations: particle "
            f"{int(neighbours.argmin())} has {neighbours.min()} distances, at least "
            f"{_LEAST_DISTANCES} were expected"
        )
    pairs, unknowns = int(neighbours.sum()) // 2, 3 * len(known) - 6
    if pairs < unknowns:
        raise InputError(
            f"the distances do not determine the orientations: {pairs} distances for {unknowns} "
            "unknowns"
        )
