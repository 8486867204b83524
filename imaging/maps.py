"""Density maps in files (MRC, CCP4) and on another grid."""

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import mrcfile
import numpy as np
from mrcfile.mrcinterpreter import MrcInterpreter
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage
from skimage.filters import threshold_otsu

from cryotwin.imaging.atomic import atomic_output
from cryotwin.imaging.errors import InputError
from cryotwin.imaging.file_content import read_content, stem

MAP_SUFFIXES = (".mrc", ".map")


@dataclass(frozen=True)
class DensityMap:
    """A map as read from a file.

    Attributes:
        data: (z, y, x) float32, any shape.
        voxel_size_angstrom: (3,) in the order x, y, z.
        name: short name, fit for a file name ("5j0n").
        source: where it was read from, for people.
    """

    data: NDArray[np.float32]
    voxel_size_angstrom: tuple[float, float, float]
    name: str
    source: str


def read_map(path: str | Path, *, name: str | None = None, source: str | None = None) -> DensityMap:
    """Reads an MRC or CCP4 map, gzip or not, with its axes put in the order z, y, x.

    Args:
        path: the file.
        name: as in `DensityMap`; by default the file's name without suffixes.
        source: as in `DensityMap`; by default the path.

    Raises:
        InputError: not a map, cut short, complex or not three-dimensional, values that are not
            finite, or no voxel size.
    """
    where = source or str(path)
    data, sizes = _interpret(read_content(path), where)
    if not all(math.isfinite(length) and length > 0 for length in sizes):
        shown = " x ".join(f"{length:g}" for length in sizes)
        raise InputError(f"{where}: voxel size must be positive, not {shown} angstrom")
    if not np.isfinite(data).all():
        count = int((~np.isfinite(data)).sum())
        raise InputError(f"{where}: values must be finite, {count} are NaN or infinite")
    return DensityMap(data, sizes, name or stem(path), where)


def _interpret(
    content: bytes, where: str
) -> tuple[NDArray[np.float32], tuple[float, float, float]]:
    """Gives the data (z, y, x) and the voxel size x, y, z of an MRC file's bytes."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # permissive: small faults of the header are common
            file = MrcInterpreter(iostream=BytesIO(content), permissive=True)
    except (ValueError, EOFError, RuntimeError, OverflowError, MemoryError) as error:
        raise InputError(f"{where} is not an MRC or CCP4 map: {error}") from None
    data, header = file.data, file.header
    if data is None:
        raise InputError(f"{where} is cut short or is not an MRC or CCP4 map")
    if data.ndim != 3 or np.iscomplexobj(data) or min(data.shape) < 2:
        raise InputError(
            f"{where}: expected a real map with three axes, not {data.dtype} of shape {data.shape}"
        )
    size = file.voxel_size
    voxel_size = (float(size.x), float(size.y), float(size.z))
    axes = (int(header.maps), int(header.mapr), int(header.mapc))
    if axes == (0, 0, 0):
        axes = (3, 2, 1)
    if sorted(axes) != [1, 2, 3]:
        raise InputError(
            f"{where}: MAPC, MAPR, MAPS must be 1, 2 and 3 in some order, not "
            f"{', '.join(map(str, reversed(axes)))}"
        )
    ordered = data.transpose([axes.index(axis) for axis in (3, 2, 1)])
    return np.ascontiguousarray(ordered, dtype=np.float32), voxel_size


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

    Raises:
        InputError: no value is positive.
    """
    positive = np.maximum(density_map.data, 0).astype(np.float64)
    total = positive.sum()
    if not total > 0:
        raise InputError(f"{density_map.source}: expected a map with some positive density")
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
    voxels = np.argwhere(particle_mask(density_map))
    low, high = (voxels.min(axis=0) - centre) / steps, (voxels.max(axis=0) - centre) / steps
    if -low.min() > size // 2 + 0.5 or high.max() > size - size // 2 - 0.5:
        needed = 2 * math.ceil(max(-low.min() - 0.5, high.max() + 0.5))
        raise InputError(
            f"{density_map.name} does not fit into a box of {size} voxels of "
            f"{pixel_size_angstrom:g} angstrom: expected a size of at least {needed}, or larger "
            "voxels"
        )


def particle_mask(density_map: DensityMap) -> NDArray[np.bool_]:
    """Marks the particle (z, y, x): the largest connected piece above Otsu's threshold.

    The threshold splits the histogram of the values in two classes of least variance, which
    asks for no contour level; the largest piece leaves out noise in the solvent.

    Raises:
        InputError: all values are equal, or none is positive.
    """
    data = density_map.data
    if not (data.max() > max(float(data.min()), 0.0)):
        raise InputError(
            f"{density_map.source} holds no particle: expected values that differ, some positive"
        )
    above = data > max(float(threshold_otsu(data)), 0.0)
    pieces, count = ndimage.label(above, structure=np.ones((3, 3, 3)))
    if count > 1:
        sizes = np.bincount(pieces.ravel())
        sizes[0] = 0
        above = pieces == sizes.argmax()
    return np.asarray(above, dtype=bool)


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
