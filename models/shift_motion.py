"""How far the features of an image move when the image is shifted.

The paper calls its network invariant to shifts because it is fully convolutional and ends in an
average (its 2.2 and 3.4). That holds for shifts by a multiple of all strides together, and away
from the edges of the box: a stride samples feature maps, and what it aliases changes with a shift.
"""

from collections.abc import Iterable

import keras
import numpy as np
from numpy.typing import NDArray

from cryotwin.imaging.microscope import shift_images
from cryotwin.models.features import extract_features

SHIFTS_PX = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
"""The shifts, in pixels, that the networks of the zoo are compared at."""

_DIRECTIONS = 8


def feature_motion(
    extractor: keras.Model,
    images: NDArray[np.floating],
    shifts_px: Iterable[float] = SHIFTS_PX,
) -> dict[float, float]:
    """Measures how far features move with a shift, in units of how far apart images are.

    Images are shifted exactly, as `cryotwin.imaging.microscope.shift_images` does, in eight
    directions that lie on no axis of the pixel grid. The unit makes networks comparable: one that
    gives the same features to all images would not move either.

    Args:
        extractor: the layer "extractor" of an estimator.
        images: (P, N, N), at least two, different, and empty near the edge: shifts are periodic.
        shifts_px: lengths of shifts in pixels of `images`.

    Returns:
        For each shift, |f(shifted) - f(image)| over the root mean square distance between the
        features of two different images; the root mean square over images and directions. 0 is
        invariance, 1 means that a shifted image looks like another one.
    """
    still = extract_features(extractor, images)
    spread = np.sqrt(2 * np.var(still, axis=0, ddof=1).sum())
    angles = 2 * np.pi * (np.arange(_DIRECTIONS) + 0.3) / _DIRECTIONS
    directions = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    return {
        shift: float(np.sqrt(_mean_square_motion(extractor, images, still, shift * directions)))
        / float(spread)
        for shift in shifts_px
    }


def _mean_square_motion(
    extractor: keras.Model,
    images: NDArray[np.floating],
    still: NDArray[np.floating],
    shifts_px: NDArray[np.floating],
) -> float:
    squares = []
    for shift in shifts_px:
        moved = shift_images(images, np.broadcast_to(shift, (len(images), 2)))
        squares.append(np.sum((extract_features(extractor, moved) - still) ** 2, axis=1))
    return float(np.mean(squares))
