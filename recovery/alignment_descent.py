"""Descent on the mean angle itself: the last steps of every alignment.

Least squares between matrices have closed solutions, but their squares are sin^2 of half the angle.
Reweighted or not, they end near the least mean angle, and in it only when all angles are small.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cryotwin.imaging.rotations import (
    matrices_to_quaternions,
    multiply_quaternions,
    nearest_copies,
    quaternions_to_matrices,
    rotation_vectors_to_matrices,
)

Array = NDArray[np.float64]

_STEPS = 60
_LEAST_STEP = 1e-4
_LEAST_GAIN_RAD = 1e-9
_SMALLEST_ANGLE_RAD = 1e-6
"""Weights are 1 / angle, and of smaller ones as if they were this."""

_CONJUGATE = np.array([1.0, -1.0, -1.0, -1.0])


@dataclass(frozen=True)
class Freedom:
    """What of A and B may change: A or B altogether, or B by a turn about an axis alone."""

    left: bool = False
    right: bool = False
    axis: Array | None = None

    def columns(self, inverses: Array) -> Array:
        """Gives the turns (P, 3, F) of each A R B by what is free, from the transposes of A R B."""
        count, columns = len(inverses), []
        if self.left:
            columns.append(inverses)
        if self.right:
            columns.append(np.broadcast_to(np.eye(3), (count, 3, 3)))
        elif self.axis is not None:
            columns.append(np.broadcast_to(self.axis[:, None], (count, 3, 1)))
        return np.concatenate(columns, axis=2)

    def split(self, step: Array) -> tuple[Array, Array]:
        """Gives the rotation vectors (3,) of A and B in a step (F,)."""
        left = step[:3] if self.left else np.zeros(3)
        rest = step[3:] if self.left else step
        if self.right:
            return left, rest
        return left, rest[0] * self.axis if self.axis is not None else np.zeros(3)


def descend_mean_angle(
    estimated: Array,
    true: Array,
    left: Array,
    right: Array,
    freedom: Freedom,
    symmetry: str,
    *,
    steps: int = _STEPS,
) -> tuple[float, Array, Array]:
    """Moves A and B until the mean of d_G(A R B, true) is least: Weiszfeld's method on SO(3).

    With v the rotation vector from A R B to the truth, A <- exp(a) A and B <- B exp(b) change it
    by (A R B)^T a + b. Each step solves the least squares of that, weighted by 1 / |v|, whose
    gradient is that of the sum of the angles; a step that raises the mean is shortened.

    Args:
        estimated: quaternions (P, 4).
        true: quaternions (P, 4).
        left: A (3, 3) to start from.
        right: B (3, 3) to start from.
        freedom: what may move.
        symmetry: point group.
        steps: at most so many.

    Returns:
        The mean angle in rad, A and B.
    """
    best, vectors, moved = _state(estimated, true, left, right, symmetry)
    length = 1.0
    step = _step(vectors, moved, freedom)
    for _ in range(steps):
        turns = [rotation_vectors_to_matrices(length * each) for each in freedom.split(step)]
        candidate = turns[0] @ left, right @ turns[1]
        mean, *state = _state(estimated, true, *candidate, symmetry)
        gain = best - mean
        if gain > 0:
            best, (left, right), length = mean, candidate, min(1.0, 2 * length)
            step = _step(*state, freedom)
        else:
            length /= 4
        if 0 < gain < _LEAST_GAIN_RAD or length < _LEAST_STEP:
            break
    return best, left, right


def _state(
    estimated: Array, true: Array, left: Array, right: Array, symmetry: str
) -> tuple[float, Array, Array]:
    """Gives the mean angle, the rotation vectors (P, 3) to the truth, and A R B (P, 4)."""
    first, last = matrices_to_quaternions(left), matrices_to_quaternions(right)
    moved = multiply_quaternions(multiply_quaternions(first, estimated), last)
    targets = nearest_copies(moved, true, symmetry=symmetry)
    between = multiply_quaternions(moved * _CONJUGATE, targets)
    between *= np.where(between[:, :1] < 0, -1, 1)
    sines = np.linalg.norm(between[:, 1:], axis=1)
    angles = 2 * np.arctan2(sines, between[:, 0])
    vectors = between[:, 1:] * (angles / np.maximum(sines, 1e-300))[:, None]
    return float(angles.mean()), vectors, moved


def _step(vectors: Array, moved: Array, freedom: Freedom) -> Array:
    weights = 1 / np.maximum(np.linalg.norm(vectors, axis=1), _SMALLEST_ANGLE_RAD)
    columns = freedom.columns(quaternions_to_matrices(moved * _CONJUGATE))
    rows = (columns * weights[:, None, None]).reshape(-1, columns.shape[2])
    flat = columns.reshape(-1, columns.shape[2])
    return np.asarray(np.linalg.lstsq(flat.T @ rows, rows.T @ vectors.ravel(), rcond=None)[0])
