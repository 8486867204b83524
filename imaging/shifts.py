"""Where particles lie in their images: the distributions of the shift t of equation (1)."""

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

from cryotwin.imaging.errors import InputError

SHIFT_DISTRIBUTIONS = {
    "uniform": "uniform on the square of the limits",
    "triangular": "density falls linearly from the centre to the limits (the paper's Figure 9)",
    "gaussian": "standard deviation a third of the limit, cut off at the limit",
}
"""The names of the distributions of each component, with what each means; all have mean 0."""

_CUT_SIGMA = 3.0


def shifts_from_uniform(
    distribution: str, max_shift_px: float, uniform: NDArray[np.floating]
) -> NDArray[np.float32]:
    """Turns uniform numbers into shifts, by the inverse of the distribution function.

    One number makes one component, so another distribution takes as many from a generator.

    Args:
        distribution: a key of `SHIFT_DISTRIBUTIONS`.
        max_shift_px: the limit: no component is further from zero, whatever the distribution.
        uniform: (P, 2) on [0, 1).

    Returns:
        Shifts (P, 2) as (x, y) in pixels.

    Raises:
        InputError: the distribution is unknown.
    """
    check_shift_distribution(distribution)
    if distribution == "uniform":
        unit = 2 * uniform - 1
    elif distribution == "triangular":
        tail = np.minimum(uniform, 1 - uniform)
        unit = np.sign(uniform - 0.5) * (1 - np.sqrt(2 * tail))
    else:
        lowest = ndtr(-_CUT_SIGMA)
        unit = ndtri(lowest + (1 - 2 * lowest) * uniform) / _CUT_SIGMA
    return (max_shift_px * unit).astype(np.float32)


def check_shift_distribution(distribution: str) -> None:
    """Raises InputError when `distribution` is not a key of `SHIFT_DISTRIBUTIONS`."""
    if distribution not in SHIFT_DISTRIBUTIONS:
        names = ", ".join(repr(name) for name in SHIFT_DISTRIBUTIONS)
        raise InputError(f"shift distribution must be one of {names}, not {distribution!r}")
