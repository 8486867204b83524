"""Finds where the symmetry axes of a volume are, to turn them to where RELION has them.

The volume turned by B has the rotation g in its symmetry when the volume itself has B^T g B. So B
is looked for on a grid over SO(3), by how well a few thousand places in the volume agree with those
that B^T g B takes them to, for the generators g of the group; the best are refined.
"""

from dataclasses import dataclass

import numpy as np
import scipy.ndimage
import scipy.optimize
from numpy.typing import NDArray

from cryotwin.imaging.fourier import resize_volume
from cryotwin.imaging.point_groups import symmetry_generators
from cryotwin.imaging.rotations import (
    nearest_rotations,
    rotation_grid,
    rotation_vectors_to_matrices,
)
from cryotwin.imaging.volume_rotation import rotate_volume
from cryotwin.imaging.volume_symmetry import LEAST_AGREEMENT, symmetry_agreement

_SPACING_RAD = 0.15
_COARSE_SIZE = 32
_FINE_SIZE = 64
_COARSE_SMOOTHING_PX = 1.5
_FINE_SMOOTHING_PX = 0.7
_COARSE_POINTS = 500
_FINE_POINTS = 3000
_BATCH = 256
_REFINED = 8
"""Places of the grid from which the search goes on."""

Array = NDArray[np.float64]


def align_symmetry_axes(volume: NDArray[np.floating], symmetry: str) -> NDArray[np.floating]:
    """Turns a volume so that its symmetry axes are where RELION has them.

    A volume that has the symmetry about those axes already stays as it is.

    Args:
        volume: (N, N, N) as z, y, x, its axes meeting in voxel N // 2.
        symmetry: point group that it is thought to have.

    Returns:
        The volume that has the symmetry best, whether it has it or not.

    Raises:
        InputError: the group is unknown, or the volume is no cube.
    """
    if symmetry_agreement(volume, symmetry) >= LEAST_AGREEMENT:
        return volume
    return rotate_volume(volume, find_symmetry_axes(volume, symmetry))


def find_symmetry_axes(volume: NDArray[np.floating], symmetry: str) -> Array:
    """Finds the rotation that turns a volume's symmetry axes to where RELION has them.

    Args:
        volume: (N, N, N) as z, y, x, its axes meeting in voxel N // 2.
        symmetry: point group that it is thought to have.

    Returns:
        B (3, 3), for `rotate_volume(volume, B)`: the best that there is. Whether the turned volume
        has the symmetry, `symmetry_agreement` tells.

    Raises:
        InputError: the group is unknown.
    """
    generators = symmetry_generators(symmetry)
    coarse = _sample(volume, _COARSE_SIZE, _COARSE_SMOOTHING_PX, _COARSE_POINTS)
    fine = _sample(volume, _FINE_SIZE, _FINE_SMOOTHING_PX, _FINE_POINTS)
    grid = rotation_grid(_SPACING_RAD)
    scores = np.concatenate(
        [
            coarse.agreement(_conjugates(grid[start : start + _BATCH], generators))
            for start in range(0, len(grid), _BATCH)
        ]
    )
    starts = grid[np.argsort(scores)[::-1][:_REFINED]]
    refined = [_refine(_refine(start, generators, coarse), generators, fine) for start in starts]
    finished = np.stack(refined)
    best = np.argmax(fine.agreement(_conjugates(finished, generators)))
    return nearest_rotations(finished[best])


@dataclass(frozen=True)
class _Sample:
    """A smoothed volume with places in it: points (M, 3) as x, y, z from the origin, in voxels."""

    volume: Array
    points: Array

    def agreement(self, rotations: Array) -> Array:
        """Gives the correlation (K,) of the values at the points and where these are turned to.

        The least over the g rotations of (K, g, 3, 3).
        """
        here = _standardised(self._values(self.points))
        there = _standardised(self._values(self.points @ np.swapaxes(rotations, -1, -2)))
        return (here * there).mean(axis=-1).min(axis=-1)

    def _values(self, points: Array) -> Array:
        places = np.moveaxis(points[..., ::-1], -1, 0) + len(self.volume) // 2
        return scipy.ndimage.map_coordinates(self.volume, places, order=1)


def _standardised(values: Array) -> Array:
    centred = values - values.mean(axis=-1, keepdims=True)
    return centred / np.maximum(centred.std(axis=-1, keepdims=True), np.finfo(float).tiny)


def _conjugates(turns: Array, generators: Array) -> Array:
    """Gives B^T g B, (K, g, 3, 3), for turns B (K, 3, 3) and generators (g, 3, 3)."""
    return np.swapaxes(turns, -1, -2)[:, None] @ generators @ turns[:, None]


def _sample(volume: NDArray[np.floating], size: int, smoothing_px: float, count: int) -> _Sample:
    if len(volume) > size:
        volume = resize_volume(volume, size)
    smooth = scipy.ndimage.gaussian_filter(np.asarray(volume, dtype=np.float64), smoothing_px)
    origin, reach = len(smooth) // 2, len(smooth) // 2 - 1
    places = np.argwhere(np.ones_like(smooth, dtype=bool)) - origin
    places = places[(places**2).sum(axis=1) <= reach**2][:, ::-1]
    chosen = np.random.default_rng(0).choice(len(places), min(count, len(places)), replace=False)
    return _Sample(smooth, places[chosen].astype(np.float64))


def _refine(turn: Array, generators: Array, sample: _Sample) -> Array:
    def misfit(vector: Array) -> float:
        moved = turn @ rotation_vectors_to_matrices(vector)
        return -float(sample.agreement(_conjugates(moved[None], generators))[0])

    simplex = np.concatenate([np.zeros((1, 3)), np.eye(3) * _SPACING_RAD / 2])
    found = scipy.optimize.minimize(
        misfit,
        np.zeros(3),
        method="Nelder-Mead",
        options={"initial_simplex": simplex, "xatol": 1e-4, "fatol": 1e-6, "maxfev": 200},
    )
    return turn @ rotation_vectors_to_matrices(found.x)
