"""How far two maps agree: the Fourier shell correlation and the resolution read off it."""

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import fft

from cryotwin.imaging.errors import InputError

Array = NDArray[np.floating]


def fourier_shell_correlation(
    first: ArrayLike, second: ArrayLike, *, mask: ArrayLike | None = None
) -> Array:
    """Correlates two maps shell by shell in Fourier space.

    Shell k holds the Fourier voxels whose distance from the origin, in units of 1 / (N pixels),
    rounds to k. Shells run from 0 (the mean) to N // 2; the corners beyond are left out.

    Args:
        first: map (N, N, N), any scale.
        second: map (N, N, N), in the same frame.
        mask: weights (N, N, N) that both maps are multiplied with first. A mask that is sharp,
            or tighter than the particle, makes the curve too good.

    Returns:
        Correlations (N // 2 + 1,) in [-1, 1]; 0 in a shell where a map has no power.

    Raises:
        InputError: when the maps are not cubes of one size, or hold NaN or infinity.

    Source: Harauz and van Heel, Optik 73 (1986).
    """
    maps = [_cube(first, "the first map"), _cube(second, "the second map")]
    if maps[0].shape != maps[1].shape:
        raise InputError(
            f"the maps to compare must have one size, not {maps[0].shape} and {maps[1].shape}"
        )
    if mask is not None:
        weights = _cube(mask, "the mask")
        if weights.shape != maps[0].shape:
            raise InputError(
                f"the mask must have the maps' size {maps[0].shape}, not {weights.shape}"
            )
        maps = [volume * weights for volume in maps]
    size = len(maps[0])
    one, two = (fft.rfftn(volume) for volume in maps)
    shells, multiplicity = _half_space_shells(size)
    cross = _shell_sums(np.real(one * np.conj(two)) * multiplicity, shells, size)
    power_one = _shell_sums(np.abs(one) ** 2 * multiplicity, shells, size)
    power_two = _shell_sums(np.abs(two) ** 2 * multiplicity, shells, size)
    norm = np.sqrt(power_one * power_two)
    # Rounding of the transform leaves some power in an empty shell: it counts as none.
    empty = norm <= 1e-20 * max(float(norm.max()), np.finfo(np.float64).tiny)
    return np.clip(np.where(empty, 0.0, cross / np.where(empty, 1.0, norm)), -1, 1)


def resolution_at(
    fsc: ArrayLike, pixel_size_angstrom: float, threshold: float, *, size: int | None = None
) -> float:
    """Reads the resolution off a Fourier shell correlation.

    Args:
        fsc: correlations (n,), shell k at the frequency k / (size * pixel_size_angstrom).
        pixel_size_angstrom: pixel size of the maps.
        threshold: 0.143 for two half maps, 0.5 for a map against the truth.
        size: box N of the maps; 2 (n - 1), the even one, when not given.

    Returns:
        Angstrom at the first place where the curve, linear between shells, falls below the
        threshold: at best 2 pixels (the Nyquist limit, also when the curve never falls below it),
        at worst the box.
    """
    curve = np.array(fsc, dtype=np.float64)
    size = 2 * (len(curve) - 1) if size is None else size
    nyquist_angstrom = 2 * pixel_size_angstrom
    curve[0] = 1.0  # two maps always agree on what is coarser than the box
    below = np.flatnonzero(curve < threshold)
    if len(below) == 0:
        return nyquist_angstrom
    after = int(below[0])
    before = after - 1
    shell = before + (curve[before] - threshold) / (curve[before] - curve[after])
    return float(max(size * pixel_size_angstrom / max(shell, 1.0), nyquist_angstrom))


def soft_sphere_mask(size: int, radius_px: float, edge_px: float) -> Array:
    """Makes a sphere about the origin voxel with a soft edge.

    Args:
        size: box N.
        radius_px: the mask is 1 up to this distance from voxel N // 2.
        edge_px: width of the raised cosine on which it falls from 1 to 0; 0 for a sharp edge.

    Returns:
        Weights (N, N, N) float32 in [0, 1].
    """
    axis = np.arange(size) - size // 2
    z, y, x = np.meshgrid(axis, axis, axis, indexing="ij", sparse=True)
    outside = np.sqrt(z**2 + y**2 + x**2) - radius_px
    if edge_px <= 0:
        return np.where(outside <= 0, np.float32(1), np.float32(0))
    mask: Array = 0.5 + 0.5 * np.cos(np.pi * np.clip(outside / edge_px, 0, 1))
    return mask.astype(np.float32)


def _cube(volume: ArrayLike, what: str) -> Array:
    array: Array = np.asarray(volume, dtype=np.float64)
    if array.ndim != 3 or len(set(array.shape)) != 1:
        raise InputError(f"{what} must be a cube (N, N, N), not of shape {array.shape}")
    if not np.isfinite(array).all():
        raise InputError(f"{what} holds NaN or infinite values, finite ones were expected")
    return array


def _half_space_shells(size: int) -> tuple[NDArray[np.intp], Array]:
    """Gives the shell of each voxel of `rfftn`, and how often the full transform holds it."""
    full, half = fft.fftfreq(size, 1 / size), fft.rfftfreq(size, 1 / size)
    radius = np.sqrt(full[:, None, None] ** 2 + full[None, :, None] ** 2 + half**2)
    multiplicity = np.where((half == 0) | (2 * half == size), 1.0, 2.0)
    return np.rint(radius).astype(np.intp), multiplicity


def _shell_sums(values: Array, shells: NDArray[np.intp], size: int) -> Array:
    sums = np.bincount(shells.ravel(), values.ravel()).astype(np.float64)
    return sums[: size // 2 + 1]
