"""Point groups, with RELION's names and axes.

A particle of symmetry G looks the same under the orientations R and R g, for every g of G: the
rows of R are given in the object's frame, which g turns into itself.

C groups turn about z. D groups have their n-fold axis along z and a twofold along x. T has a
threefold axis along z and a twofold in the yz plane, O fourfolds along x, y and z. I1 and I2 have
twofolds along x, y and z: I1 has fivefolds in the yz plane at 31.7 degrees from z, I2 in the xz
plane. I3 and I4 have a fivefold along z and a twofold along y, and are I3 = Rz(180) I4 Rz(180).
The plain name I is I2. `relion_refine --sym NAME --print_symmetry_ops` prints RELION's operators.
"""

import math
import re
from collections.abc import Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from cryotwin.imaging.errors import InputError

KNOWN_GROUPS = "C1 to C99, D1 to D99, T, O, I (which is I2), I1, I2, I3, I4"
"""The names of the point groups, for help and messages."""

Axis = tuple[float, float, float]

_GOLDEN = (1 + math.sqrt(5)) / 2
_X: Axis = (1, 0, 0)
_Z: Axis = (0, 0, 1)

_POLYHEDRAL: dict[str, tuple[tuple[int, Axis], tuple[int, Axis]]] = {
    "T": ((3, _Z), (2, (0, math.sqrt(2), 1))),
    "O": ((4, _Z), (3, (1, 1, 1))),
    "I1": ((2, _Z), (5, (0, 1, _GOLDEN))),
    "I2": ((2, _Z), (5, (1, 0, _GOLDEN))),
    "I3": ((5, _Z), (2, (-1, 0, _GOLDEN))),
    "I4": ((5, _Z), (2, (1, 0, _GOLDEN))),
}
"""Two axes, with their orders, that generate the group."""


def parse_point_group(name: str) -> str:
    """Gives the name of a point group as everything else writes it: "d2" is "D2", "I" is "I2".

    Raises:
        InputError: there is no such group among `KNOWN_GROUPS`.
    """
    group = name.strip().upper()
    group = "I2" if group == "I" else group
    if group in _POLYHEDRAL or re.fullmatch(r"[CD][1-9][0-9]?", group):
        return group
    raise InputError(f"symmetry must be one of {KNOWN_GROUPS} (RELION's names), not {name!r}")


@cache
def symmetry_generators(name: str) -> NDArray[np.float64]:
    """Gives one or two rotations (g, 3, 3) whose products are the whole group.

    Raises:
        InputError: the group is unknown.
    """
    group = parse_point_group(name)
    axes: Sequence[tuple[int, Axis]]
    if group in _POLYHEDRAL:
        axes = _POLYHEDRAL[group]
    else:
        axes = [(int(group[1:]), _Z)] + ([(2, _X)] if group[0] == "D" else [])
    return _frozen(np.stack([_turn(order, axis) for order, axis in axes]))


@cache
def symmetry_matrices(name: str) -> NDArray[np.float64]:
    """Gives the rotations (G, 3, 3) of a point group, the identity first. Read-only.

    Args:
        name: one of `KNOWN_GROUPS`, in capitals or not.

    Raises:
        InputError: the group is unknown.
    """
    elements = [np.eye(3)]
    for element in elements:  # Grows until every product is there.
        for generator in symmetry_generators(name):
            product = element @ generator
            if np.abs(np.stack(elements) - product).max(axis=(1, 2)).min() > 1e-6:
                elements.append(product)
    return _frozen(np.stack(elements))


@cache
def symmetry_quaternions(name: str) -> NDArray[np.float64]:
    """Gives the same as quaternions (G, 4), scalar first, w >= 0, the identity first. Read-only.

    Raises:
        InputError: the group is unknown.
    """
    rotations = Rotation.from_matrix(symmetry_matrices(name))
    return _frozen(rotations.as_quat(canonical=True, scalar_first=True))


def _turn(order: int, axis: Axis) -> NDArray[np.float64]:
    unit = np.array(axis) / np.linalg.norm(axis)
    return Rotation.from_rotvec(2 * np.pi / order * unit).as_matrix()


def _frozen(array: NDArray[np.float64]) -> NDArray[np.float64]:
    array.flags.writeable = False  # It is cached.
    return array
