"""The report's pictures of a map: slices, projections and the isosurface."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage

from cryotwin.recovery.report_figures import grey_picture
from cryotwin.recovery.resolution import soft_sphere_mask

Array = NDArray[np.floating]

_PICTURE_PX = 240
_MAX_CELLS = 80


@dataclass(frozen=True)
class Surface:
    """An isosurface.

    Attributes:
        vertices_angstrom: (v, 3) float32 as x, y, z from the origin voxel.
        faces: (f, 3) indices of vertices.
        level: the density on the surface.
    """

    vertices_angstrom: Array
    faces: NDArray[np.integer]
    level: float


def low_pass(volume: Array, resolution_px: float) -> Array:
    """Takes out of a map (N, N, N) what is finer than `resolution_px` pixels, with a soft edge."""
    size = len(volume)
    full, half = fft.fftfreq(size), fft.rfftfreq(size)
    frequency = np.sqrt(full[:, None, None] ** 2 + full[None, :, None] ** 2 + half**2)
    start = 1 / resolution_px
    edge = np.clip((frequency - start) / (0.3 * start), 0, 1)
    smooth: Array = fft.irfftn(
        fft.rfftn(volume) * (0.5 + 0.5 * np.cos(np.pi * edge)), s=volume.shape
    )
    return smooth.astype(np.float32)


def particle_density(volume: Array, resolution_px: float) -> tuple[Array, float]:
    """Prepares a map for its isosurface.

    It is low-passed and cut to the sphere in the box. The level is Otsu's threshold of what is
    positive, which parts particle from solvent without knowing the mass. Islands smaller than a
    twentieth of the largest are taken out.

    Returns:
        The density (N, N, N) and the level.
    """
    from skimage.filters import threshold_otsu

    size = len(volume)
    ball = soft_sphere_mask(size, size / 2 - 3, 2)
    density = low_pass(volume, max(resolution_px, 2.5)) * ball
    positive = density[(density > 0) & (ball > 0)]
    if positive.size == 0 or np.ptp(positive) == 0:
        return density, float("inf")
    level = float(threshold_otsu(positive))
    labels, count = ndimage.label(density > level)
    if count > 1:
        sizes = np.bincount(labels.ravel())
        sizes[0] = 0
        dust = np.flatnonzero(sizes < sizes.max() / 20)
        grown = ndimage.grey_dilation(labels, size=3)
        speck = np.isin(labels, dust[dust > 0]) | ((labels == 0) & np.isin(grown, dust[dust > 0]))
        density = np.where(speck, np.minimum(density, 0), density)
    return density, level


def isosurface(density: Array, level: float, pixel_size_angstrom: float) -> Surface | None:
    """Triangulates where a map (N, N, N) has the density `level`; None when it is nowhere."""
    from skimage.measure import marching_cubes

    if not density.min() < level < density.max():
        return None
    step = -(-len(density) // _MAX_CELLS)
    vertices, faces, *_ = marching_cubes(density, level, step_size=step, allow_degenerate=False)
    centred = (vertices[:, ::-1] - len(density) // 2) * pixel_size_angstrom
    return Surface(centred.astype(np.float32), faces.astype(np.int64), level)


def shaded_views(density: Array, level: float) -> dict[str, Array]:
    """Renders the isosurface, lit from the upper left, as three pictures of a right-handed frame.

    Returns:
        Colours (n, n, 4) in [0, 1], first row on top, by the side that is looked from: "+z" (x to
        the right, y up), "-y" (x to the right, z up) and "+x" (y to the right, z up); empty where
        the map has no surface.
    """
    if not density.min() < level < density.max():
        return {}
    cube = _cropped(density, level)
    fine = _enlarged(cube, _PICTURE_PX)
    return {
        "+z": _shade(fine[::-1, ::-1], level),
        "-y": _shade(np.transpose(fine, (1, 0, 2))[:, ::-1], level),
        "+x": _shade(np.transpose(fine, (2, 0, 1))[::-1, ::-1], level),
    }


def _cropped(density: Array, level: float) -> Array:
    """Cuts the smallest centred cube that holds the surface, with a margin."""
    centre = len(density) // 2
    reach = int(np.abs(np.argwhere(density > level) - centre).max()) + 3
    start, stop = max(0, centre - reach), min(len(density), centre + reach + 1)
    return density[start:stop, start:stop, start:stop]


def _enlarged(cube: Array, size: int) -> Array:
    """Interpolates a cube to `size` voxels by cubic splines, one axis after the other.

    The interpolation is linear and separable: one small matrix does it along each axis, in a
    tenth of the time of a three-dimensional `zoom`.
    """
    identity = np.eye(len(cube))
    along = ndimage.zoom(identity, (size / len(cube), 1), order=3).astype(np.float32)
    for axis in range(3):
        cube = np.moveaxis(np.tensordot(along, cube, axes=(1, axis)), 0, axis)
    return np.ascontiguousarray(cube)


def _shade(volume: Array, level: float) -> Array:
    """Renders the first surface met along axis 0, a ray a pixel, as colours (n, n, 4)."""
    above = volume > level
    hit = above.any(axis=0)
    first = np.maximum(above.argmax(axis=0), 1)
    before, after = (np.take_along_axis(volume, (first - k)[None], 0)[0] for k in (1, 0))
    rise = np.where(hit & (before < level), after - before, 1.0)
    depth = first - 1 + np.clip((level - before) / rise, 0, 1)
    rows: Array
    columns: Array
    rows, columns = np.indices(hit.shape, dtype=np.float64)[:]
    slope = np.stack([_slope(volume, [depth, rows, columns], axis) for axis in range(3)])
    normal = -slope / np.maximum(np.linalg.norm(slope, axis=0), 1e-12)
    # The viewer is on the side of small axis 0; light comes from there, above and left.
    light = np.array([-0.75, -0.5, -0.42]) / np.linalg.norm([0.75, 0.5, 0.42])
    lit = np.clip(np.tensordot(light, normal, 1), 0, 1)
    facing = np.clip(-normal[0], 0, 1)
    nearness = 1 - 0.45 * depth / len(volume)
    brightness = np.clip((0.25 + 0.6 * lit + 0.2 * facing) * nearness + 0.08, 0, 1)
    colour = brightness[..., None] * np.array([0.62, 0.80, 0.95])
    # Half-covered pixels at the rim take their colour from inside.
    cover = ndimage.gaussian_filter(hit.astype(np.float64), 0.8)
    nearest = ndimage.distance_transform_edt(~hit, return_distances=False, return_indices=True)
    colour = colour[nearest[0], nearest[1]]
    return np.concatenate([np.clip(colour, 0, 1), np.where(hit, 1, cover)[..., None]], axis=-1)


def _slope(volume: Array, place: list[Array], axis: int) -> Array:
    """Gives the central difference along an axis at places between the voxels."""
    ahead, behind = list(place), list(place)
    ahead[axis], behind[axis] = place[axis] + 1.0, place[axis] - 1.0
    one = ndimage.map_coordinates(volume, ahead, order=1, mode="nearest")
    two = ndimage.map_coordinates(volume, behind, order=1, mode="nearest")
    difference: Array = one - two
    return difference


def slice_pictures(volume: Array) -> list[str]:
    """Draws the central slices across z, y and x, on one grey scale, as PNG data URIs.

    They are turned as `shaded_views` is: y up in the first, z up in the others.
    """
    low, high = np.percentile(volume, [0.5, 99.9])
    cuts = [np.take(volume, len(volume) // 2, axis)[::-1] for axis in range(3)]
    return [_picture(cut, low, high) for cut in cuts]


def projection_pictures(volume: Array) -> list[str]:
    """Draws the sums along z, y and x, turned as the slices, each on its own grey scale."""
    sums = [volume.sum(axis)[::-1] for axis in range(3)]
    return [_picture(image, *np.percentile(image, [0.5, 99.9])) for image in sums]


def particle_pictures(images: Array) -> list[str]:
    """Draws particle images (k, N, N), each on its own grey scale, as PNG data URIs."""
    return [_picture(image, *np.percentile(image, [0.5, 99.5])) for image in images]


def _picture(image: Array, low: float, high: float) -> str:
    return grey_picture(image, low=low, high=high, upscale=max(1, 160 // len(image)))
