"""Errors of orientations against the truth: equation (5) of the paper, and the physical error.

Orientations without a frame can be compared only after an alignment. Two are told apart
(docs/gauge.md): "object" allows what nature leaves open, a rotation B of the object and its mirror
image; "o4", the paper's, allows every isometry of the distances, R -> A R B and R -> A R^T B.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cryotwin.imaging.errors import InputError
from cryotwin.imaging.point_groups import parse_point_group
from cryotwin.imaging.rotations import (
    canonical_quaternions,
    matrices_to_quaternions,
    multiply_quaternions,
    nearest_rotations,
    orientation_distances,
    quaternions_to_matrices,
)
from cryotwin.recovery.alignment_descent import Freedom, descend_mean_angle
from cryotwin.recovery.symmetric_alignment import align_isometry, align_object

_STARTS = 48
_START_POINTS = 400
_TURNS = 12
_FINALISTS = 8


@dataclass(frozen=True)
class Alignment:
    """Estimated orientations brought onto the true ones.

    Attributes:
        quaternions: (P, 4) the estimated orientations after the alignment.
        errors: (P,) rad, what is left.
        left: (3, 3), A in A R B.
        right: (3, 3), B in A R B.
        transposed: whether R^T stands for R.
    """

    quaternions: NDArray[np.float64]
    errors: NDArray[np.float64]
    left: NDArray[np.float64]
    right: NDArray[np.float64]
    transposed: bool

    @property
    def mean_error(self) -> float:
        """Mean of `errors` in rad: the paper's E_OR, equation (5)."""
        return float(self.errors.mean())

    @property
    def median_error(self) -> float:
        """Median of `errors` in rad."""
        return float(np.median(self.errors))


def align_orientations(
    estimated: ArrayLike, true: ArrayLike, *, ambiguity: str = "object", symmetry: str = "C1"
) -> Alignment:
    """Aligns estimated orientations with true ones so that the mean angle between them is least.

    Args:
        estimated: quaternions (P, 4).
        true: quaternions (P, 4).
        ambiguity: "object" (a rotation of the object and its mirror image: the physical error)
            or "o4" (all isometries of the distances: the paper's equation (5)).
        symmetry: point group G of the particle. Other than C1 the angle is d_G; "object" then
            allows any B, so that the axes of the estimated orientations may lie anywhere, and
            "o4" the isometries of d_G, R -> A R B with any A and with B in the normaliser of G.

    Raises:
        InputError: shapes that do not match, or an unknown ambiguity or symmetry.
    """
    estimated, true = np.asarray(estimated, np.float64), np.asarray(true, np.float64)
    if estimated.shape != true.shape or estimated.ndim != 2 or estimated.shape[1] != 4:
        raise InputError(
            f"estimated and true must both be (P, 4), not {estimated.shape} and {true.shape}"
        )
    if ambiguity not in ("object", "o4"):
        raise InputError(f"ambiguity must be 'object' or 'o4', not {ambiguity!r}")
    group = parse_point_group(symmetry)
    if ambiguity == "object":
        return _aligned(estimated, true, *align_object(estimated, true, group), group)
    if group != "C1":
        return _aligned(estimated, true, *align_isometry(estimated, true, group), group)
    results = [_align_o4(estimated, true, transposed) for transposed in (False, True)]
    return min(results, key=lambda result: result.mean_error)


def _align_o4(
    estimated: NDArray[np.float64], true: NDArray[np.float64], transposed: bool
) -> Alignment:
    """Solves q_true = +- M q_estimated for M in SO(4), from several starts."""
    source = _conjugate(estimated) if transposed else estimated
    freedom = Freedom(left=True, right=True)
    sample = np.random.default_rng(0).permutation(len(source))[:_START_POINTS]
    some, there = source[sample], true[sample]
    polished = [
        descend_mean_angle(some, there, *_split_rotation_4d(each), freedom, "C1")
        for each in _starts_4d(some, there)
    ]
    _, left, right = min(polished, key=lambda result: result[0])
    _, left, right = descend_mean_angle(source, true, left, right, freedom, "C1")
    return _aligned(source, true, left, right, "C1", transposed=transposed)


def _starts_4d(source: NDArray[np.float64], true: NDArray[np.float64]) -> NDArray[np.float64]:
    """Gives the best of many (4, 4) in SO(4), each by least squares for signs and M in turn."""
    starts = nearest_rotations(np.random.default_rng(0).standard_normal((_STARTS, 4, 4)))
    for _ in range(_TURNS):
        signs = np.sign(np.einsum("sij,pj,pi->sp", starts, source, true, optimize=True))
        starts = nearest_rotations(np.einsum("sp,pi,pj->sij", signs, true, source, optimize=True))
    fits = np.abs(np.einsum("sij,pj,pi->sp", starts, source, true, optimize=True))
    order = np.argsort(np.arccos(np.minimum(fits, 1)).mean(axis=1))
    return starts[order[:_FINALISTS]]


def _aligned(
    source: NDArray[np.float64],
    true: NDArray[np.float64],
    left: NDArray[np.float64],
    right: NDArray[np.float64],
    group: str,
    *,
    transposed: bool = False,
) -> Alignment:
    moved = matrices_to_quaternions(left @ quaternions_to_matrices(source) @ right)
    errors = orientation_distances(moved, true, symmetry=group)
    return Alignment(canonical_quaternions(moved), errors, left, right, transposed)


def _split_rotation_4d(
    rotation: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Splits M in SO(4) into q -> a q b: returns the matrices A and B with M q <-> A R B.

    Images of the basis under q -> a q b determine a and b up to a common sign: M e0 = a b, and
    M q (M e0)^* = a q a^* is the rotation A.
    """
    base = rotation[:, 0]
    images = [multiply_quaternions(rotation[:, axis], _conjugate(base))[1:] for axis in (1, 2, 3)]
    left = nearest_rotations(np.stack(images, axis=1))
    right = left.T @ quaternions_to_matrices(base)
    return left, right


def _conjugate(quaternion: NDArray[np.float64]) -> NDArray[np.float64]:
    return quaternion * np.array([1.0, -1.0, -1.0, -1.0])
