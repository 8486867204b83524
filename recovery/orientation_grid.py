"""An even grid of the orientations that differ under a point group."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cryotwin.imaging.point_groups import symmetry_quaternions
from cryotwin.imaging.rotations import matrices_to_quaternions, rotation_grid

Array = NDArray[np.float64]


@dataclass(frozen=True)
class OrientationGrid:
    """Nodes that cover SO(3) / G evenly.

    Attributes:
        symmetry: the point group.
        group: its quaternions (G, 4).
        quaternions: (M, 4), in the fundamental domain.
        spacing_rad: of neighbours.
    """

    symmetry: str
    group: Array
    quaternions: Array
    spacing_rad: float


def orientation_grid(symmetry: str, count: int) -> OrientationGrid:
    """Covers SO(3) / G with about `count` nodes: of an even grid those nearest to the identity.

    Raises:
        InputError: the point group is unknown.
    """
    group = symmetry_quaternions(symmetry)
    spacing = float((8 * np.pi**2 / (count * len(group))) ** (1 / 3))
    quaternions = matrices_to_quaternions(rotation_grid(spacing))
    inside = np.ones(len(quaternions), dtype=bool)
    own = np.abs(quaternions[:, 0])
    for g in group[1:]:
        inside &= own >= np.abs(quaternions @ g)
    return OrientationGrid(symmetry, group, quaternions[inside], spacing)
