"""Alignment of orientations under a point group: the A and B in A R B of least mean d_G.

Every place of A and B on a grid is scored on some of the particles; the best ones descend on the
mean angle of these, the very best on that of all.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from cryotwin.imaging.point_groups import symmetry_quaternions
from cryotwin.imaging.rotations import (
    MIRROR,
    matrices_to_quaternions,
    multiply_quaternions,
    quaternions_to_matrices,
    rotation_grid,
)
from cryotwin.recovery.alignment_descent import Freedom, descend_mean_angle
from cryotwin.recovery.normalisers import normaliser

Array = NDArray[np.float64]

_SAMPLE = 150
_SPACING_RAD = 0.3
_STARTS = 24
_FIRST_STEPS = 10
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
    some, there = estimated[sample], true[sample]
    improved = [
        descend_mean_angle(some, there, left, right, freedom, symmetry, steps=_FIRST_STEPS)
        for _, left, right in starts
    ]
    improved = sorted(improved, key=lambda result: result[0])[:_FINALISTS]
    polished = [
        descend_mean_angle(some, there, left, right, freedom, symmetry)
        for _, left, right in improved
    ]
    _, left, right = min(polished, key=lambda result: result[0])
    _, left, right = descend_mean_angle(estimated, true, left, right, freedom, symmetry)
    return left, right
