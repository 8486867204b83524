"""Where a descent under a point group starts: a few points, grown one by one on a grid.

Under a point group SO(3) is no longer the same in all directions about a point, so nothing like the
power method of the embedding without symmetry is known. But orientations have three numbers only:
all places of a point can be tried. A core grows from one point, each next one is put where it fits
the distances to those before it best, and all are moved again in between. Where the second lies,
seen from the first, is drawn at random. Most draws lead to a wrong minimum, so that many cores are
grown at once and the best is taken.
"""

import numpy as np
from numpy.typing import NDArray

from cryotwin.imaging.rotations import pairwise_distances
from cryotwin.recovery.orientation_grid import OrientationGrid

Nodes = NDArray[np.intp]
Table = NDArray[np.float32]

CORE_POINTS = 40
_CORES = 16
_FREE_SHARE = 0.01
"""Share of the grid of which the place of the second point is drawn."""

_PARTS = 4
"""The points move in so many turns: all at once they would chase each other."""

_SWEEP_EVERY = 2
_LAST_SWEEPS = 10


def grid_table(grid: OrientationGrid) -> Table:
    """Gives the distances (M, M) between the nodes of a grid, rad."""
    return pairwise_distances(grid.quaternions, symmetry=grid.symmetry).astype(np.float32)


def grow_core(
    distances: NDArray[np.float32], table: Table, rng: np.random.Generator
) -> tuple[Nodes, float]:
    """Puts a few points on the nodes of a grid so that their distances are about the given ones.

    Args:
        distances: (K, K) rad, zero on the diagonal, K >= 2.
        table: (M, M) rad, between the nodes.
        rng: draws the first two places and the order of the moves.

    Returns:
        The node (K,) of each point, and the mean squared difference of the distances, rad^2.
    """
    nodes = _first_two(distances, table, rng)
    for count in range(2, len(distances)):
        among = distances[: count + 1, : count + 1]
        place = _costs(among, table, nodes, np.array([count])).argmin(axis=2)
        nodes = np.concatenate([nodes, place], axis=1)
        if count % _SWEEP_EVERY == 0:
            nodes = _sweep(among, table, nodes, rng)
    for _ in range(_LAST_SWEEPS):
        before, nodes = nodes, _sweep(distances, table, nodes, rng)
        if np.array_equal(before, nodes):
            break
    difference = table[nodes[:, :, None], nodes[:, None, :]] - distances
    losses = (difference**2).sum(axis=(1, 2)) / (len(distances) * (len(distances) - 1))
    return nodes[losses.argmin()], float(losses.min())


def _first_two(distances: NDArray[np.float32], table: Table, rng: np.random.Generator) -> Nodes:
    first = rng.integers(len(table), size=_CORES)
    fitting = np.argsort(np.abs(table[first] - distances[0, 1]), axis=1)
    choices = max(1, round(_FREE_SHARE * len(table)))
    return np.stack([first, fitting[np.arange(_CORES), rng.integers(choices, size=_CORES)]], axis=1)


def _sweep(
    distances: NDArray[np.float32], table: Table, nodes: Nodes, rng: np.random.Generator
) -> Nodes:
    """Moves every point (S, K) to the node that fits best, a part of the points at a time."""
    nodes = nodes.copy()
    for part in np.array_split(rng.permutation(len(distances)), min(_PARTS, len(distances))):
        nodes[:, part] = _costs(distances, table, nodes, part).argmin(axis=2)
    return nodes


def _costs(
    distances: NDArray[np.float32], table: Table, nodes: Nodes, points: NDArray[np.intp]
) -> NDArray[np.float32]:
    """Gives the misfits (S, C, M) of C of the points at all nodes, less a constant of each.

    Args:
        distances: (K, K).
        table: (M, M).
        nodes: (S, L) of the first L <= K points.
        points: (C,) which of the K points.
    """
    rows = table[nodes]
    squares = rows**2
    costs = squares.sum(axis=1)[:, None] - 2 * np.matmul(distances[points, : rows.shape[1]], rows)
    placed = points < rows.shape[1]
    costs[:, placed] -= squares[:, points[placed]]  # Not to itself.
    return costs
