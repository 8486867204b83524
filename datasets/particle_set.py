"""Particles in memory: images with what is known about each of them."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cryotwin.imaging.errors import InputError

Array = NDArray[np.floating]


@dataclass
class ParticleSet:
    """P images of N x N pixels, from a dataset folder or a particle file.

    Attributes:
        images: (P, N, N) float32, particles brighter than their surroundings where the file says
            which sign it has.
        pixel_size_angstrom: one for all; NaN where they differ.
        keys: P unique names, by which results and truth are matched.
        quaternions: (P, 4) true or earlier orientations, scalar first, w >= 0; None if unknown.
        shifts_angstrom: (P, 2) as (x, y), the displacement t of equation (1); None if unknown.
        source: what was read, for messages and the report.
        volume_path: the true map, where a dataset folder of one structure has it.
        metadata: the dataset's cryotwin.json; {} for a particle file.
        image_names: P names "000001@stack.mrcs", counted from 1; None for a dataset folder.
        stacks: the file that each stack of `image_names` was found as.
        optics: RELION's table of optics groups; None if unknown.
        columns: (P rows) what RELION's particle table or the like said about each particle, by
            RELION's names without the underscore (defocus, micrograph, optics group); or None.
        tables: the other tables of a .star file, by name.
        rows: (P,) the table of a .cs file, with all its fields; or None.
        signs: (P,) 1 or -1, what the images of the stacks were multiplied by; None for 1.
        pixel_sizes_angstrom: (P,) of each particle, as a particle file says; None where
            `pixel_size_angstrom` says all.
    """

    images: Array
    pixel_size_angstrom: float
    keys: list[str]
    quaternions: Array | None = None
    shifts_angstrom: Array | None = None
    source: str = ""
    volume_path: Path | None = None
    metadata: dict[str, Any] = field(default_factory=dict)
    image_names: list[str] | None = None
    stacks: dict[str, Path] = field(default_factory=dict)
    optics: pd.DataFrame | None = None
    columns: pd.DataFrame | None = None
    tables: dict[str, pd.DataFrame] = field(default_factory=dict)
    rows: NDArray[Any] | None = None
    signs: Array | None = None
    pixel_sizes_angstrom: Array | None = None

    def __len__(self) -> int:
        """The number P of particles."""
        return len(self.images)

    def first(self, count: int) -> "ParticleSet":
        """Gives the first `count` particles, or all if there are fewer."""
        return replace(
            self,
            images=self.images[:count],
            keys=self.keys[:count],
            quaternions=None if self.quaternions is None else self.quaternions[:count],
            shifts_angstrom=None if self.shifts_angstrom is None else self.shifts_angstrom[:count],
            image_names=None if self.image_names is None else self.image_names[:count],
            columns=None if self.columns is None else self.columns.iloc[:count],
            rows=None if self.rows is None else self.rows[:count],
            signs=None if self.signs is None else self.signs[:count],
            pixel_sizes_angstrom=None
            if self.pixel_sizes_angstrom is None
            else self.pixel_sizes_angstrom[:count],
        )

    def inverted(self) -> "ParticleSet":
        """Gives the particles with their contrast inverted, dark ones bright."""
        signs = np.ones(len(self), np.float32) if self.signs is None else self.signs
        return replace(self, images=-self.images, signs=-signs)

    @property
    def as_stored(self) -> bool:
        """Whether the images are those of the stacks that `image_names` names."""
        return self.image_names is not None and (self.signs is None or bool((self.signs > 0).all()))


def common_pixel_size(sizes_angstrom: Array, source: str | Path, *, mixed: bool = False) -> float:
    """Gives the pixel size that particles have in common.

    Args:
        sizes_angstrom: (P,) pixel size of each particle.
        source: the file that says so, for messages.
        mixed: let sizes that differ by more than 0.1% pass, as NaN.

    Raises:
        InputError: a size is not positive, or they differ and may not.
    """
    low, high = float(np.min(sizes_angstrom)), float(np.max(sizes_angstrom))
    if not low > 0:
        raise InputError(f"{source}: the pixel size must be positive, not {low:g} A")
    if high - low <= 1e-3 * low:
        return float(sizes_angstrom[0])
    if not mixed:
        raise InputError(f"{source}: particles must have one pixel size, not {low:g} to {high:g} A")
    return float("nan")
