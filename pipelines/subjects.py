"""The structures of a dataset: read, put on one grid, and checked."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cryotwin.imaging.atoms import Atoms
from cryotwin.imaging.errors import InputError
from cryotwin.imaging.maps import DensityMap
from cryotwin.imaging.microscope import signal_variance
from cryotwin.imaging.structures import read_structure
from cryotwin.imaging.volumes import structure_volume

MINIMUM_SIZE = 16
"""Smaller boxes show nothing of a particle."""


@dataclass(frozen=True)
class Subject:
    """A structure to project, and what the metadata says of it.

    Attributes:
        name: its name, the first part of every key.
        source: where it came from.
        volume: density (N, N, N), in any unit: it is scaled here.
        pixel_size_angstrom: edge of a voxel.
        diameter_angstrom: largest diameter of the particle.
        resolution_angstrom: of the simulated density; None for a map.
        atoms: how many; None for a map.
        report: what was kept and dropped of it (`cryotwin.imaging.structure_reports`).
    """

    name: str
    source: str
    volume: NDArray[np.float32]
    pixel_size_angstrom: float
    diameter_angstrom: float
    resolution_angstrom: float | None = None
    atoms: int | None = None
    report: Mapping[str, Any] = field(default_factory=dict)

    @property
    def volume_file(self) -> str:
        """Where the scaled volume lies within the dataset."""
        return f"volumes/{self.name}.mrc"


def read_subjects(
    specs: Sequence[str],
    *,
    size: int,
    pixel_size_angstrom: float | None = None,
    resolution_angstrom: float | None = None,
) -> list[Subject]:
    """Reads structures and puts them on one grid.

    Args:
        specs: as `cryotwin.imaging.structures.read_structure` takes them.
        size: edge of the box in pixels, even.
        pixel_size_angstrom: when None, the largest of the structures fits the box as
            `structure_volume` says.
        resolution_angstrom: for atomic models; 3 pixels when None.

    Raises:
        InputError: a number or a structure is bad.
    """
    check_grid(size, pixel_size_angstrom, resolution_angstrom)
    structures = [read_structure(spec) for spec in specs]
    if pixel_size_angstrom is None and len(structures) > 1:
        pixel_size_angstrom = max(
            structure_volume(structure, size=size).pixel_size_angstrom for structure in structures
        )
    return [
        _subject(structure, size, pixel_size_angstrom, resolution_angstrom)
        for structure in structures
    ]


def check_grid(
    size: int, pixel_size_angstrom: float | None, resolution_angstrom: float | None
) -> None:
    """Raises InputError for a box that is odd or too small, or a length that is not positive."""
    if size < MINIMUM_SIZE or size % 2:
        raise InputError(f"size must be even and at least {MINIMUM_SIZE} pixels, not {size}")
    for name, value in (("pixel size", pixel_size_angstrom), ("resolution", resolution_angstrom)):
        if value is not None and not (math.isfinite(value) and value > 0):
            raise InputError(f"{name} must be a positive number of angstrom, not {value:g}")


def _subject(
    structure: Atoms | DensityMap,
    size: int,
    pixel_size_angstrom: float | None,
    resolution_angstrom: float | None,
) -> Subject:
    is_map = isinstance(structure, DensityMap)
    made = structure_volume(
        structure,
        size=size,
        pixel_size_angstrom=pixel_size_angstrom,
        resolution_angstrom=None if is_map else resolution_angstrom,
    )
    return Subject(
        # Keys stand in .star files, where a space ends a value.
        name=re.sub(r"[^A-Za-z0-9._-]+", "_", made.name),
        source=made.source,
        volume=made.volume,
        pixel_size_angstrom=made.pixel_size_angstrom,
        diameter_angstrom=made.diameter_angstrom,
        resolution_angstrom=made.resolution_angstrom,
        atoms=len(structure.positions_angstrom) if isinstance(structure, Atoms) else None,
        report=structure.report,
    )


def common_grid(subjects: Sequence[Subject]) -> tuple[int, float]:
    """Gives the box in pixels and the pixel size that all structures share."""
    if not subjects:
        raise InputError("at least one structure is needed")
    names = [subject.name for subject in subjects]
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"two structures are named {name!r}; keys must be unique")
        if not re.fullmatch(r"[A-Za-z0-9._-]+", name):
            raise InputError(f"a structure's name must be of A-Z a-z 0-9 . _ -, not {name!r}")
    first = subjects[0]
    for subject in subjects:
        if subject.volume.shape != (first.volume.shape[0],) * 3:
            raise InputError(
                f"volume of {subject.name} must be a cube of {first.volume.shape[0]} voxels "
                f"like the first, not {subject.volume.shape}"
            )
        if not math.isclose(subject.pixel_size_angstrom, first.pixel_size_angstrom):
            raise InputError(
                f"pixel size of {subject.name} must be {first.pixel_size_angstrom:g} A like the "
                f"first, not {subject.pixel_size_angstrom:g} A"
            )
    return first.volume.shape[0], first.pixel_size_angstrom


def checked_variance(subject: Subject) -> float:
    """Measures the signal of a structure's projections."""
    variance = signal_variance(subject.volume)
    if not math.isfinite(variance) or variance <= 0:
        raise InputError(
            f"{subject.name}: projections have variance {variance}; expected a volume of finite "
            "values that is not constant"
        )
    return variance
