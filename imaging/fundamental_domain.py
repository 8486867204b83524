"""One orientation for all that look alike: the fundamental domain of a point group.

The orientations R g, g in G, show the same view of a particle of symmetry G. The domain holds the
one of them whose rotation angle is smallest: the part of SO(3) nearer to the identity than to any
other g.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial import HalfspaceIntersection

from cryotwin.imaging.point_groups import parse_point_group, symmetry_quaternions
from cryotwin.imaging.rotations import multiply_quaternions

_BATCH = 4096
"""Orientations at a time: bounds the memory of the G copies of each."""

_TIE = 1e-9
"""Copies whose components differ by less are the same as far as the choice goes: on the border of
the domain rounding must not decide."""


def to_fundamental_domain(quaternions: ArrayLike, symmetry: str) -> NDArray[np.float64]:
    """Replaces orientations by the equivalent ones in the fundamental domain.

    Of the copies R g the one with the smallest rotation angle is taken; where several have it, on
    the border, the one whose quaternion comes last in lexicographic order, so that equivalent
    orientations always give the same. Distances under the symmetry stay what they are.

    Args:
        quaternions: (P, 4), scalar first.
        symmetry: point group of the particle.

    Returns:
        Quaternions (P, 4), w >= 0. Each depends on its own alone, bit for bit.

    Raises:
        InputError: the point group is unknown.
    """
    quaternions = np.asarray(quaternions, dtype=np.float64)
    chosen = np.empty_like(quaternions)
    for start in range(0, len(quaternions), _BATCH):
        part = slice(start, start + _BATCH)
        chosen[part] = _nearest_to_identity(quaternions[part], symmetry)
    return chosen


def domain_radius(symmetry: str) -> float:
    """Gives the largest distance in rad that two orientations of a particle can have.

    It is the largest rotation angle in the domain: pi for C groups and D1, otherwise that of a
    corner of the domain, which is a polyhedron in Rodrigues vectors tan(angle / 2) * axis.

    Raises:
        InputError: the point group is unknown.
    """
    group = parse_point_group(symmetry)
    if group[0] == "C" or group == "D1":
        return float(np.pi)
    quaternions = symmetry_quaternions(group)[1:]
    sines = np.linalg.norm(quaternions[:, 1:], axis=1)
    # Nearer to the identity than to g and to its inverse: |r . axis| <= tan(angle / 4).
    axes = quaternions[:, 1:] / sines[:, None]
    limits = np.tan(np.arctan2(sines, quaternions[:, 0]) / 2)
    faces = np.concatenate([np.c_[axes, -limits], np.c_[-axes, -limits]])
    corners = HalfspaceIntersection(faces, np.zeros(3)).intersections
    return float(2 * np.arctan(np.linalg.norm(corners, axis=1).max()))


def _nearest_to_identity(quaternions: NDArray[np.float64], symmetry: str) -> NDArray[np.float64]:
    copies = multiply_quaternions(quaternions[:, None], symmetry_quaternions(symmetry))
    candidates = np.concatenate([copies, -copies], axis=1)
    left = np.ones(candidates.shape[:2], dtype=bool)
    for component in np.moveaxis(candidates, -1, 0):
        largest = np.where(left, component, -np.inf).max(axis=1, keepdims=True)
        left &= component >= largest - _TIE
    chosen = candidates[np.arange(len(candidates)), left.argmax(axis=1)]
    chosen[:, 0] = np.maximum(chosen[:, 0], 0)  # A turn by pi may leave it a hair below.
    return chosen
