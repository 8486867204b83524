"""Alignment of orientations under a point group: the A and B in A R B of least mean d_G.

Every place of A and B on a grid is scored on some of the particles; the best ones are improved by
choosing the nearest copy of each particle and solving for A and B in turn; the very best descends
on the mean angle over all particles.
"""

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
from cryotwin.recovery.alignment_descent import Freedom, descend_mean_angle
from cryotwin.recovery.normalisers import normaliser

Array = NDArray[np.float64]

_SAMPLE = 150
_SPACING_RAD = 0.3
_STARTS = 24
_TURNS = 40
_FINALISTS = 8
_CONJUGATE = np.array([1.0, -1.0, -1.0, -1.0])


def align_object(estimated: Array, true: Array, symmetry: str) -> tuple[Array, Array]:
    """Finds A, the identity or the mirror, and B in SO(3): (3, 3) each.

    Args:
        estimated: quaternions (P, 4).
        true: quaternions (P, 4).
        symmetry: a point group.
    """
    grid = matrices_to_quaternions(rotation_grid(_SPACING_RAD))
    sample = _sample(len(estimated))
    copies = multiply_quaternions(true[sample], symmetry_quaternions(symmetry)[:, None])
    starts = []
    for left in (np.eye(3), MIRROR):
        moved = multiply_quaternions(matrices_to_quaternions(left), estimated[sample])
        scores = _mean_angles(grid, multiply_quaternions(moved * _CONJUGATE, copies))
        starts += [(scores[k], left, quaternions_to_matrices(grid[k])) for k in _lowest(scores)]
    return _best_of(starts, estimated, true, symmetry, Freedom(right=True))


def align_isometry(estimated: Array, true: Array, symmetry: str) -> tuple[Array, Array]:
    """Finds A in SO(3) and B in the normaliser of a group other than C1: (3, 3) each."""
    allowed = normaliser(symmetry)
    grid = matrices_to_quaternions(rotation_grid(_SPACING_RAD))
    sample = _sample(len(estimated))
    copies = multiply_quaternions(true[sample], symmetry_quaternions(symmetry)[:, None])
    starts = []
    for right in _rights(symmetry):
        moved = multiply_quaternions(estimated[sample], matrices_to_quaternions(right))
        scores = _mean_angles(grid, multiply_quaternions(copies, moved * _CONJUGATE))
        starts += [(scores[k], quaternions_to_matrices(grid[k]), right) for k in _lowest(scores)]
    return _best_of(starts, estimated, true, symmetry, Freedom(left=True, axis=allowed.axis))


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
    freedom: Freedom,
) -> tuple[Array, Array]:
    sample = _sample(len(estimated))
    starts = sorted(starts, key=lambda start: start[0])[:_STARTS]
    improved = [
        _alternate(estimated[sample], true[sample], symmetry, freedom, left, right)
        for _, left, right in starts
    ]
    improved = sorted(improved, key=lambda result: result[0])[:_FINALISTS]
    polished = [
        descend_mean_angle(estimated[sample], true[sample], left, right, freedom, symmetry)
        for _, left, right in improved
    ]
    _, left, right = min(polished, key=lambda result: result[0])
    _, left, right = descend_mean_angle(estimated, true, left, right, freedom, symmetry)
    return left, right


def _alternate(
    estimated: Array, true: Array, symmetry: str, freedom: Freedom, left: Array, right: Array
) -> tuple[float, Array, Array]:
    """Chooses the nearest copies, A and B in turn; returns the least mean angle with its A, B."""
    matrices = quaternions_to_matrices(estimated)
    best = (np.inf, left, right)
    for _ in range(_TURNS):
        moved = matrices_to_quaternions(left @ matrices @ right)
        copies = nearest_copies(moved, true, symmetry=symmetry)
        mean = float(orientation_distances(moved, copies).mean())
        if mean > best[0] - 1e-6:
            break
        best = (mean, left, right)
        left, right = _solve(matrices, quaternions_to_matrices(copies), freedom, left, right)
    return best


def _solve(
    matrices: Array, targets: Array, freedom: Freedom, left: Array, right: Array
) -> tuple[Array, Array]:
    """Fits A R B to the targets (P, 3, 3) by least squares, A first."""
    if freedom.left:
        left = nearest_rotations(np.einsum("pij,pkj->ik", targets, matrices @ right))
    if freedom.right:
        right = nearest_rotations(np.einsum("pji,pjk->ik", left @ matrices, targets))
    elif freedom.axis is not None:
        rest = np.einsum("pji,pjk->ik", left @ matrices @ right, targets)
        right = right @ _turn_about(freedom.axis, rest)
    return left, right


def _turn_about(axis: Array, matrix: Array) -> Array:
    """Gives the rotation T about the axis of largest tr(T^T matrix)."""
    skew = np.array(
        [matrix[2, 1] - matrix[1, 2], matrix[0, 2] - matrix[2, 0], matrix[1, 0] - matrix[0, 1]]
    )
    angle = np.arctan2(skew @ axis, np.trace(matrix) - axis @ matrix @ axis)
    return Rotation.from_rotvec(angle * axis).as_matrix()
