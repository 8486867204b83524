"""Alignment the slow way: every place on a fine grid, then local descent from the best of them."""

import numpy as np
from scipy.optimize import minimize

from cryotwin.imaging.rotations import (
    MIRROR,
    matrices_to_quaternions,
    multiply_quaternions,
    nearest_rotations,
    orientation_distances,
    quaternions_to_matrices,
    rotation_grid,
    rotation_vectors_to_matrices,
)
from cryotwin.recovery.normalisers import normaliser

IDENTITY = np.array([1.0, 0, 0, 0])
CONJUGATE = np.array([1.0, -1, -1, -1])


def least_mean_angle(estimated, true, ambiguity, symmetry="C1", *, spacing_rad=0.35, kept=8):
    """Gives the least mean of d_G(A R B, true) that the search finds, rad."""
    grid = matrices_to_quaternions(rotation_grid(spacing_rad))
    freedoms, candidates = _candidates(estimated, true, ambiguity, symmetry, grid)
    scored = [(_mean(*candidate, true, symmetry), *candidate) for candidate in candidates]
    scored.sort(key=lambda each: each[0])
    return min(_descended(*each[1:], true, symmetry, freedoms) for each in scored[:kept])


def _candidates(estimated, true, ambiguity, symmetry, grid):
    if ambiguity == "object":
        lefts = (IDENTITY, matrices_to_quaternions(MIRROR))
        return (False, True), [(a, estimated, b) for a in lefts for b in grid]
    if symmetry == "C1":
        sources = (estimated, estimated * CONJUGATE)
        targets = quaternions_to_matrices(true)
        return (True, True), [(a, q, _right(a, q, targets)) for q in sources for a in grid]
    if normaliser(symmetry).axis is not None:
        raise ValueError("groups with a single axis have one number more, and no grid here")
    rights = matrices_to_quaternions(normaliser(symmetry).turns)
    return (True, False), [(a, estimated, b) for a in grid for b in rights]


def _right(left, source, targets):
    """Gives the best B by least squares for a given A."""
    moved = quaternions_to_matrices(multiply_quaternions(left, source))
    return matrices_to_quaternions(nearest_rotations(np.einsum("pji,pjk->ik", moved, targets)))


def _mean(left, source, right, true, symmetry):
    moved = multiply_quaternions(multiply_quaternions(left, source), right)
    return orientation_distances(moved, true, symmetry=symmetry).mean()


def _descended(left, source, right, true, symmetry, freedoms):
    count = 3 * sum(freedoms)

    def mean_angle(turns):
        first = _turn(turns[:3]) if freedoms[0] else IDENTITY
        last = _turn(turns[-3:]) if freedoms[1] else IDENTITY
        moved = multiply_quaternions(first, left), source, multiply_quaternions(right, last)
        return _mean(*moved, true, symmetry)

    best = np.zeros(count)
    for _ in range(3):  # Nelder and Mead's simplex may shrink too early.
        simplex = np.vstack([best, best + 0.1 * np.eye(count)])
        options = {"xatol": 1e-7, "fatol": 1e-10, "maxiter": 4000, "initial_simplex": simplex}
        best = minimize(mean_angle, best, method="Nelder-Mead", options=options).x
    return float(mean_angle(best))


def _turn(vector):
    return matrices_to_quaternions(rotation_vectors_to_matrices(vector))
