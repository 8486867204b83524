"""The inner loop of placement: Gauss-Newton steps of one point at a time against fixed landmarks.

A point needs nothing but its own distances, so that the result depends on no order and no batch.
"""

from typing import Any

import numpy as np

from cryotwin.imaging.gridding_loops import compiled

_LEAST_SINE2 = 1e-12
"""Squared sine of half a distance below which the direction to the landmark is rounding."""

_LEAST_CURVATURE = 1e-3
"""Added to the normal matrix, as a share of the number of landmarks: they may all lie one way."""

_SETTLED_RAD = 1e-4
"""A step below this turn is taken without another look at all landmarks, and is the last."""


@compiled
def settle_points(
    distances: Any, copies: Any, steps: int, quaternions: Any, misfits: Any, known: Any
) -> None:
    """Moves each point to where it fits its distances to the landmarks best, near where it is.

    The misfit is the sum over landmarks of (d - wanted)^2, d being the least over the copies. A
    step solves the normal equations of its linear form; one that does not help is halved.

    Args:
        distances: (P, L) float32, wanted, rad; NaN where there is none.
        copies: (G, 4, L), quaternions of the landmarks times each element of the point group.
        steps: at most so many.
        quaternions: (P, 4), where to start; overwritten.
        misfits: (P,), overwritten, rad^2.
        known: (P,), overwritten with the number of distances that are not NaN.
    """
    group, count = copies.shape[0], copies.shape[2]
    largest, cosines = np.empty(count), np.empty(count)
    nearest = np.zeros(count, np.int64)
    best, trial, step = np.empty(4), np.empty(4), np.zeros(3)
    normal, slope = np.empty((3, 3)), np.empty(3)
    for i in range(quaternions.shape[0]):
        trial[:] = quaternions[i]
        least, used = np.inf, 0
        for _ in range(steps + 1):
            w, x, y, z = trial[0], trial[1], trial[2], trial[3]
            largest[:] = -1.0
            for g in range(group):
                copy = copies[g]
                for j in range(count):
                    cosine = w * copy[0, j] + x * copy[1, j] + y * copy[2, j] + z * copy[3, j]
                    if abs(cosine) > largest[j]:
                        largest[j], cosines[j], nearest[j] = abs(cosine), cosine, g
            misfit, used = 0.0, 0
            xx = xy = xz = yy = yz = zz = sx = sy = sz = 0.0
            for j in range(count):
                if np.isnan(distances[i, j]):
                    continue
                used += 1
                cosine = min(largest[j], 1.0)
                residual = 2 * np.arccos(cosine) - distances[i, j]
                misfit += residual * residual
                # The vector part of conj(q) l: the axis from the point to the landmark.
                a, b, c, d = (
                    copies[nearest[j], 0, j],
                    copies[nearest[j], 1, j],
                    copies[nearest[j], 2, j],
                    copies[nearest[j], 3, j],
                )
                inverse = 1 / np.sqrt(max(1 - cosine * cosine, _LEAST_SINE2))
                if cosines[j] < 0:
                    inverse = -inverse
                u = inverse * (w * b - x * a - y * d + z * c)
                v = inverse * (w * c - y * a - z * b + x * d)
                t = inverse * (w * d - z * a - x * c + y * b)
                xx, xy, xz = xx + u * u, xy + u * v, xz + u * t
                yy, yz, zz = yy + v * v, yz + v * t, zz + t * t
                sx, sy, sz = sx + residual * u, sy + residual * v, sz + residual * t
            helped = misfit < least
            if helped:
                least = misfit
                best[:] = trial
                ridge = _LEAST_CURVATURE * used
                normal[0, 0], normal[1, 1], normal[2, 2] = xx + ridge, yy + ridge, zz + ridge
                normal[0, 1] = normal[1, 0] = xy
                normal[0, 2] = normal[2, 0] = xz
                normal[1, 2] = normal[2, 1] = yz
                slope[0], slope[1], slope[2] = sx, sy, sz
                step[:] = np.linalg.solve(normal, slope) if used > 0 else slope
            else:
                step *= 0.5
            settled = np.sqrt((step * step).sum()) < _SETTLED_RAD
            if settled and helped:
                _turn(best, step, quaternions[i])
            else:
                quaternions[i] = best
            if settled:
                break
            _turn(best, step, trial)
        misfits[i] = least
        known[i] = used


@compiled
def _turn(quaternion: Any, vector: Any, turned: Any) -> None:
    """Fills `turned` with q (1, v / 2), normalised: q after a small turn by |v| about v."""
    w, x, y, z = quaternion[0], quaternion[1], quaternion[2], quaternion[3]
    a, b, c = vector[0] / 2, vector[1] / 2, vector[2] / 2
    turned[0] = w - x * a - y * b - z * c
    turned[1] = x + w * a + y * c - z * b
    turned[2] = y + w * b + z * a - x * c
    turned[3] = z + w * c + x * b - y * a
    turned /= np.sqrt((turned * turned).sum())
