"""How far each particle is one of those that the recovery is about (docs/confidence.md).

Three things are odd about junk, each a number a particle, so that all of it works for any number
of particles: its distances do not fit the orientations, its common lines do not agree, and, after
refinement, its image shows little of the projection of the map. What is odd is told by comparison
with the other particles, most of which are good.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

_LEAST_SIGNIFICANCE = 1.0
"""Median significance of the common lines below which orientations are not trusted: for noise and
for wrong orientations it is 0.2 at most, for right ones 2 and more."""


@dataclass(frozen=True)
class Trust:
    """Whether the orientations as a whole are to be trusted, and why, in a sentence."""

    trusted: bool
    reason: str


def particle_confidence(*oddness: NDArray[np.floating]) -> NDArray[np.float64]:
    """Turns what is odd about each particle into a probability.

    Args:
        *oddness: one or more (P,), each of them larger for odder particles, in any unit.

    Returns:
        (P,) in [0, 1]: how likely a particle at least as odd as this one is, if all are alike and
        the oddest of its numbers counts. Good particles have all values, evenly; junk is near 0.
    """
    oddest = np.max([_robust_score(each) for each in oddness], axis=0)
    return np.asarray(1 - ndtr(oddest) ** len(oddness))


def likely_particles(residuals: NDArray[np.floating]) -> NDArray[np.bool_]:
    """Marks (P,) the particles whose distances fit not much worse than those of most."""
    return _robust_score(residuals) < 2


def judge_orientations(
    embedding_trusted: bool, embedding_reason: str, significance: NDArray[np.floating]
) -> Trust:
    """Tells whether orientations are to be trusted, by the distances' word and the images'.

    The certificate of the embedding speaks of the distances alone: an estimator can give distances
    that fit together and have nothing to do with the images, of noise for instance.

    Args:
        embedding_trusted: whether the certificate of the embedding holds.
        embedding_reason: the certificate in a sentence.
        significance: (P,) of the common lines, as `line_significance` gives it.
    """
    median = float(np.median(significance))
    lines = (
        "the common lines of the median particle agree by "
        f"{median:.1f} standard errors better than others"
    )
    if not embedding_trusted:
        return Trust(False, embedding_reason)
    if median < _LEAST_SIGNIFICANCE:
        return Trust(False, f"{embedding_reason}, but {lines}: the images do not bear it out")
    return Trust(True, f"{embedding_reason}, and {lines}")


def _robust_score(values: NDArray[np.floating]) -> NDArray[np.float64]:
    """Gives how many standard deviations values lie above their median; zero if all are equal."""
    deviation = np.asarray(values, np.float64) - np.median(values)
    spread = 1.4826 * np.median(np.abs(deviation))
    return deviation / spread if spread > 0 else np.zeros_like(deviation)
