"""Descent on equation (4) under a point group, and the way out of its small wrong minima.

A group makes many minima in which a few points sit near a wrong copy. Gradient steps do not leave
them; a search of the whole space of orientations for each point in turn does.
"""

import numpy as np
from numpy.typing import NDArray

from cryotwin.imaging.rotations import pairwise_distances
from cryotwin.recovery.orientation_grid import OrientationGrid
from cryotwin.recovery.symmetric_loops import pulls_under_symmetry

Array = NDArray[np.float64]

_ROUNDS = 12
_SETTLING_STEPS = 12
_ELSEWHERE = 1.2
"""Spacings of the grid from which on a node is another place than the one where a point is."""

_GAIN = 0.999
"""A move has to bring a point's misfit below this share of what it was."""


def descend(
    distances: NDArray[np.float32], quaternions: Array, group: Array, steps: int
) -> tuple[Array, float]:
    """Takes Riemannian gradient steps on equation (4) with d_G, all points at once, with momentum.

    The steps are those of the embedding without symmetry: 3 / P of the gradient is Newton's method
    for one point alone; steps that raise the loss are halved.

    Args:
        distances: (P, P) rad, NaN on the diagonal.
        quaternions: (P, 4) to start from.
        group: quaternions (G, 4) of the point group.
        steps: at most so many.

    Returns:
        Quaternions (P, 4) and their loss, rad^2.
    """
    rate, velocity = 0.7, np.zeros_like(quaternions)
    best, least, previous = quaternions, np.inf, np.inf
    for _ in range(steps):
        misfits, pulls = pulls_under_symmetry(distances, quaternions, quaternions, group)
        loss = float(misfits.sum())
        if loss < least:
            best, least = quaternions, loss
        if loss > previous:
            rate, velocity = rate / 2, np.zeros_like(velocity)
        elif previous - loss < 1e-7 * previous:
            break
        previous = loss
        velocity = 0.6 * velocity + rate * 3.0 / len(distances) * pulls
        quaternions = _normalised(quaternions + velocity)
    return best, least / (len(distances) * (len(distances) - 1))


def settle(
    distances: NDArray[np.float32],
    quaternions: Array,
    grid: OrientationGrid,
    steps: int,
    least_gain: float,
) -> tuple[Array, float]:
    """Descends, moves points that fit better elsewhere, and so on as long as it helps.

    Args:
        distances: (P, P) rad, NaN on the diagonal.
        quaternions: (P, 4) to start from.
        grid: of the orientations under the point group.
        steps: of each descent, at most.
        least_gain: share of the loss that a round has to take off for another one to follow.

    Returns:
        Quaternions (P, 4) and their loss, rad^2.
    """
    best, least = descend(distances, quaternions, grid.group, steps)
    for _ in range(_ROUNDS):
        moved = _move_points(distances, best, grid)
        if moved is None:
            break
        candidate, loss = descend(distances, moved, grid.group, steps)
        helped = loss < (1 - least_gain) * least
        if loss < least:
            best, least = candidate, loss
        if not helped:
            break
    return best, least


def _move_points(
    distances: NDArray[np.float32], quaternions: Array, grid: OrientationGrid
) -> Array | None:
    """Moves the points that fit better elsewhere, the others held; None if there are none."""
    to_nodes = pairwise_distances(grid.quaternions, quaternions, symmetry=grid.symmetry)
    costs = node_costs(to_nodes.astype(np.float32), distances)
    costs[grid.spacing_rad * _ELSEWHERE > to_nodes.T] = np.inf
    candidates = grid.quaternions[costs.argmin(axis=1)]
    here, _ = pulls_under_symmetry(distances, quaternions, quaternions, grid.group)
    candidates, there = _settle_alone(distances, candidates, quaternions, grid.group)
    better = there < _GAIN * here
    return np.where(better[:, None], candidates, quaternions) if better.any() else None


def node_costs(
    to_nodes: NDArray[np.float32], distances: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Gives the misfit (P, M) of P points at M nodes, less a constant of each point.

    Args:
        to_nodes: (M, L) rad, from the nodes to L placed points.
        distances: (P, L) rad, wanted, NaN where there is none.
    """
    known = np.isfinite(distances)
    wanted = np.where(known, distances, np.float32(0))
    costs: NDArray[np.float32] = known.astype(np.float32) @ (to_nodes**2).T
    costs -= 2 * wanted @ to_nodes.T
    return costs


def _settle_alone(
    distances: NDArray[np.float32], quaternions: Array, others: Array, group: Array
) -> tuple[Array, Array]:
    """Descends with each point (P, 4) alone, the others held where they are."""
    rates = np.full(len(quaternions), 3.0 / distances.shape[1])
    best, least = quaternions, np.full(len(quaternions), np.inf)
    steps = np.zeros_like(quaternions)
    for _ in range(_SETTLING_STEPS):
        misfits, pulls = pulls_under_symmetry(distances, quaternions, others, group)
        better = misfits < least
        rates = np.where(better, rates, rates / 2)
        best = np.where(better[:, None], quaternions, best)
        steps = np.where(better[:, None], pulls, steps)
        least = np.minimum(least, misfits)
        quaternions = _normalised(best + rates[:, None] * steps)
    return best, least


def _normalised(quaternions: Array) -> Array:
    return quaternions / np.linalg.norm(quaternions, axis=1, keepdims=True)
