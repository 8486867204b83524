"""Alignment of orientations under a point group: the A and B in A R B of least mean d_G.

Every place of A and B on a grid is scored on some of the particles; the best ones are improved by
choosing the nearest copy of each particle and solving for A and B in turn, the very best on all
particles and reweighted from the squared angle to the angle.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from cryotwin.imaging.point_groups import symmetry_quaternions
from cryotwin.imaging.rotations import (
    MIRROR,
    matrices_to_quaternions,
    multiply_quaternions,
    nearest_copies,
    nearest_rotations,
    orientation_distances,
    quaternions_to_matrices,
    rotation_grid,
)
from cryotwin.recovery.normalisers import normaliser

Array = NDArray[np.float64]

_SAMPLE = 150
_SPACING_RAD = 0.3
_STARTS = 24
_TURNS = 40
_REWEIGHTINGS = 30
_SMALLEST_ERROR_RAD = 1e-4
_CONJUGATE = np.array([1.0, -1.0, -1.0, -1.0])


@dataclass(frozen=True)
class _Freedom:
    """What of A and B may change: A or B altogether, or B by a turn about an axis alone."""

    left: bool = False
    right: bool = False
    axis: Array | None = None


def align_object(estimated: Array, true: Array, symmetry: str) -> tuple[Array, Array]:
    """Finds A, the identity or the mirror, and B in SO(3): (3, 3) each.

    Args:
        estimated: quaternions (P, 4).
        true: quaternions (P, 4).
        symmetry: a point group other than C1.
    """
    grid = matrices_to_quaternions(rotation_grid(_SPACING_RAD))
    sample = _sample(len(estimated))
    copies = multiply_quaternions(true[sample], symmetry_quaternions(symmetry)[:, None])
    starts = []
    for left in (np.eye(3), MIRROR):
        moved = multiply_quaternions(matrices_to_quaternions(left), estimated[sample])
        scores = _mean_angles(grid, multiply_quaternions(moved * _CONJUGATE, copies))
        starts += [(scores[k], left, quaternions_to_matrices(grid[k])) for k in _lowest(scores)]
    return _best_of(starts, estimated, true, symmetry, _Freedom(right=True))


def align_isometry(estimated: Array, true: Array, symmetry: str) -> tuple[Array, Array]:
    """Finds A in SO(3) and B in the normaliser of the group: (3, 3) each. Arguments as above."""
    allowed = normaliser(symmetry)
    grid = matrices_to_quaternions(rotation_grid(_SPACING_RAD))
    sample = _sample(len(estimated))
    copies = multiply_quaternions(true[sample], symmetry_quaternions(symmetry)[:, None])
    starts = []
    for right in _rights(symmetry):
        moved = multiply_quaternions(estimated[sample], matrices_to_quaternions(right))
        scores = _mean_angles(grid, multiply_quaternions(copies, moved * _CONJUGATE))
        starts += [(scores[k], quaternions_to_matrices(grid[k]), right) for k in _lowest(scores)]
    return _best_of(starts, estimated, true, symmetry, _Freedom(left=True, axis=allowed.axis))


def _sample(count: int) -> NDArray[np.intp]:
    return np.random.default_rng(0).permutation(count)[:_SAMPLE]


def _rights(symmetry: str) -> Array:
    """Covers the normaliser with matrices (K, 3, 3), the group itself apart."""
    allowed = normaliser(symmetry)
    if allowed.axis is None:
        return allowed.turns
    period = 2 * np.pi / len(symmetry_quaternions(symmetry))
    angles = np.linspace(0, period, int(np.ceil(period / _SPACING_RAD)), endpoint=False)
    about = Rotation.from_rotvec(angles[:, None] * allowed.axis).as_matrix()
    return (allowed.turns[:, None] @ about).reshape(-1, 3, 3)


def _mean_angles(candidates: Array, wanted: Array) -> Array:
    """Gives the mean over P of the least angle over G from candidates (S, 4) to wanted (G, P, 4).

    The largest cosine stands for a loop over the group, so that memory does not grow with it.
    """
    cosines = np.zeros((len(candidates), wanted.shape[1]))
    for copy in wanted:
        np.maximum(cosines, np.abs(candidates @ copy.T), out=cosines)
    return 2 * np.arccos(np.minimum(cosines, 1)).mean(axis=1)


def _lowest(scores: Array) -> NDArray[np.intp]:
    return np.argsort(scores)[:_STARTS]


def _best_of(
    starts: list[tuple[float, Array, Array]],
    estimated: Array,
    true: Array,
    symmetry: str,
    freedom: _Freedom,
) -> tuple[Array, Array]:
    sample = _sample(len(estimated))
    starts = sorted(starts, key=lambda start: start[0])[:_STARTS]
    improved = [
        _alternate(estimated[sample], true[sample], symmetry, freedom, left, right)
        for _, left, right in starts
    ]
    _, left, right = min(improved, key=lambda result: result[0])
    _, left, right = _alternate(estimated, true, symmetry, freedom, left, right, reweighted=True)
    return left, right


def _alternate(
    estimated: Array,
    true: Array,
    symmetry: str,
    freedom: _Freedom,
    left: Array,
    right: Array,
    *,
    reweighted: bool = False,
) -> tuple[float, Array, Array]:
    """Chooses the nearest copies, A and B in turn; returns the least mean angle with its A, B."""
    matrices = quaternions_to_matrices(estimated)
    best = (np.inf, left, right)
    for _ in range(_REWEIGHTINGS if reweighted else _TURNS):
        moved = matrices_to_quaternions(left @ matrices @ right)
        copies = nearest_copies(moved, true, symmetry=symmetry)
        errors = orientation_distances(moved, copies)
        mean = float(errors.mean())
        if mean < best[0]:
            best = (mean, left, right)
        elif not reweighted and mean > best[0] - 1e-6:
            break
        weights = 1 / np.maximum(errors, _SMALLEST_ERROR_RAD) if reweighted else np.ones(len(true))
        targets = quaternions_to_matrices(copies)
        left, right = _solve(matrices, targets, weights, freedom, left, right)
    return best


def _solve(
    matrices: Array, targets: Array, weights: Array, freedom: _Freedom, left: Array, right: Array
) -> tuple[Array, Array]:
    """Fits A R B to the targets (P, 3, 3) by weighted least squares, A first."""
    if freedom.left:
        left = nearest_rotations(np.einsum("p,pij,pkj->ik", weights, targets, matrices @ right))
    if freedom.right:
        right = nearest_rotations(np.einsum("p,pji,pjk->ik", weights, left @ matrices, targets))
    elif freedom.axis is not None:
        rest = np.einsum("p,pji,pjk->ik", weights, left @ matrices @ right, targets)
        right = right @ _turn_about(freedom.axis, rest)
    return left, right


def _turn_about(axis: Array, matrix: Array) -> Array:
    """Gives the rotation T about the axis of largest tr(T^T matrix)."""
    skew = np.array(
        [matrix[2, 1] - matrix[1, 2], matrix[0, 2] - matrix[2, 0], matrix[1, 0] - matrix[0, 1]]
    )
    angle = np.arctan2(skew @ axis, np.trace(matrix) - axis @ matrix @ axis)
    return Rotation.from_rotvec(angle * axis).as_matrix()
