"""Shift and noise of equation (1), drawn afresh at training time or stored with a dataset.

The training split is stored clean and perturbed on the fly, the others are stored perturbed
(docs/datasets.md): one implementation serves both.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cryotwin.imaging.errors import InputError
from cryotwin.imaging.microscope import shift_images

Randomness = np.random.Generator | Sequence[np.random.Generator]
"""One generator for a whole batch, or one for each image of it."""


@dataclass(frozen=True)
class Perturbation:
    """What happens to a clean projection.

    Attributes:
        noise_variance: variance V of the white Gaussian noise; clean projections have variance 1,
            so the SNR is 1 / V. Zero adds none.
        max_shift_px: both components of the shift are uniform on [-max_shift_px, max_shift_px].

    Raises:
        InputError: a value is negative or not finite.
    """

    noise_variance: float = 0.0
    max_shift_px: float = 0.0

    def __post_init__(self) -> None:
        for name in ("noise_variance", "max_shift_px"):
            value = getattr(self, name)
            if not math.isfinite(value) or value < 0:
                raise InputError(f"{name} must be zero or a positive number, not {value}")

    def perturb(
        self,
        images: NDArray[np.floating],
        rng: Randomness,
        *,
        noise_levels: NDArray[np.floating] | None = None,
    ) -> NDArray[np.float32]:
        """Shifts images (B, N, N) by random amounts, then adds noise; returns new images."""
        return self.perturb_with_shifts(images, rng, noise_levels=noise_levels)[0]

    def perturb_with_shifts(
        self,
        images: NDArray[np.floating],
        rng: Randomness,
        *,
        noise_levels: NDArray[np.floating] | None = None,
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Does what `perturb` does and tells the shifts.

        Args:
            images: clean projections (B, N, N).
            rng: a generator, or B of them; with B of them an image depends on its own alone.
            noise_levels: (B,) factors of the standard deviation of each image's noise; all 1 if
                None.

        Returns:
            Images (B, N, N) and the shifts (B, 2) as (x, y) in pixels: image(y) is the clean
            image at y - t.
        """
        drawn = self.max_shift_px * (2 * _uniform(rng, len(images), (2,)) - 1)
        shifts = drawn.astype(np.float32)
        if self.max_shift_px > 0:
            images = shift_images(images, shifts)
        if self.noise_variance > 0:
            noise = _standard_normal(rng, len(images), images.shape[1:])
            if noise_levels is not None:
                noise *= noise_levels.astype(np.float32)[:, None, None]
            images = images + np.float32(math.sqrt(self.noise_variance)) * noise
        return images.astype(np.float32), shifts


def _uniform(rng: Randomness, count: int, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Draws (count, *shape) numbers uniform on [0, 1)."""
    if isinstance(rng, np.random.Generator):
        return rng.random((count, *shape))
    return np.stack([one.random(shape) for one in rng])


def _standard_normal(rng: Randomness, count: int, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Draws (count, *shape) numbers of mean 0 and variance 1."""
    if isinstance(rng, np.random.Generator):
        return rng.standard_normal((count, *shape), dtype=np.float32)
    return np.stack([one.standard_normal(shape, dtype=np.float32) for one in rng])
