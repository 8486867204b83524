"""Which particles are doubtful, by their confidence."""

import numpy as np
from numpy.typing import NDArray

DOUBTFUL_BELOW = 0.001
"""Confidence below which a particle is doubtful."""


def least_confident(confidence: NDArray[np.floating]) -> NDArray[np.intp]:
    """Gives the places of the doubtful particles among P, the least confident first."""
    doubtful = np.flatnonzero(confidence < DOUBTFUL_BELOW)
    return doubtful[np.argsort(confidence[doubtful], kind="stable")]
