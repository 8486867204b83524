"""Which particles are doubtful, and about how many are junk, by their confidence."""

import numpy as np
from numpy.typing import NDArray

DOUBTFUL_BELOW = 0.01
"""Confidence below which a particle is doubtful."""


def likely_junk(confidence: NDArray[np.floating]) -> int:
    """Estimates how many particles (P,) are not what the others are.

    Confidence is the probability that a particle alike the others is at least as odd, so that of
    P such ones P DOUBTFUL_BELOW lie below that by chance. What is beyond is junk.
    """
    doubtful = float((confidence < DOUBTFUL_BELOW).sum())
    return max(0, round((doubtful - DOUBTFUL_BELOW * len(confidence)) / (1 - DOUBTFUL_BELOW)))


def least_confident(confidence: NDArray[np.floating]) -> NDArray[np.intp]:
    """Gives the places of the doubtful particles among P, the least confident first."""
    doubtful = np.flatnonzero(confidence < DOUBTFUL_BELOW)
    return doubtful[np.argsort(confidence[doubtful], kind="stable")]
