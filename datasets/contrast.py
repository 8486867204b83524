"""Which sign the contrast of particle images has: bright particles, or dark ones."""

import numpy as np
from numpy.typing import NDArray

from cryotwin.imaging.errors import InputError

_INSIDE = 0.25
_OUTSIDE = 0.42
"""Radii in boxes: a particle lies within the first, its surroundings beyond the second."""

_CLEAR = 6.0
"""Standard errors by which the mean must lie below zero; among images without particles one in
a thousand million stacks does."""

_MOST = 0.6
"""Least share of dark images."""


def centre_contrast(images: NDArray[np.floating]) -> NDArray[np.float64]:
    """Gives how much brighter the middle of each image is than its surroundings.

    Args:
        images: (P, N, N).

    Returns:
        (P,) difference of the means, over the standard deviation of the surroundings.
    """
    size = images.shape[-1]
    axis = np.arange(size) - size // 2
    radius = np.hypot(axis[:, None], axis[None, :]) / size
    inside = images[:, radius <= _INSIDE]
    outside = images[:, (radius >= _OUTSIDE) & (radius <= 0.5)]
    spread = np.maximum(outside.std(axis=1), np.finfo(np.float32).tiny)
    return np.asarray((inside.mean(axis=1) - outside.mean(axis=1)) / spread, np.float64)


def are_dark(images: NDArray[np.floating]) -> bool:
    """Tells whether particles (P, N, N) are clearly darker than their surroundings.

    False in doubt: at strong defocus or with a steep background the middle may be no brighter
    than the rest, though particles are bright.
    """
    contrast = centre_contrast(images)
    if len(contrast) < 2:
        return False
    error = float(contrast.std(ddof=1)) / np.sqrt(len(contrast))
    clearly = float(contrast.mean()) < -_CLEAR * error
    return bool(clearly and np.mean(contrast < 0) >= _MOST)


def check_contrast(images: NDArray[np.floating], source: str) -> None:
    """Checks that particles (P, N, N) are not clearly dark.

    Raises:
        InputError: they are; the message names the flag that inverts them.
    """
    if are_dark(images):
        share = float(np.mean(centre_contrast(images) < 0))
        raise InputError(
            f"{source}: particles must be brighter than their surroundings, but {share:.0%} of the "
            "images are darker in the middle; give --invert-contrast (or --no-invert-contrast to "
            "take them as they are)"
        )
