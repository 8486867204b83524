"""The distributions of orientations that the paper samples (its Figure 12).

The Euler angles (theta3, theta2, theta1) of the paper are RELION's (psi, tilt, rot): the viewing
direction is (sin theta2 cos theta1, sin theta2 sin theta1, cos theta2) in the object's frame.
"""

import numpy as np
from numpy.typing import NDArray

from cryotwin.imaging.errors import InputError
from cryotwin.imaging.rotations import (
    matrices_to_quaternions,
    relion_angles_to_matrices,
    uniform_quaternions,
)

ORIENTATIONS = {
    "so3": "uniform on SO(3)",
    "euler": "each ZYZ Euler angle uniform: views crowd at the poles",
    "euler-half": "as euler, on the half of the directions with tilt below 90 degrees",
    "so3-quarter": "uniform, on the quarter of the directions with rot below 90 degrees",
}
"""The names of the distributions, with what each means."""


def draw_quaternions(
    distribution: str, count: int, rng: np.random.Generator
) -> NDArray[np.floating]:
    """Draws orientations from a distribution of the paper's Figure 12.

    `so3-quarter` is (theta2, theta1) in [0, pi) x [0, pi/2), as in the paper's section 3.1: for a
    particle of D2 symmetry it keeps one of four identical views.

    Args:
        distribution: a key of `ORIENTATIONS`.
        count: how many.
        rng: where the randomness comes from.

    Returns:
        Unit quaternions (count, 4), scalar first, w >= 0.

    Raises:
        InputError: the distribution is unknown.
    """
    check_orientations(distribution)
    if distribution == "so3":
        return uniform_quaternions(count, rng)
    rot, tilt, psi = rng.random((3, count))
    if distribution == "so3-quarter":
        tilt_deg = np.degrees(np.arccos(1 - 2 * tilt))
    else:
        tilt_deg = tilt * (90 if distribution == "euler-half" else 180)
    rot_deg = rot * (90 if distribution == "so3-quarter" else 360)
    angles = np.stack([rot_deg, tilt_deg, psi * 360], axis=1)
    return matrices_to_quaternions(relion_angles_to_matrices(angles))


def check_orientations(distribution: str) -> None:
    """Raises InputError when `distribution` is not a key of `ORIENTATIONS`."""
    if distribution not in ORIENTATIONS:
        names = ", ".join(repr(name) for name in ORIENTATIONS)
        raise InputError(f"orientations must be one of {names}, not {distribution!r}")
