"""Which turns of the object's frame leave the axes of a point group where they are.

R -> R n leaves every distance under the point group G unchanged if and only if n is in the
normaliser of G in SO(3), the n with n^-1 G n = G (docs/gauge.md). Elements of G itself change
nothing, so that what matters is one n of each coset.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from cryotwin.imaging.point_groups import parse_point_group, symmetry_matrices

Array = NDArray[np.float64]

_X, _Y, _Z = np.eye(3)


@dataclass(frozen=True)
class Normaliser:
    """The normaliser of a point group, up to the group: {turns[k] Rot(axis, any angle)}.

    Attributes:
        turns: (K, 3, 3), the identity first.
        axis: (3,) a unit vector, for groups of a single axis; None where `turns` is all.
    """

    turns: Array
    axis: Array | None


def normaliser(symmetry: str) -> Normaliser:
    """Gives the normaliser in SO(3) of a point group other than C1, up to the group.

    C groups and D1 have one axis: turns about it and the half turn that reverses it. D2 has the
    24 turns of the cube, six up to D2. Other D groups have those of twice the order, T those of
    the cube, O and I only themselves.

    Raises:
        InputError: the group is unknown.
        ValueError: C1, of which every rotation is in the normaliser.
    """
    group = parse_point_group(symmetry)
    if group == "C1":
        raise ValueError("every rotation is in the normaliser of C1")
    if group[0] == "C":
        return Normaliser(_turns((0, _X), (np.pi, _X)), _Z)
    if group == "D1":
        return Normaliser(_turns((0, _Z), (np.pi, _Z)), _X)
    if group == "D2":
        third, diagonal = 2 * np.pi / 3, np.ones(3) / np.sqrt(3)
        quarters = [(np.pi / 2, axis) for axis in (_X, _Y, _Z)]
        return Normaliser(_turns((0, _X), (third, diagonal), (-third, diagonal), *quarters), None)
    if group[0] == "D":
        return Normaliser(_turns((0, _Z), (np.pi / int(group[1:]), _Z)), None)
    if group == "T":
        return Normaliser(_turns((0, _Z), (np.pi / 2, _twofold_axis(group))), None)
    return Normaliser(_turns((0, _Z)), None)


def nearest_in_normaliser(rotation: Array, symmetry: str) -> Array:
    """Finds the rotation (3, 3) nearest to a given one that leaves the axes of a group in place.

    Of C1 every rotation does.

    Raises:
        InputError: the group is unknown.
    """
    group = parse_point_group(symmetry)
    if group == "C1":
        return rotation
    found = normaliser(group)
    candidates = (found.turns[:, None] @ symmetry_matrices(group)).reshape(-1, 3, 3)
    if found.axis is not None:
        candidates = np.stack([_nearest_turn(n, found.axis, rotation) for n in candidates])
    return candidates[np.argmax(np.einsum("nij,ij->n", candidates, rotation))]


def _nearest_turn(fixed: Array, axis: Array, rotation: Array) -> Array:
    """Turns n by the angle a about the axis that brings n Rot(axis, a) nearest to a rotation."""
    between = fixed.T @ rotation
    x, y, z = axis
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    sine, cosine = np.sum(between * cross), np.trace(between) - axis @ between @ axis
    return fixed @ Rotation.from_rotvec(np.arctan2(sine, cosine) * axis).as_matrix()


def _turns(*turns: tuple[float, Array]) -> Array:
    return Rotation.from_rotvec([angle * axis for angle, axis in turns]).as_matrix()


def _twofold_axis(group: str) -> Array:
    half_turn = next(g for g in symmetry_matrices(group) if abs(np.trace(g) + 1) < 1e-6)
    return np.linalg.eigh(half_turn)[1][:, -1]
