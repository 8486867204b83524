"""Descent on the weighted equation (4), and the way out of its small wrong minima.

A point group, or distances that are missing, make many minima in which a few points sit in a wrong
place. Gradient steps do not leave them; a search of the whole space of orientations for each point
in turn does.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cryotwin.imaging.rotations import pairwise_distances
from cryotwin.recovery.embedding_loops import pulls
from cryotwin.recovery.embedding_losses import ErrorModel
from cryotwin.recovery.orientation_grid import OrientationGrid

Array = NDArray[np.float64]
Table = NDArray[np.float32]

_RATE, _MOMENTUM = 0.7, 0.6
_RIDGE = 1e-3
"""Share of a point's mean stiffness that is added to it: some are held in two directions only."""

_STEPS_PER_RENEWAL = 5
_LEAST_RENEWALS = 4
"""The first ones know little of the errors, and may leave the points where they are."""

_SETTLED_RAD = 3e-5

_ROUNDS = 12
_SETTLING_STEPS = 12
_ELSEWHERE = 1.2
"""Spacings of the grid from which on a node is another place than the one where a point is."""

_GAIN = 0.999
"""A move has to bring a point's misfit below this share of what it was."""


@dataclass(frozen=True)
class Terms:
    """Weighted least squares of distances: sum_ij w_ij (t_ij - d_G(q_i, q_j))^2.

    Attributes:
        targets: (P, P) rad, finite.
        weights: (P, P), zero where there is no distance and on the diagonal.
    """

    targets: Table
    weights: Table

    def among(self, points: NDArray[np.intp]) -> "Terms":
        """Gives the terms among some of the points."""
        chosen = np.ix_(points, points)
        return Terms(self.targets[chosen], self.weights[chosen])

    def to(self, points: NDArray[np.intp]) -> "Terms":
        """Gives the terms (P, L) of all points to some of them."""
        return Terms(self.targets[:, points], self.weights[:, points])


def descend(
    terms: Terms, quaternions: Array, group: Array, steps: int, *, least_gain: float = 1e-7
) -> tuple[Array, float]:
    """Takes Newton steps of each point alone, all points at once, with momentum.

    Steps that raise the loss are halved.

    Args:
        terms: what to fit.
        quaternions: (P, 4) to start from.
        group: quaternions (G, 4) of the point group.
        steps: at most so many.
        least_gain: share of the loss that a step has to take off for another one to follow.

    Returns:
        Quaternions (P, 4) and their loss, the weighted mean square in rad^2.
    """
    rate, velocity = _RATE, np.zeros_like(quaternions)
    best, least, previous = quaternions, np.inf, np.inf
    for _ in range(steps):
        misfits, pull, stiffness = pulls(
            terms.targets, terms.weights, quaternions, quaternions, group
        )
        loss = float(misfits.sum())
        if loss < least:
            best, least = quaternions, loss
        if loss > previous:
            rate, velocity = rate / 2, np.zeros_like(velocity)
        elif previous - loss < least_gain * previous:
            break
        previous = loss
        velocity = _MOMENTUM * velocity + rate * _newton_steps(pull, stiffness)
        quaternions = _normalised(quaternions + velocity)
    return best, least / max(float(terms.weights.sum(dtype=np.float64)), 1e-300)


def fit(
    model: ErrorModel, quaternions: Array, group: Array, renewals: int
) -> tuple[Array, Terms | None]:
    """Renews targets and weights and descends, in turn, until the points stay where they are.

    Args:
        model: of the errors of the distances.
        quaternions: (P, 4) to start from.
        group: quaternions (G, 4) of the point group.
        renewals: at most so many.

    Returns:
        Quaternions (P, 4) and the last terms.
    """
    terms = None
    for renewal in range(renewals):
        before = quaternions
        terms = Terms(*model.terms(quaternions))
        quaternions, _ = descend(terms, quaternions, group, _STEPS_PER_RENEWAL + 1, least_gain=0)
        cosines = np.abs(np.einsum("pc,pc->p", before, quaternions))
        moved_by = np.sqrt(np.mean(1 - np.minimum(cosines, 1) ** 2))
        if renewal + 1 >= _LEAST_RENEWALS and moved_by < _SETTLED_RAD:
            break
    return quaternions, terms


def settle(
    terms: Terms, quaternions: Array, grid: OrientationGrid, steps: int, least_gain: float
) -> tuple[Array, float]:
    """Descends, moves points that fit better elsewhere, and so on as long as it helps.

    Args:
        terms: what to fit.
        quaternions: (P, 4) to start from.
        grid: of the orientations under the point group.
        steps: of each descent, at most.
        least_gain: share of the loss that a round has to take off for another one to follow.

    Returns:
        Quaternions (P, 4) and their loss, rad^2.
    """
    best, least = descend(terms, quaternions, grid.group, steps)
    for _ in range(_ROUNDS):
        moved = _move_points(terms, best, grid)
        if moved is None:
            break
        candidate, loss = descend(terms, moved, grid.group, steps)
        helped = loss < (1 - least_gain) * least
        if loss < least:
            best, least = candidate, loss
        if not helped:
            break
    return best, least


def _move_points(terms: Terms, quaternions: Array, grid: OrientationGrid) -> Array | None:
    """Moves the points that fit better elsewhere, the others held; None if there are none."""
    to_nodes = pairwise_distances(grid.quaternions, quaternions, symmetry=grid.symmetry)
    costs = node_costs(to_nodes.astype(np.float32), terms)
    costs[grid.spacing_rad * _ELSEWHERE > to_nodes.T] = np.inf
    candidates = grid.quaternions[costs.argmin(axis=1)]
    here, _, _ = pulls(terms.targets, terms.weights, quaternions, quaternions, grid.group)
    candidates, there = _settle_alone(terms, candidates, quaternions, grid.group)
    better = there < _GAIN * here
    return np.where(better[:, None], candidates, quaternions) if better.any() else None


def node_costs(to_nodes: Table, terms: Terms) -> Table:
    """Gives the misfit (P, M) of P points at M nodes, less a constant of each point.

    Args:
        to_nodes: (M, L) rad, from the nodes to L placed points.
        terms: (P, L).
    """
    costs: Table = terms.weights @ (to_nodes**2).T
    costs -= 2 * (terms.weights * terms.targets) @ to_nodes.T
    return costs


def _settle_alone(
    terms: Terms, quaternions: Array, others: Array, group: Array
) -> tuple[Array, Array]:
    """Descends with each point (P, 4) alone, the others held where they are."""
    rates = np.ones(len(quaternions))
    best, least = quaternions, np.full(len(quaternions), np.inf)
    steps = np.zeros_like(quaternions)
    for _ in range(_SETTLING_STEPS):
        misfits, pull, stiffness = pulls(terms.targets, terms.weights, quaternions, others, group)
        better = misfits < least
        rates = np.where(better, rates, rates / 2)
        best = np.where(better[:, None], quaternions, best)
        steps = np.where(better[:, None], _newton_steps(pull, stiffness), steps)
        least = np.minimum(least, misfits)
        quaternions = _normalised(best + rates[:, None] * steps)
    return best, least


def _newton_steps(pull: Array, stiffness: Array) -> Array:
    """Solves stiffness x step = pull for each point; the direction of q itself has neither."""
    mean = np.trace(stiffness, axis1=1, axis2=2) / 3
    ridge = _RIDGE * mean + 1e-300
    steps = np.linalg.solve(stiffness + ridge[:, None, None] * np.eye(4), pull[..., None])
    return np.asarray(steps[..., 0])


def _normalised(quaternions: Array) -> Array:
    return quaternions / np.linalg.norm(quaternions, axis=1, keepdims=True)
