"""Whether the orientations that fit distances are the right ones, judged from the fit alone."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cryotwin.imaging.point_groups import symmetry_matrices
from cryotwin.imaging.rotations import quaternions_to_matrices

Array = NDArray[np.float64]

_EXACT_RAD2 = 1e-6
"""Loss that no wrong minimum has: the least ones that were seen are 0.01 rad^2."""

_ALIKE_RAD2 = 1e-8
"""Variance of the distances below which they are all alike and say nothing."""

_LEAST_EXPLAINED = 0.25
_LARGEST_SHARE_OF_SPREAD = 0.16
"""Expected error, as a share of the standard deviation of the distances, above which the best fit
among many may be a chance."""

_ONE_VIEW = 0.03
"""Mean squared sine of the angle to the common direction, below which all views are one."""

_VIEW_STARTS, _VIEW_STEPS = 24, 15


@dataclass(frozen=True)
class Evidence:
    """What the certificate is judged by.

    Attributes:
        loss: mean over pairs of the squared residual, rad^2.
        variance: of the distances, rad^2.
        pairs: how many distances there are.
        particles: how many orientations.
        starts: how many starts were made.
        agreeing: how many ended in the best solution.
        wanted: how many have to.
    """

    loss: float
    variance: float
    pairs: int
    particles: int
    starts: int
    agreeing: int
    wanted: int

    @property
    def complete(self) -> bool:
        """Whether there is a distance between any two particles."""
        return 2 * self.pairs == self.particles * (self.particles - 1)

    @property
    def spare(self) -> int:
        """Distances beyond the unknowns."""
        return self.pairs - (3 * self.particles - 6)

    @property
    def error_variance(self) -> float:
        """Variance of the errors of the distances, what the fit has taken up added."""
        return self.loss * self.pairs / max(self.spare, 1)

    @property
    def expected_error_rad(self) -> float:
        """Mean error of the orientations if those of the distances are independent.

        Each orientation has n = 2 pairs / P distances, each of which measures one of its three
        directions: variance 3 s^2 / n in each.
        """
        each = 3 * self.error_variance * self.particles / (2 * self.pairs)
        return float(np.sqrt(8 / np.pi * each))

    @property
    def explained(self) -> float:
        """Share of the variance of the distances that the orientations explain."""
        if self.variance <= _ALIKE_RAD2:
            return 0.0
        return max(0.0, 1 - self.error_variance / self.variance)


def certify(evidence: Evidence, quaternions: Array, symmetry: str) -> tuple[bool, str]:
    """Says whether the orientations can be trusted, and why, in a sentence."""
    share = f"{evidence.explained:.0%} of the variance of the distances"
    found = f"{evidence.agreeing} of {evidence.starts} starts ended in the best solution"
    if evidence.variance <= _ALIKE_RAD2:
        return False, "the distances are all alike and say nothing about the orientations"
    if evidence.spare < evidence.particles:
        unknowns = 3 * evidence.particles - 6
        return False, (
            f"{evidence.pairs} distances for {unknowns} unknowns: too few are left to check the fit"
        )
    # Without all pairs a perfect fit may be one of many.
    exact = evidence.loss < _EXACT_RAD2 and evidence.complete
    if not exact and evidence.agreeing < evidence.wanted:
        doubt = "so it may be a wrong minimum: the distances do not fix the orientations"
        return False, f"{found}, {doubt}"
    if evidence.explained < _LEAST_EXPLAINED:
        return False, f"{found}, but it explains only {share}"
    expected = evidence.expected_error_rad
    if expected > _LARGEST_SHARE_OF_SPREAD * np.sqrt(evidence.variance):
        return False, (
            f"{found}, but so few distances with errors of "
            f"{np.sqrt(evidence.error_variance):.2f} rad leave the orientations uncertain by "
            f"{expected:.2f} rad"
        )
    if spread_of_views(quaternions, symmetry) < _ONE_VIEW / len(symmetry_matrices(symmetry)):
        return False, (
            f"{found}, which explains {share}, but all views may be from one direction, turned in "
            "the plane: no map follows from them"
        )
    return True, f"{found}, which explains {share}"


def spread_of_views(quaternions: Array, symmetry: str) -> float:
    """Gives the least mean of 1 - (a^T R_i n)^2 over unit vectors a, n, and copies of R_i.

    In the right gauge a is the viewing direction in the detector's frame, and n the direction in
    the object's from which all views are, if the value is zero. The gauge is unknown, so that any
    a may be it; the expression is the same for the transposed R.
    """
    matrices = quaternions_to_matrices(quaternions)
    copies = np.einsum("pij,gjk->pgik", matrices, symmetry_matrices(symmetry))
    rng = np.random.default_rng(0)
    best = 0.0
    for a, n in rng.standard_normal((_VIEW_STARTS, 2, 3)):
        for _ in range(_VIEW_STEPS):
            n = n / np.linalg.norm(n)
            nearest = np.abs(np.einsum("i,pgij,j->pg", a, copies, n, optimize=True)).argmax(axis=1)
            chosen = copies[np.arange(len(copies)), nearest]
            a = _leading(chosen @ n)
            n = _leading(a @ chosen)
        best = max(best, float(np.mean((a @ chosen @ n) ** 2)))
    return 1 - best


def _leading(vectors: Array) -> Array:
    """Gives the direction (3,) of the largest mean square among vectors (P, 3)."""
    return np.asarray(np.linalg.eigh(vectors.T @ vectors)[1][:, -1])
