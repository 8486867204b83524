"""Views that a projection gives for free, and exactly.

Flipping an image in y turns its orientation R into FLIP_Y R, a quarter turn in the plane into
Rz R. Both map the pixel grid onto itself about the origin pixel N // 2, so nothing is interpolated.
"""

import numpy as np
from numpy.typing import NDArray

from cryotwin.imaging.rotations import FLIP_Y

QUARTER_TURN = np.array([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
"""Rz of a quarter turn from x towards y."""


def random_exact_views(
    images: NDArray[np.floating], rotations: NDArray[np.floating], rng: np.random.Generator
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Replaces each projection by one of its eight exact views, at random.

    Args:
        images: (B, N, N) as y, x, with no power on the Nyquist lines.
        rotations: (B, 3, 3).
        rng: chooses the views.

    Returns:
        New images (B, N, N) and their rotations (B, 3, 3).
    """
    images = np.array(images, dtype=np.float32)
    rotations = np.array(rotations, dtype=np.float32)
    flipped = rng.random(len(images)) < 0.5
    turns = rng.integers(0, 4, len(images))
    images[flipped] = _about_origin(images[flipped][:, ::-1], axis=1)
    rotations[flipped] = FLIP_Y.astype(np.float32) @ rotations[flipped]
    for least in (1, 2, 3):
        rows = turns >= least
        turned = np.swapaxes(images[rows], 1, 2)[:, :, ::-1]
        images[rows] = _about_origin(turned, axis=2)
        rotations[rows] = QUARTER_TURN.astype(np.float32) @ rotations[rows]
    return images, rotations


def _about_origin(reversed_images: NDArray[np.float32], axis: int) -> NDArray[np.float32]:
    """Puts the origin of images reversed along an axis back on pixel N // 2."""
    even = reversed_images.shape[axis] % 2 == 0
    return np.roll(reversed_images, 1 if even else 0, axis=axis)
