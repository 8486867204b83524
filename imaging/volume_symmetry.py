"""Does a volume have the symmetry that is claimed of it?"""

import numpy as np
from numpy.typing import NDArray

from cryotwin.imaging.errors import InputError
from cryotwin.imaging.fourier import resize_volume
from cryotwin.imaging.point_groups import parse_point_group, symmetry_generators
from cryotwin.imaging.volume_rotation import rotate_volume

LEAST_AGREEMENT = 0.9
"""The agreement of a volume that counts as symmetric. Models whose copies are the same by
construction have more than 0.97, particles without the symmetry up to about 0.4."""

_LARGEST_SIZE = 64
"""Larger volumes are compared at this many voxels an edge, which takes about a second."""

_ROUNDING = 1e-3
"""A volume that differs less from its means over spheres is round."""


def symmetry_agreement(volume: NDArray[np.floating], symmetry: str) -> float:
    """Gives the correlation of a volume with its turned copies, less what turns cannot change.

    The mean over each sphere about the origin is taken away: of a virus hardly more than its shell
    would count otherwise. The least over the rotations that generate the group is given: when
    these change nothing, none does.

    Args:
        volume: (N, N, N) as z, y, x, its axes meeting in voxel N // 2.
        symmetry: point group, with RELION's axes.

    Returns:
        A number from -1 to 1; 1 for C1 and for a volume that all turns leave as it is.

    Raises:
        InputError: the group is unknown, or the volume is no cube.
    """
    if parse_point_group(symmetry) == "C1":
        return 1.0
    if len(volume) > _LARGEST_SIZE:
        volume = resize_volume(volume, _LARGEST_SIZE)
    spheres = _spheres(len(volume))
    part = _angular_part(volume, spheres)
    if np.linalg.norm(part) < _ROUNDING * np.linalg.norm(volume):
        return 1.0
    return min(
        _correlation(part, _angular_part(rotate_volume(volume, rotation), spheres))
        for rotation in symmetry_generators(symmetry)
    )


def check_volume_symmetry(volume: NDArray[np.floating], symmetry: str, name: str) -> None:
    """Raises InputError where the volume of the structure `name` lacks the symmetry."""
    agreement = symmetry_agreement(volume, symmetry)
    if agreement < LEAST_AGREEMENT:
        raise InputError(
            f"{name} does not have the symmetry {symmetry} about RELION's axes: its density and "
            f"the turned one correlate by {agreement:.2f}, expected at least {LEAST_AGREEMENT}"
        )


def _spheres(size: int) -> NDArray[np.intp]:
    """Numbers the voxels (N, N, N) by their distance from the origin; those beyond N / 2 get 0."""
    axis = (np.arange(size) - size // 2) ** 2
    radii = np.sqrt(axis[:, None, None] + axis[:, None] + axis)
    return np.where(radii < size / 2, np.rint(radii).astype(np.intp) + 1, 0)


def _angular_part(volume: NDArray[np.floating], spheres: NDArray[np.intp]) -> NDArray[np.float64]:
    """Takes the mean over its sphere from each voxel, and gives those within the spheres."""
    numbers, values = spheres.ravel(), volume.ravel().astype(np.float64)
    means = np.bincount(numbers, values) / np.maximum(np.bincount(numbers), 1)
    return (values - means[numbers])[numbers > 0]


def _correlation(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    return float(first @ second / (np.linalg.norm(first) * np.linalg.norm(second)))
