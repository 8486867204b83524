"""Density maps of atoms, and the size of a particle."""

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import ConvexHull, QhullError
from scipy.spatial.distance import cdist

from cryotwin.imaging.atoms import Atoms
from cryotwin.imaging.errors import InputError
from cryotwin.imaging.maps import DensityMap

SIGMA_PER_RESOLUTION = 1 / (math.pi * math.sqrt(2))
"""Chimera's `molmap`: the Gaussian's Fourier transform falls to 1/e at 1 / resolution."""

REACH_SIGMAS = 6.0
"""Atoms further than this from a brick add less than 2e-8 of their peak to it."""

MARGIN_SIGMAS = 2.0
"""An atom nearer than this to a face of the box counts as outside."""

ATOMS_AT_ONCE = 8192


def gaussian_sigma(resolution_angstrom: float) -> float:
    """Gives the sigma in angstrom of an atom's Gaussian: resolution / (pi sqrt 2)."""
    return resolution_angstrom * SIGMA_PER_RESOLUTION


def point_sigma(atoms: Atoms, resolution_angstrom: float) -> float:
    """Gives the sigma in angstrom of each point: that of the resolution, wider for a residue."""
    return math.hypot(gaussian_sigma(resolution_angstrom), atoms.spread_angstrom)


def centre_of_mass(atoms: Atoms) -> NDArray[np.float64]:
    """Gives the mean position (3,) x, y, z in angstrom, weighted by scattering."""
    return np.average(atoms.positions_angstrom, axis=0, weights=atoms.weights)


def density_map(
    atoms: Atoms, *, resolution_angstrom: float, pixel_size_angstrom: float, size: int
) -> NDArray[np.float32]:
    """Samples the sum of one Gaussian an atom, of integral `Atoms.weights`, centred by mass.

    The values are those of the Gaussians at the voxels' centres (nothing is averaged over a
    voxel), in electrons per cubic angstrom, exact to 1e-6 of the largest one. The sum over
    the voxels times a voxel's volume is the sum of the weights up to the sampling error, 1e-3
    at a resolution of 3 voxels.

    Args:
        atoms: what to sample.
        resolution_angstrom: as Chimera's `molmap`; sigma = resolution / (pi sqrt 2), for
            points that stand for residues joined with their spread (`point_sigma`).
        pixel_size_angstrom: edge of a voxel.
        size: N.

    Returns:
        (N, N, N), axes z, y, x, the centre of mass on voxel N // 2.

    Raises:
        InputError: a length is not positive, or atoms lie outside the box.
    """
    check_positive("resolution", resolution_angstrom)
    check_positive("pixel size", pixel_size_angstrom)
    sigma_px = point_sigma(atoms, resolution_angstrom) / pixel_size_angstrom
    offsets_px = (atoms.positions_angstrom - centre_of_mass(atoms)) / pixel_size_angstrom
    _check_inside(offsets_px, sigma_px, size, atoms.name, pixel_size_angstrom)
    weights = atoms.weights / pixel_size_angstrom**3
    return _sample_gaussians(offsets_px + size // 2, weights, sigma_px, size).astype(np.float32)


def check_positive(what: str, value: float) -> None:
    """Raises an InputError unless `value` is a positive, finite length."""
    if not (math.isfinite(value) and value > 0):
        raise InputError(f"{what} must be a positive number of angstrom, not {value!r}")


def _check_inside(
    offsets_px: NDArray[np.float64], sigma_px: float, size: int, name: str, pixel: float
) -> None:
    margin = MARGIN_SIGMAS * sigma_px
    low = float(-offsets_px.min() + margin)
    high = float(offsets_px.max() + margin)
    if low > size // 2 + 0.5 or high > size - size // 2 - 0.5:
        smallest = 2 * math.ceil(max(low - 0.5, high + 0.5))
        raise InputError(
            f"{name} does not fit into a box of {size} voxels of {pixel:g} angstrom: expected a "
            f"size of at least {smallest}, or larger voxels"
        )


def _sample_gaussians(
    centres: NDArray[np.float64], weights: NDArray[np.float64], sigma: float, size: int
) -> NDArray[np.float64]:
    """Sums weights (n,) times normalised Gaussians at voxel coordinates (n, 3) x, y, z.

    A Gaussian is a product over the axes, so the sum over the atoms near a brick of voxels is
    one matrix product.

    Returns:
        (N, N, N), axes z, y, x.
    """
    reach = REACH_SIGMAS * sigma
    edge = max(12, math.ceil(reach))
    volume = np.zeros((size, size, size))
    for z, in_slab in _bricks(centres[:, 2], size, edge, reach):
        slab, slab_weights = centres[in_slab], weights[in_slab]
        for y, in_row in _bricks(slab[:, 1], size, edge, reach):
            row, row_weights = slab[in_row], slab_weights[in_row]
            for x, in_brick in _bricks(row[:, 0], size, edge, reach):
                volume[z, y, x] = _brick(row[in_brick], row_weights[in_brick], sigma, (z, y, x))
    return volume


def _bricks(
    coordinates: NDArray[np.float64], size: int, edge: int, reach: float
) -> Iterator[tuple[slice, NDArray[np.intp]]]:
    """Cuts an axis into spans, each with the atoms (indices) that reach it; skips empty ones."""
    for start in range(0, size, edge):
        stop = min(start + edge, size)
        near = (coordinates > start - reach) & (coordinates < stop - 1 + reach)
        chosen = np.flatnonzero(near)
        if chosen.size:
            yield slice(start, stop), chosen


def _brick(
    centres: NDArray[np.float64],
    weights: NDArray[np.float64],
    sigma: float,
    spans: tuple[slice, slice, slice],
) -> NDArray[np.float64]:
    shape = tuple(span.stop - span.start for span in spans)
    total = np.zeros((shape[0] * shape[1], shape[2]))
    for first in range(0, len(weights), ATOMS_AT_ONCE):
        some = slice(first, first + ATOMS_AT_ONCE)
        along_z, along_y, along_x = (
            _gaussians(centres[some, axis], sigma, span)
            for axis, span in zip((2, 1, 0), spans, strict=True)
        )
        planes = ((along_z * weights[some])[:, None, :] * along_y[None]).reshape(len(total), -1)
        total += planes @ along_x.T
    return total.reshape(shape)


def _gaussians(centres: NDArray[np.float64], sigma: float, span: slice) -> NDArray[np.float64]:
    """Gives normalised Gaussians (voxels, atoms) along one axis."""
    distances = (np.arange(span.start, span.stop)[:, None] - centres) / sigma
    values: NDArray[np.float64] = np.exp(-0.5 * distances**2) / (sigma * math.sqrt(2 * math.pi))
    return values


def largest_diameter(structure: Atoms | DensityMap) -> float:
    """Gives the largest distance in angstrom between two points of a particle.

    Points are the atoms' centres or, in a map, the voxels of `DensityMap.particle`.
    """
    points = outline(structure)
    try:
        points = points[ConvexHull(points).vertices]
    except (QhullError, ValueError):
        points = np.unique(points, axis=0)  # too few, or all in one plane: no hull to speak of
    step = 1024
    return max(
        float(cdist(points[first : first + step], points).max())
        for first in range(0, len(points), step)
    )


def outline(structure: Atoms | DensityMap) -> NDArray[np.float64]:
    """Gives the points (n, 3) x, y, z in angstrom that a particle's size is measured on.

    Atoms keep their coordinates. A map's start at its first voxel.
    """
    if isinstance(structure, Atoms):
        return structure.positions_angstrom
    voxels = np.argwhere(structure.particle)[:, ::-1]
    return voxels * np.asarray(structure.voxel_size_angstrom)
