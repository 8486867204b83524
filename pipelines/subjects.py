"""The structures of a dataset: read, put on a grid, measured and scaled."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cryotwin.imaging.atoms import Atoms
from cryotwin.imaging.errors import InputError
from cryotwin.imaging.maps import DensityMap
from cryotwin.imaging.microscope import unit_projections
from cryotwin.imaging.stopwatch import Stopwatch
from cryotwin.imaging.structures import read_structure
from cryotwin.imaging.symmetry_axes import align_symmetry_axes
from cryotwin.imaging.volume_symmetry import check_volume_symmetry
from cryotwin.imaging.volumes import structure_volume
from cryotwin.pipelines.structure_lists import StructureEntry

MINIMUM_SIZE = 16
"""Smaller boxes show nothing of a particle."""


@dataclass(frozen=True)
class Grid:
    """The box that structures are put into.

    Attributes:
        size: edge in pixels, even.
        pixel_size_angstrom: when None, each structure fits the box as `structure_volume` says.
        resolution_angstrom: of the density of atomic models; 3 pixels when None.

    Raises:
        InputError: the box is odd or too small, or a length is not positive.
    """

    size: int = 64
    pixel_size_angstrom: float | None = None
    resolution_angstrom: float | None = None

    def __post_init__(self) -> None:
        if self.size < MINIMUM_SIZE or self.size % 2:
            raise InputError(
                f"size must be even and at least {MINIMUM_SIZE} pixels, not {self.size}"
            )
        lengths = ("pixel size", self.pixel_size_angstrom), ("resolution", self.resolution_angstrom)
        for name, value in lengths:
            if value is not None and not (math.isfinite(value) and value > 0):
                raise InputError(f"{name} must be a positive number of angstrom, not {value:g}")


@dataclass(frozen=True)
class Subject:
    """A structure that is ready to be projected: what the metadata says of it.

    Attributes:
        name: its name, the first part of every key.
        source: where it came from.
        pixel_size_angstrom: edge of a voxel.
        diameter_angstrom: largest diameter of the particle.
        resolution_angstrom: of the simulated density; None for a map.
        atoms: how many; None for a map.
        signal_variance: of its projections before they were scaled to 1.
        cluster: the group of structures that it belongs to.
        report: what was kept and dropped of it (`cryotwin.imaging.structure_reports`).
    """

    name: str
    source: str
    pixel_size_angstrom: float
    diameter_angstrom: float
    resolution_angstrom: float | None
    atoms: int | None
    signal_variance: float
    cluster: str
    report: Mapping[str, Any]

    @property
    def volume_file(self) -> str:
        """Where the scaled volume lies within the dataset."""
        return f"volumes/{self.name}.mrc"


def make_subject(
    entry: StructureEntry,
    grid: Grid,
    stopwatch: Stopwatch,
    *,
    symmetry: str = "C1",
    align_symmetry: bool = False,
) -> tuple[Subject, NDArray[np.float32]]:
    """Reads a structure and makes the volume that is projected.

    Args:
        entry: which.
        grid: the box.
        stopwatch: is told how long "read" and "density" took.
        symmetry: point group that it has.
        align_symmetry: turn it where its axes are not RELION's.

    Returns:
        The subject, and its volume (N, N, N), scaled to projections of variance 1.

    Raises:
        InputError: there is no such structure, it cannot be used, or it lacks the symmetry.
    """
    if not entry.spec:
        raise InputError(f"{entry.where}: the row names no structure")
    with stopwatch.stage("read"):
        structure = read_structure(entry.spec)
    with stopwatch.stage("density"):
        made = structure_volume(
            structure,
            size=grid.size,
            pixel_size_angstrom=grid.pixel_size_angstrom,
            resolution_angstrom=None
            if isinstance(structure, DensityMap)
            else grid.resolution_angstrom,
        )
        volume = made.volume
        if align_symmetry:
            volume = align_symmetry_axes(volume, symmetry).astype(np.float32)
        _check_symmetry(volume, symmetry, entry.name, aligned=align_symmetry)
        volume, variance = unit_projections(volume, entry.name)
    subject = Subject(
        name=entry.name,
        source=made.source,
        pixel_size_angstrom=made.pixel_size_angstrom,
        diameter_angstrom=made.diameter_angstrom,
        resolution_angstrom=made.resolution_angstrom,
        atoms=len(structure.positions_angstrom) if isinstance(structure, Atoms) else None,
        signal_variance=variance,
        cluster=entry.cluster,
        report=structure.report,
    )
    return subject, volume


def _check_symmetry(
    volume: NDArray[np.float32], symmetry: str, name: str, *, aligned: bool
) -> None:
    """Raises InputError where a volume lacks the symmetry, with a way out if there is one."""
    try:
        check_volume_symmetry(volume, symmetry, name)
    except InputError as error:
        advice = "not about the best axes either" if aligned else "try --align-symmetry"
        raise InputError(f"{error} ({advice})") from None
