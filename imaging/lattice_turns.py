"""Point groups acting on a voxel grid: which of their turns only move voxels about.

A rotation whose matrix is a signed permutation takes the grid into itself, so it costs nothing and
interpolates nothing. Such rotations are a subgroup H of a point group G, and every g of G is c h
with h in H and c one of |G| / |H| others. A sum over G of back projections is then a sum over the
few c, followed by one over H of moved voxels. Of D2 and O all rotations are in H, of I1 and I2 (60)
a fifth, of T none but the identity.
"""

from functools import cache

import numpy as np
from numpy.typing import NDArray

from cryotwin.imaging.point_groups import parse_point_group, symmetry_matrices

Array = NDArray[np.float64]


@cache
def split_point_group(symmetry: str) -> tuple[Array, Array]:
    """Splits a point group G into products c h with h a signed permutation of the axes.

    Args:
        symmetry: name of the point group, with RELION's axes.

    Returns:
        c (K, 3, 3) and h (H, 3, 3), the identity first in both; the products c h are G, each
        once.

    Raises:
        InputError: the group is unknown.
    """
    group = symmetry_matrices(parse_point_group(symmetry))
    on_grid = np.abs(group - np.rint(group)).max(axis=(1, 2)) < 1e-6
    moves = np.rint(group[on_grid])
    turns: list[Array] = []
    reached = np.zeros((0, 3, 3))
    for element in group:
        if len(reached) and np.abs(reached - element).max(axis=(1, 2)).min() < 1e-6:
            continue
        turns.append(element)
        reached = np.concatenate([reached, element @ moves])
    return np.stack(turns), moves


def sum_moved_voxels(volume: NDArray[np.float32], moves: Array) -> NDArray[np.float32]:
    """Sums V(h x) over signed permutations h (H, 3, 3).

    Args:
        volume: V, (N, N, N) as z, y, x, about voxel N // 2.
        moves: h, acting on (x, y, z).

    Returns:
        (N, N, N). The outermost plane of an even box (voxel 0 of an axis), which has no partner
        on the other side, stands for both.
    """
    total = np.zeros_like(volume)
    for move in moves:
        total += _moved(volume, move)
    return total


def _moved(volume: NDArray[np.float32], move: Array) -> NDArray[np.float32]:
    """Gives V(h x): voxel by voxel, V at (h x)_i = sign_i x_source(i)."""
    zyx = move[::-1, ::-1]
    source = np.abs(zyx).argmax(axis=1)
    signs = zyx[np.arange(3), source]
    for axis in np.flatnonzero(signs < 0).tolist():
        volume = np.flip(volume, axis)
        if volume.shape[axis] % 2 == 0:
            volume = np.roll(volume, 1, axis)
    return volume.transpose(np.argsort(source))
