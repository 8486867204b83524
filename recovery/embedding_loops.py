"""The inner loop of the embedding: of each point its misfit, its pull and how stiffly it is held.

All that is needed of a point is collected in one pass over the others and over the point group, so
that nothing of the size (P, P, G) is ever held.
"""

from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cryotwin.imaging.gridding_loops import compiled
from cryotwin.imaging.rotations import multiply_quaternions

Array = NDArray[np.float64]

_LEAST_SINE2 = 1e-12
"""Squared sine of half a distance below which the direction to the other point is rounding."""


def pulls(
    targets: NDArray[np.float32],
    weights: NDArray[np.float32],
    quaternions: Array,
    others: Array,
    group: Array,
) -> tuple[Array, Array, Array]:
    """Gives what Newton's method for each point alone needs, the others held.

    With residuals r_ij = d_G(q_i, q_j) - t_ij and u_ij the unit tangent at q_i towards the nearest
    copy of q_j, the misfit is sum_j w_ij r_ij^2, the pull sum_j w_ij (r_ij / 2) u_ij and the
    stiffness sum_j w_ij u_ij u_ij^T: the half because a quaternion moves by half the angle that
    its rotation turns by. stiffness x step = pull is the step of Gauss and Newton.

    Args:
        targets: (P, L) wanted distances in rad, finite.
        weights: (P, L), zero where there is no distance.
        quaternions: (P, 4).
        others: (L, 4).
        group: quaternions (G, 4) of the point group.

    Returns:
        Misfits (P,) in rad^2, pulls (P, 4) and stiffnesses (P, 4, 4).
    """
    copies = multiply_quaternions(others, group[:, None]) if len(group) > 1 else others[None]
    count = len(quaternions)
    misfits, pull, moments = np.empty(count), np.empty((count, 4)), np.empty((count, 4, 4))
    by_component = np.ascontiguousarray(np.moveaxis(copies, -1, 1))
    _accumulate(
        targets, weights, np.ascontiguousarray(quaternions), by_component, misfits, pull, moments
    )
    pull -= np.einsum("pc,pc->p", pull, quaternions)[:, None] * quaternions
    tangent = np.eye(4) - quaternions[:, :, None] * quaternions[:, None, :]
    return misfits, pull, tangent @ moments @ tangent


# Sums may be taken in any order, so that the processor's vector instructions can take them.
@partial(compiled, fastmath={"contract", "reassoc", "nsz"})
def _accumulate(
    targets: Any,
    weights: Any,
    quaternions: Any,
    copies: Any,
    misfits: Any,
    pull: Any,
    moments: Any,
) -> None:
    points, group, count = quaternions.shape[0], copies.shape[0], copies.shape[2]
    largest, nearest = np.empty(count), np.zeros(count, np.int64)
    near = np.empty((4, count))
    near[:] = copies[0]
    for i in range(points):
        w, x, y, z = quaternions[i, 0], quaternions[i, 1], quaternions[i, 2], quaternions[i, 3]
        if group > 1:
            largest[:] = -1.0
            for g in range(group):
                copy = copies[g]
                for j in range(count):
                    cosine = abs(w * copy[0, j] + x * copy[1, j] + y * copy[2, j] + z * copy[3, j])
                    if cosine > largest[j]:
                        largest[j], nearest[j] = cosine, g
            for c in range(4):
                for j in range(count):
                    near[c, j] = copies[nearest[j], c, j]
        misfit, p0, p1, p2, p3 = 0.0, 0.0, 0.0, 0.0, 0.0
        m00, m01, m02, m03, m11 = 0.0, 0.0, 0.0, 0.0, 0.0
        m12, m13, m22, m23, m33 = 0.0, 0.0, 0.0, 0.0, 0.0
        for j in range(count):
            q0, q1, q2, q3 = near[0, j], near[1, j], near[2, j], near[3, j]
            signed = w * q0 + x * q1 + y * q2 + z * q3
            cosine = min(abs(signed), 1.0)
            # The arccos by Abramowitz and Stegun 4.4.46, to 2e-8: libm's cannot be vectorised.
            series = -0.0170881256 + cosine * (0.0066700901 - 0.0012624911 * cosine)
            series = -0.0501743046 + cosine * (0.0308918810 + cosine * series)
            series = -0.2145988016 + cosine * (0.0889789874 + cosine * series)
            series = 1.5707963050 + cosine * series
            residual = 2 * np.sqrt(1 - cosine) * series - targets[i, j]
            weight = weights[i, j]
            misfit += weight * residual * residual
            per_sine2 = 1 / max(1 - cosine * cosine, _LEAST_SINE2)
            force = 0.5 * weight * residual * np.sqrt(per_sine2)
            force = force if signed > 0 else -force
            p0 += force * q0
            p1 += force * q1
            p2 += force * q2
            p3 += force * q3
            held = weight * per_sine2
            m00 += held * q0 * q0
            m01 += held * q0 * q1
            m02 += held * q0 * q2
            m03 += held * q0 * q3
            m11 += held * q1 * q1
            m12 += held * q1 * q2
            m13 += held * q1 * q3
            m22 += held * q2 * q2
            m23 += held * q2 * q3
            m33 += held * q3 * q3
        misfits[i] = misfit
        pull[i, 0], pull[i, 1], pull[i, 2], pull[i, 3] = p0, p1, p2, p3
        moments[i, 0, 0], moments[i, 1, 1], moments[i, 2, 2], moments[i, 3, 3] = m00, m11, m22, m33
        moments[i, 0, 1] = moments[i, 1, 0] = m01
        moments[i, 0, 2] = moments[i, 2, 0] = m02
        moments[i, 0, 3] = moments[i, 3, 0] = m03
        moments[i, 1, 2] = moments[i, 2, 1] = m12
        moments[i, 1, 3] = moments[i, 3, 1] = m13
        moments[i, 2, 3] = moments[i, 3, 2] = m23
