"""Does a volume have the symmetry that is claimed of it?"""

import numpy as np
from numpy.typing import NDArray

from cryotwin.imaging.errors import InputError
from cryotwin.imaging.fourier import resize_volume
from cryotwin.imaging.point_groups import parse_point_group, symmetry_generators
from cryotwin.imaging.volume_rotation import rotate_volume

LEAST_AGREEMENT = 0.9
"""The agreement of a volume that counts as symmetric. Models whose copies are the same by
construction have more than 0.99, particles without the symmetry up to about 0.6."""

_LARGEST_SIZE = 64
"""Larger volumes are compared at this many voxels an edge, which takes about a second."""


def symmetry_agreement(volume: NDArray[np.floating], symmetry: str) -> float:
    """Gives the correlation of a volume with its turned copies.

    The least over the rotations that generate the group: when these change nothing, none does.

    Args:
        volume: (N, N, N) as z, y, x, its axes meeting in voxel N // 2.
        symmetry: point group, with RELION's axes.

    Returns:
        A number from -1 to 1; 1 for C1.

    Raises:
        InputError: the group is unknown, or the volume is no cube.
    """
    if parse_point_group(symmetry) == "C1":
        return 1.0
    if len(volume) > _LARGEST_SIZE:
        volume = resize_volume(volume, _LARGEST_SIZE)
    return min(
        _correlation(volume, rotate_volume(volume, rotation))
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


def _correlation(first: NDArray[np.floating], second: NDArray[np.floating]) -> float:
    return float(np.corrcoef(first.ravel(), second.ravel())[0, 1])
