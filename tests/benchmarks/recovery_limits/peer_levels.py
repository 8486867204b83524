"""The images that programs are compared on: 5j0n in a small box, at several levels of noise."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cryotwin.imaging.fourier import resize_images
from cryotwin.imaging.randomness import keyed_generator
from recovery_limits.particles import Condition, Particles, particles
from zoo.projections import PAPER_COUNT, SEED, SIZE_PX

_PROTEIN = "5j0n"


@dataclass(frozen=True)
class Level:
    """Images of 5j0n in a small box.

    Attributes:
        name: for people.
        snr: of the images in this box; None is no noise.
        shift_share: of the box, that neither component of a shift exceeds.
        box_px: edge of the box.
        images: how many.
        count: projections of the dataset, over all splits.
    """

    name: str
    snr: float | None
    shift_share: float = 0.0
    box_px: int = 64
    images: int = 500
    count: int = PAPER_COUNT

    @property
    def label(self) -> str:
        """A name for files and progress."""
        return self.name.replace("/", "of").replace(", ", "-").replace(".", "p")

    @property
    def estimator(self) -> str:
        """The published estimator for these images: that for noise, or that for none."""
        return _PROTEIN if self.snr is not None else f"{_PROTEIN}-clean"


def levels(images: int, count: int) -> list[Level]:
    """Lists the levels of noise. -12 dB at 116 px is 0.21 after cropping to 64 px."""
    cropped = 10**-1.2 * (SIZE_PX / 64) ** 2
    table: list[tuple[str, float | None, float]] = [
        ("none", None, 0.0),
        ("1/2", 1 / 2, 0.0),
        ("0.21", cropped, 0.0),
        ("1/8", 1 / 8, 0.0),
        ("1/16", 1 / 16, 0.0),
        ("1/2, shifts", 1 / 2, 0.05),
    ]
    return [Level(*row, images=images, count=count) for row in table]


def level_particles(cache: Path, level: Level) -> Particles:
    """Gives the images of a level in its box: cropped in Fourier space, shifted, then noisy."""
    shift_px = level.shift_share * SIZE_PX
    condition = Condition(_PROTEIN, None, shift_px, level.count, level.images)
    given = particles(cache, condition)
    images = resize_images(given.images, level.box_px)
    scale = level.box_px / given.images.shape[-1]
    noisy = images
    if level.snr is not None:
        rng = keyed_generator(SEED, "peers")
        noise = rng.standard_normal(images.shape, dtype=np.float32)
        noisy = images + noise * np.float32(np.sqrt(images.var() / level.snr))
    return Particles(
        noisy,
        images,
        given.quaternions,
        given.shifts_px * scale,
        given.volume,
        given.pixel_size_angstrom / scale,
    )
