"""The distributions of orientations: the paper's four, preferred views, and how they are named.

The paper's Figure 12 has `so3`, `euler`, `euler-half` and `so3-quarter`. Its Euler angles
(theta3, theta2, theta1) are RELION's (psi, tilt, rot): the viewing direction is
(sin theta2 cos theta1, sin theta2 sin theta1, cos theta2) in the object's frame.

A distribution takes a few random numbers for each orientation and turns those of all orientations
into quaternions at once. So an orientation depends on its own generator alone, and many are fast.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from cryotwin.imaging.errors import InputError
from cryotwin.imaging.randomness import keyed_generator
from cryotwin.imaging.rotations import (
    canonical_quaternions,
    matrices_to_quaternions,
    multiply_quaternions,
    relion_angles_to_matrices,
)

Array = NDArray[np.float64]

Randomness = np.random.Generator | Sequence[np.random.Generator]
"""One generator for all orientations, or one for each of them."""

ORIENTATIONS = {
    "so3": "uniform on SO(3)",
    "euler": "each ZYZ Euler angle uniform: views crowd at the poles",
    "euler-half": "as euler, on the half of the directions with tilt below 90 degrees",
    "so3-quarter": "uniform, on the quarter of the directions with rot below 90 degrees",
    "vmf:KAPPA[:VIEWS]": "preferred views, von Mises-Fisher of concentration KAPPA about VIEWS "
    "random directions (1) or given ones (ROT,TILT+ROT,TILT...), any angle in the plane",
    "acg:W,X,Y,Z": "angular central Gaussian on quaternions, with these standard deviations",
}
"""The forms that a distribution's name takes, with what each means."""

MOST_VIEWS = 1000
"""More preferred views than this are as good as none."""


class OrientationDistribution(ABC):
    """A distribution on SO(3) that orientations are drawn from, each by its own generator."""

    def draw(self, count: int, rng: Randomness) -> Array:
        """Draws `count` orientations.

        Args:
            count: P, how many.
            rng: a generator, or P of them; with P of them an orientation depends on its own
                alone, bit for bit.

        Returns:
            Unit quaternions (P, 4), scalar first, w >= 0.
        """
        if isinstance(rng, np.random.Generator):
            numbers = self._numbers(rng, count)
        else:
            numbers = np.concatenate([self._numbers(one, 1) for one in rng])
        return canonical_quaternions(self._quaternions(numbers))

    def of_structure(self, seed: int, structure: str) -> "OrientationDistribution":
        """Gives the distribution with what is random about it settled by (seed, structure)."""
        return self

    @abstractmethod
    def _numbers(self, rng: np.random.Generator, count: int) -> Array:
        """Draws the random numbers (count, k) that `count` orientations take."""

    @abstractmethod
    def _quaternions(self, numbers: Array) -> Array:
        """Turns numbers (P, k) into quaternions (P, 4), each row by itself."""


@dataclass(frozen=True)
class AngularCentralGaussian(OrientationDistribution):
    """The angular central Gaussian on quaternions (Tyler 1987): a normal 4-vector, normalised.

    The density over the uniform one is (product of s)^-1 (sum of (q_i / s_i)^2)^-2. Turning an
    image in its plane mixes w with z and x with y, so (a, b, b, a) leaves that angle uniform and
    makes a = b the uniform distribution, a > b views from +z, a < b views from -z more frequent.

    Attributes:
        spreads: standard deviations s of the components w, x, y, z before it is normalised.
    """

    spreads: tuple[float, float, float, float] = (1.0, 1.0, 1.0, 1.0)

    def _numbers(self, rng: np.random.Generator, count: int) -> Array:
        return rng.standard_normal((count, 4))

    def _quaternions(self, numbers: Array) -> Array:
        vectors = numbers * np.array(self.spreads)
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@dataclass(frozen=True)
class EulerRanges(OrientationDistribution):
    """RELION's angles, each uniform on its range, or the direction uniform on the sphere.

    Attributes:
        rot_deg: rot is uniform on [0, rot_deg).
        tilt_deg: tilt is from 0 to tilt_deg.
        on_sphere: cos(tilt) is uniform, and not tilt.
    """

    rot_deg: float = 360.0
    tilt_deg: float = 180.0
    on_sphere: bool = False

    def _numbers(self, rng: np.random.Generator, count: int) -> Array:
        return rng.random((count, 3))

    def _quaternions(self, numbers: Array) -> Array:
        rot, tilt, psi = _columns(numbers)
        if self.on_sphere:
            tilt_deg = np.degrees(np.arccos(1 - tilt * (1 - math.cos(math.radians(self.tilt_deg)))))
        else:
            tilt_deg = tilt * self.tilt_deg
        return _from_angles(rot * self.rot_deg, tilt_deg, psi * 360)


@dataclass(frozen=True)
class PreferredViews(OrientationDistribution):
    """A mixture of von Mises-Fisher lobes on the viewing direction; the in-plane angle is uniform.

    Each lobe is as frequent as the others, with the density kappa / (4 pi sinh(kappa))
    exp(kappa m.v) of the viewing direction v about its axis m. Drawn exactly: on the sphere the
    height m.v can be inverted (Ulrich 1984, Wood 1994).

    Attributes:
        concentration: kappa >= 0. The mean of m.v is coth(kappa) - 1/kappa: for 10 it is 0.9.
        views: how many lobes; directions that are not given are drawn when `of_structure` is told
            which structure it is.
        directions: their axes m as (rot, tilt) in degrees, RELION's; () while not drawn.
    """

    concentration: float
    views: int = 1
    directions: tuple[tuple[float, float], ...] = ()

    def of_structure(self, seed: int, structure: str) -> "PreferredViews":
        """Draws the directions, uniform on the sphere, where none are given."""
        if self.directions:
            return self
        rng = keyed_generator(seed, structure, "preferred views")
        rot, height = rng.random((2, self.views))
        tilt = np.degrees(np.arccos(1 - 2 * height))
        return replace(
            self, directions=tuple(zip((360 * rot).tolist(), tilt.tolist(), strict=True))
        )

    def _numbers(self, rng: np.random.Generator, count: int) -> Array:
        return rng.random((count, 4))

    def _quaternions(self, numbers: Array) -> Array:
        if not self.directions:
            raise ValueError("the directions are not drawn yet: call of_structure first")
        lobe, height, azimuth, psi = _columns(numbers)
        axes = np.array(self.directions)[(lobe * len(self.directions)).astype(int)]
        tilt = np.arccos(_heights(height, self.concentration))
        # Away from z by `tilt` towards `azimuth`, and z then to the axis of the lobe.
        from_z = _from_angles(azimuth * 360, np.degrees(tilt), psi * 360)
        to_axis = _from_angles(axes[:, 0], axes[:, 1], np.zeros(len(axes)))
        return multiply_quaternions(from_z, to_axis)


_NAMED: dict[str, OrientationDistribution] = {
    "so3": AngularCentralGaussian(),
    "euler": EulerRanges(),
    "euler-half": EulerRanges(tilt_deg=90),
    "so3-quarter": EulerRanges(rot_deg=90, on_sphere=True),
}
"""The paper's four. `so3-quarter` is (theta2, theta1) in [0, pi) x [0, pi/2), as in its section
3.1: for a particle of D2 symmetry it keeps one of four identical views."""


def parse_orientations(text: str) -> OrientationDistribution:
    """Gives the distribution that one of the forms in `ORIENTATIONS` names.

    Raises:
        InputError: it has none of the forms, or a number is out of its range.
    """
    name, *fields = text.split(":")
    if text in _NAMED:
        return _NAMED[text]
    if name == "vmf" and len(fields) in (1, 2):
        return _parse_preferred_views(text, *fields)
    if name == "acg" and len(fields) == 1:
        return _parse_gaussian(text, fields[0])
    names = ", ".join(repr(form) for form in ORIENTATIONS)
    raise InputError(f"orientations must be one of {names}, not {text!r}")


def draw_quaternions(
    orientations: str, count: int, rng: np.random.Generator
) -> NDArray[np.floating]:
    """Draws orientations from a distribution that is named by its text.

    Args:
        orientations: of a form in `ORIENTATIONS`. Views that are random are the same for every
            `rng`, those of structure "" and seed 0.
        count: how many.
        rng: where the randomness comes from.

    Returns:
        Unit quaternions (count, 4), scalar first, w >= 0.

    Raises:
        InputError: the distribution is unknown.
    """
    return parse_orientations(orientations).of_structure(0, "").draw(count, rng)


def _parse_preferred_views(text: str, concentration: str, views: str = "1") -> PreferredViews:
    (kappa,) = _parse_numbers(text, concentration, count=1, low=0, high=1e6)
    if "," not in views:
        if not views.isdecimal() or not 1 <= int(views) <= MOST_VIEWS:
            raise InputError(
                f"orientations {text!r}: VIEWS must be a number from 1 to {MOST_VIEWS} or "
                f"directions such as 0,90+120,45 (rot,tilt in degrees), not {views!r}"
            )
        return PreferredViews(kappa, int(views))
    directions = []
    for part in views.split("+"):
        rot, tilt = _parse_numbers(text, part, count=2, low=-360, high=360)
        directions.append((rot, tilt))
    return PreferredViews(kappa, len(directions), tuple(directions))


def _parse_gaussian(text: str, spreads: str) -> AngularCentralGaussian:
    w, x, y, z = _parse_numbers(text, spreads, count=4, low=1e-3, high=1e3)
    return AngularCentralGaussian((w, x, y, z))


def _parse_numbers(text: str, part: str, *, count: int, low: float, high: float) -> list[float]:
    try:
        numbers = [float(word) for word in part.split(",")]
    except ValueError:
        numbers = []
    if len(numbers) != count or not all(low <= number <= high for number in numbers):
        what = "a number" if count == 1 else f"{count} numbers with commas between"
        raise InputError(
            f"orientations {text!r}: expected {what} from {low:g} to {high:g}, not {part!r}"
        )
    return numbers


def _columns(numbers: Array) -> Array:
    # Contiguous: where numbers lie apart, NumPy's functions may round otherwise for many of them
    # than for one, and an orientation must not depend on those beside it.
    return np.ascontiguousarray(numbers.T)


def _from_angles(rot_deg: Array, tilt_deg: Array, psi_deg: Array) -> Array:
    angles_deg = np.stack([rot_deg, tilt_deg, psi_deg], axis=1)
    return matrices_to_quaternions(relion_angles_to_matrices(angles_deg))


def _heights(uniform: Array, concentration: float) -> Array:
    """Inverts the distribution of m.v, whose density on [-1, 1] is proportional to exp(kappa m.v).

    Args:
        uniform: (P,) in [0, 1).
        concentration: kappa.
    """
    if concentration == 0:
        return 1 - 2 * uniform
    heights = 1 + np.log1p(uniform * math.expm1(-2 * concentration)) / concentration
    return np.clip(heights, -1, 1)
