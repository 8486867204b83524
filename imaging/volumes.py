"""From a structure of either kind to the cubic volume that is projected."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cryotwin.imaging.atoms import Atoms
from cryotwin.imaging.density import (
    MARGIN_SIGMAS,
    SIGMA_PER_RESOLUTION,
    centre_of_mass,
    check_positive,
    density_map,
    largest_diameter,
    outline,
    point_sigma,
)
from cryotwin.imaging.errors import InputError
from cryotwin.imaging.maps import DensityMap, map_centre, resample_map

DIAMETER_SHARE = 0.75
"""The particle's largest diameter over the box, where no pixel size is given."""

RESOLUTION_PIXELS = 3.0
"""The resolution of an atomic model's map, where none is given, in pixels."""


@dataclass(frozen=True)
class StructureVolume:
    """A particle's density on a cubic grid.

    Attributes:
        volume: (N, N, N) float32, axes z, y, x, the centre of mass on voxel N // 2.
        pixel_size_angstrom: edge of a voxel.
        resolution_angstrom: of the Gaussians, for atoms; None for a map.
        diameter_angstrom: the largest distance between two points of the particle.
        name: short name, fit for a file name.
        source: where the structure was read from, for people.
    """

    volume: NDArray[np.float32]
    pixel_size_angstrom: float
    resolution_angstrom: float | None
    diameter_angstrom: float
    name: str
    source: str


def structure_volume(
    structure: Atoms | DensityMap,
    *,
    size: int,
    pixel_size_angstrom: float | None = None,
    resolution_angstrom: float | None = None,
) -> StructureVolume:
    """Puts a structure into a box in which every view of it fits.

    Args:
        structure: atoms, or a map.
        size: N, at least 8.
        pixel_size_angstrom: by default such that the largest diameter is 75% of the box, or more
            if a particle that is heavy at one end would stick out.
        resolution_angstrom: for atoms, 3 pixels by default; for a map it cannot be chosen.

    Returns:
        The volume, not yet scaled to projections of unit variance.

    Raises:
        InputError: a bad size or length, a resolution asked of a map, a structure without
            extent, or one that is too large for the box.
    """
    if size < 8:
        raise InputError(f"size must be at least 8 pixels, not {size}")
    if isinstance(structure, DensityMap) and resolution_angstrom is not None:
        raise InputError(
            f"{structure.name} is a map: its resolution cannot be set (to "
            f"{resolution_angstrom:g} angstrom), expected an atomic model"
        )
    diameter, radius = largest_diameter(structure), _radius(structure)
    if pixel_size_angstrom is None:
        pixel_size_angstrom = _fitting_pixel_size(structure, diameter, radius, size)
    check_positive("pixel size", pixel_size_angstrom)
    if isinstance(structure, Atoms):
        resolution = resolution_angstrom
        if resolution is None:
            resolution = RESOLUTION_PIXELS * pixel_size_angstrom
        check_positive("resolution", resolution)
        margin = MARGIN_SIGMAS * point_sigma(structure, resolution)
        _check_views(structure, radius, margin, pixel_size_angstrom, size)
        volume = density_map(
            structure,
            resolution_angstrom=resolution,
            pixel_size_angstrom=pixel_size_angstrom,
            size=size,
        )
    else:
        resolution = None
        _check_views(structure, radius, 0.0, pixel_size_angstrom, size)
        volume = resample_map(structure, pixel_size_angstrom=pixel_size_angstrom, size=size)
    return StructureVolume(
        volume, pixel_size_angstrom, resolution, diameter, structure.name, structure.source
    )


def _radius(structure: Atoms | DensityMap) -> float:
    """Gives the largest distance in angstrom from the centre of mass, about which views turn."""
    if isinstance(structure, Atoms):
        centre = centre_of_mass(structure)
    else:
        centre = map_centre(structure)[::-1] * np.asarray(structure.voxel_size_angstrom)
    return float(np.linalg.norm(outline(structure) - centre, axis=1).max())


def _fitting_pixel_size(
    structure: Atoms | DensityMap, diameter: float, radius: float, size: int
) -> float:
    if not diameter > 0:
        raise InputError(
            f"{structure.name} is a single point: expected a pixel size, none follows from it"
        )
    margin_px = 0.0
    if isinstance(structure, Atoms):
        margin_px = MARGIN_SIGMAS * SIGMA_PER_RESOLUTION * RESOLUTION_PIXELS
        radius += MARGIN_SIGMAS * structure.spread_angstrom
    return max(diameter / (DIAMETER_SHARE * size), radius / (_reach_px(size) - margin_px))


def _reach_px(size: int) -> float:
    """Gives the distance in pixels from voxel N // 2 to the nearest face of the box."""
    return size - size // 2 - 0.5


def _check_views(
    structure: Atoms | DensityMap, radius: float, margin: float, pixel: float, size: int
) -> None:
    """Raises an InputError where the turned particle, with a margin, would leave the box."""
    needed_px = (radius + margin) / pixel
    if needed_px > _reach_px(size) * (1 + 1e-9):
        smallest = 2 * math.ceil(needed_px + 0.5)
        larger = radius / max(_reach_px(size) - margin / pixel, 1.0)
        raise InputError(
            f"{structure.name} does not fit into a box of {size} pixels of {pixel:g} angstrom in "
            f"every view: expected a size of at least {smallest}, or a pixel size of at least "
            f"{math.ceil(100 * larger) / 100:.2f} angstrom"
        )
