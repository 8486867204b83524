"""Density maps in files (MRC, CCP4) and on another grid."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import mrcfile
import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage
from skimage.filters import threshold_otsu

from cryotwin.imaging.atomic import atomic_output
from cryotwin.imaging.errors import InputError
from cryotwin.imaging.file_content import read_content, stem
from cryotwin.imaging.map_headers import interpret_map

MAP_SUFFIXES = (".mrc", ".map")

SIGMA_PER_MEDIAN_DEVIATION = 1.4826
"""Standard deviation of a normal distribution over its median absolute deviation."""

MEAN_OF_POSITIVE_NOISE = 0.4
"""Mean of max(x, 0) for a normal x of deviation 1."""

NOISE_SHARE = 0.02
"""Share of the positive density from which on noise is kept out of its centre."""

CLEAR_OF_NOISE = 3.0
"""Standard deviations of the solvent's noise that a threshold must lie above it."""

SMOOTHING_VOXELS = (1.0, 2.0, 3.0)
"""Sigmas tried in turn, until a noisy map's particle stands out."""


@dataclass(frozen=True)
class DensityMap:
    """A map as read from a file.

    Attributes:
        data: (z, y, x) float32, any shape.
        voxel_size_angstrom: (3,) in the order x, y, z.
        name: short name, fit for a file name ("5j0n").
        source: where it was read from, for people.
        report: what the header says and what was done, ready for JSON.
    """

    data: NDArray[np.float32]
    voxel_size_angstrom: tuple[float, float, float]
    name: str
    source: str
    report: Mapping[str, Any] = field(default_factory=dict)

    @cached_property
    def particle(self) -> NDArray[np.bool_]:
        """The voxels of the particle (z, y, x), as `particle_mask` finds them, found once."""
        return particle_mask(self.data, self.source)


def read_map(path: str | Path, *, name: str | None = None, source: str | None = None) -> DensityMap:
    """Reads an MRC or CCP4 map, gzip or not, with its axes put in the order z, y, x.

    Args:
        path: the file.
        name: as in `DensityMap`; by default the file's name without suffixes.
        source: as in `DensityMap`; by default the path.

    Raises:
        InputError: not a map, cut short, complex, an image, a stack, on a grid of oblique axes,
            values that are not finite, or no voxel size.
    """
    where = source or str(path)
    content = interpret_map(read_content(path), where)
    sizes = content.voxel_size_angstrom
    if not all(math.isfinite(length) and length > 0 for length in sizes):
        shown = " x ".join(f"{length:g}" for length in sizes)
        raise InputError(f"{where}: voxel size must be positive, not {shown} angstrom")
    if not np.isfinite(content.data).all():
        count = int((~np.isfinite(content.data)).sum())
        raise InputError(f"{where}: values must be finite, {count} are NaN or infinite")
    report = {
        "kind": "map",
        "shape": list(content.data.shape),
        "stored_axes": content.stored_axes,
        "voxel_size_angstrom": list(sizes),
        "origin_angstrom": list(content.origin_angstrom),
    }
    return DensityMap(content.data, sizes, name or stem(path), where, report)


def write_map(path: str | Path, volume: ArrayLike, pixel_size_angstrom: float) -> None:
    """Writes a map (z, y, x) as MRC, float32, whole or not at all.

    The header's origin puts voxel N // 2 of every axis at (0, 0, 0) angstrom, so that viewers
    lay maps of one particle over each other whatever their boxes.

    Args:
        path: the file; compressed if it ends in .gz.
        volume: (Nz, Ny, Nx).
        pixel_size_angstrom: edge of a voxel.

    Raises:
        InputError: values are not finite.
    """
    data = np.ascontiguousarray(volume, dtype=np.float32)
    if not np.isfinite(data).all():
        raise InputError(f"{path}: a map's values must be finite to be written, some are not")
    compression = "gzip" if Path(path).suffix == ".gz" else None
    with (
        atomic_output(path) as temporary,
        mrcfile.new(temporary, data, compression=compression, overwrite=True) as file,
    ):
        file.voxel_size = pixel_size_angstrom
        file.header.ispg = 1
        origin = [-(length // 2) * pixel_size_angstrom for length in reversed(data.shape)]
        file.header.origin = tuple(origin)


def resample_map(
    density_map: DensityMap, *, pixel_size_angstrom: float, size: int
) -> NDArray[np.float32]:
    """Puts a map on a cubic grid, centred by the mass of its positive density.

    Trigonometric interpolation of the map within empty surroundings; frequencies above the
    coarser of the two grids' Nyquist are cut off. Values keep their scale, so that the sum
    times the voxel's volume stays.

    Args:
        density_map: any box and voxel.
        pixel_size_angstrom: edge of the new voxels.
        size: N.

    Returns:
        (N, N, N), axes z, y, x, the centre of mass on voxel N // 2.

    Raises:
        InputError: a part of the particle (`particle_mask`) would lie outside the box, the map
            has no positive density, or the pixel size is not positive.
    """
    if not (math.isfinite(pixel_size_angstrom) and pixel_size_angstrom > 0):
        raise InputError(f"pixel size must be positive, not {pixel_size_angstrom!r} angstrom")
    centre = map_centre(density_map)
    steps = [pixel_size_angstrom / length for length in reversed(density_map.voxel_size_angstrom)]
    _check_inside(density_map, centre, steps, size, pixel_size_angstrom)
    volume = density_map.data.astype(np.float64)
    for axis in range(3):
        matrix = _interpolation(volume.shape[axis], centre[axis], steps[axis], size)
        volume = np.moveaxis(np.tensordot(matrix, volume, axes=(1, axis)), 0, axis)
    return np.ascontiguousarray(volume, dtype=np.float32)


def map_centre(density_map: DensityMap) -> NDArray[np.float64]:
    """Gives the centre of the positive density as voxel coordinates (3,) in the order z, y, x.

    Where noise in the solvent has a part in it, of that within `particle_mask`.

    Raises:
        InputError: no value is positive.
    """
    positive = np.maximum(density_map.data, 0).astype(np.float64)
    if not positive.any():
        raise InputError(f"{density_map.source}: expected a map with some positive density")
    noise = MEAN_OF_POSITIVE_NOISE * solvent_noise(density_map.data) * positive.size
    if noise > NOISE_SHARE * positive.sum():
        positive *= density_map.particle  # noise would draw the centre to the box's middle
    total = positive.sum()
    profiles = [positive.sum(axis=tuple({0, 1, 2} - {axis})) for axis in range(3)]
    return np.array([profile @ np.arange(len(profile)) / total for profile in profiles])


def _check_inside(
    density_map: DensityMap,
    centre: NDArray[np.float64],
    steps: Sequence[float],
    size: int,
    pixel_size_angstrom: float,
) -> None:
    """Raises an InputError where voxels of the particle have no place in the new box."""
    voxels = np.argwhere(density_map.particle)
    low, high = (voxels.min(axis=0) - centre) / steps, (voxels.max(axis=0) - centre) / steps
    if -low.min() > size // 2 + 0.5 or high.max() > size - size // 2 - 0.5:
        needed = 2 * math.ceil(max(-low.min() - 0.5, high.max() + 0.5))
        raise InputError(
            f"{density_map.name} does not fit into a box of {size} voxels of "
            f"{pixel_size_angstrom:g} angstrom: expected a size of at least {needed}, or larger "
            "voxels"
        )


def particle_mask(data: NDArray[np.float32], source: str) -> NDArray[np.bool_]:
    """Marks the particle (z, y, x): the largest connected piece above Otsu's threshold.

    The threshold splits the histogram of the values in two classes of least variance, which
    asks for no contour level; the largest piece leaves out noise in the solvent. Where noise
    hides the two classes, the map is smoothed until they part.

    Args:
        data: (z, y, x).
        source: where it was read from, for messages.

    Raises:
        InputError: all values are equal, or none is positive.
    """
    if not (data.max() > max(float(data.min()), 0.0)):
        raise InputError(f"{source} holds no particle: expected values that differ, some positive")
    smooth = data
    for sigma in SMOOTHING_VOXELS:
        if not is_noisy(smooth):
            break
        smooth = ndimage.gaussian_filter(data, sigma)
    above = smooth > max(float(threshold_otsu(smooth)), 0.0)
    pieces, count = ndimage.label(above, structure=np.ones((3, 3, 3)))
    if count > 1:
        sizes = np.bincount(pieces.ravel())
        sizes[0] = 0
        above = pieces == sizes.argmax()
    return np.asarray(above, dtype=bool)


def is_noisy(data: NDArray[np.float32]) -> bool:
    """Tells whether noise in the solvent reaches Otsu's threshold in a map (z, y, x)."""
    above_solvent = float(threshold_otsu(data)) - float(np.median(box_faces(data)))
    return above_solvent < CLEAR_OF_NOISE * solvent_noise(data)


def solvent_noise(data: NDArray[np.float32]) -> float:
    """Gives the standard deviation of the solvent of a map (z, y, x).

    It is measured on the faces of the box, by the median deviation from their median, which a
    particle that touches them does not change much.
    """
    faces = box_faces(data)
    return SIGMA_PER_MEDIAN_DEVIATION * float(np.median(np.abs(faces - np.median(faces))))


def box_faces(data: NDArray[Any]) -> NDArray[Any]:
    """Gives the values on the six faces of a box (z, y, x), flat; edges come twice."""
    planes = [data[0], data[-1], data[:, 0], data[:, -1], data[:, :, 0], data[:, :, -1]]
    return np.concatenate([plane.ravel() for plane in planes])


def _interpolation(length: int, centre: float, step: float, size: int) -> NDArray[np.float64]:
    """Gives the matrix (size, length) that interpolates along an axis.

    Row i is the low-passed Dirichlet kernel about centre + (i - size // 2) step, in old voxels,
    of a period long enough that neither grid meets its own image.
    """
    wanted = centre + (np.arange(size) - size // 2) * step
    low, high = min(wanted[0], 0.0), max(wanted[-1], length - 1.0)
    period = 2 * math.ceil((high - low) / 2) + 2 * length
    frequencies = np.arange(period // 2 + 1) / period
    weights = np.where((frequencies > 0) & (frequencies < 0.5), 2.0, 1.0) / period
    weights[frequencies > 0.5 / max(1.0, step) + 1e-12] = 0.0
    waves_new = np.exp(2j * np.pi * np.outer(wanted, frequencies)) * weights
    waves_old = np.exp(-2j * np.pi * np.outer(frequencies, np.arange(length)))
    return (waves_new @ waves_old).real
