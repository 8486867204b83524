"""The other hand: orientations and maps as the mirror image of the object has them.

Projections do not tell an object from its mirror image (docs/gauge.md): V(x) under R and V(-x)
under diag(-1, -1, 1) R give the same images.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cryotwin.imaging.rotations import MIRROR, matrices_to_quaternions, quaternions_to_matrices


def mirror_orientations(quaternions: ArrayLike) -> NDArray[np.float64]:
    """Gives the orientations (P, 4) of the mirror image that fit the same images."""
    return matrices_to_quaternions(MIRROR @ quaternions_to_matrices(quaternions))


def mirror_volume(volume: NDArray[np.float32]) -> NDArray[np.float32]:
    """Gives V(-x) of a volume (N, N, N) about its origin voxel N // 2.

    The first plane of an even box, which has no partner on the other side, stays where it is.
    """
    mirrored = volume[::-1, ::-1, ::-1]
    if len(volume) % 2 == 0:
        mirrored = np.roll(mirrored, 1, axis=(0, 1, 2))
    return np.ascontiguousarray(mirrored)
