"""The inner loop of equation (4) under a point group: which copies are nearest, and their pull.

All that is needed of a point is collected in one pass over the others and over the group, so that
nothing of the size (P, P, G) is ever held.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from cryotwin.imaging.gridding_loops import compiled
from cryotwin.imaging.rotations import multiply_quaternions

_LEAST_SINE2 = 1e-12
"""Squared sine of half a distance below which the direction to the other point is rounding."""


def pulls_under_symmetry(
    distances: NDArray[np.float32],
    quaternions: NDArray[np.float64],
    others: NDArray[np.float64],
    group: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Gives the misfit of each point and the direction in which it falls.

    With residuals r_ij = d_G(q_i, q_j) - d_ij, the misfit is the sum over j of r_ij^2, and the
    pull is the sum over j of r_ij / 2 times the unit tangent at q_i towards the nearest copy of
    q_j: the half because a quaternion moves by half the angle that its rotation turns by.

    Args:
        distances: (P, L) rad, NaN where there is none.
        quaternions: (P, 4).
        others: (L, 4).
        group: quaternions (G, 4) of the point group.

    Returns:
        Misfits (P,) in rad^2 and pulls (P, 4).
    """
    copies = multiply_quaternions(others, group[:, None]) if len(group) > 1 else others[None]
    misfits, pulls = np.empty(len(quaternions)), np.empty((len(quaternions), 4))
    by_component = np.ascontiguousarray(np.moveaxis(copies, -1, 1))
    _accumulate(distances, np.ascontiguousarray(quaternions), by_component, misfits, pulls)
    pulls -= np.einsum("pc,pc->p", pulls, quaternions)[:, None] * quaternions
    return misfits, pulls


@compiled
def _accumulate(distances: Any, quaternions: Any, copies: Any, misfits: Any, pulls: Any) -> None:
    points, group, count = quaternions.shape[0], copies.shape[0], copies.shape[2]
    largest, cosines = np.empty(count), np.empty(count)
    nearest = np.empty(count, np.int64)
    for i in range(points):
        w, x, y, z = quaternions[i, 0], quaternions[i, 1], quaternions[i, 2], quaternions[i, 3]
        largest[:] = -1.0
        for g in range(group):
            copy = copies[g]
            for j in range(count):
                cosine = w * copy[0, j] + x * copy[1, j] + y * copy[2, j] + z * copy[3, j]
                if abs(cosine) > largest[j]:
                    largest[j], cosines[j], nearest[j] = abs(cosine), cosine, g
        misfit, total = 0.0, np.zeros(4)
        for j in range(count):
            if np.isnan(distances[i, j]):
                continue
            cosine = min(largest[j], 1.0)
            residual = 2 * np.arccos(cosine) - distances[i, j]
            misfit += residual * residual
            weight = 0.5 * residual / np.sqrt(max(1 - cosine * cosine, _LEAST_SINE2))
            if cosines[j] < 0:
                weight = -weight
            for c in range(4):
                total[c] += weight * copies[nearest[j], c, j]
        misfits[i] = misfit
        pulls[i] = total
