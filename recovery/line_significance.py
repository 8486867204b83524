"""Does the orientation of each particle bear out in its images' common lines with others?

The lines of a particle with a fixed number of partners are compared with other lines of the same
pairs of images, which no line of the object joins. How many standard errors the first agree better
than the second tells of the particle alone: near 0 for noise and for whatever has no place among
the others, and many for a particle whose orientation is right. It needs no other particle to
compare with, so it also tells when all of them are wrong.
"""

import numpy as np
from numpy.typing import NDArray

from cryotwin.imaging.ctf import CtfParameters
from cryotwin.imaging.microscope import shift_images
from cryotwin.imaging.point_groups import symmetry_matrices
from cryotwin.imaging.rotations import quaternions_to_matrices
from cryotwin.recovery.central_lines import RingPowers, WeightedLines, central_lines, ring_powers
from cryotwin.recovery.common_lines import line_places

_PARTNERS = 160
_LEAST_PARTNERS = 32
_LINES_AT_ONCE = 20_000


def line_significance(
    images: NDArray[np.floating],
    quaternions: NDArray[np.floating],
    *,
    max_shift_px: float = 0.0,
    shifts_px: NDArray[np.floating] | None = None,
    ctf: CtfParameters | None = None,
    pixel_size_angstrom: float | None = None,
    symmetry: str = "C1",
    likely: NDArray[np.bool_] | None = None,
    seed: int = 0,
) -> NDArray[np.float64]:
    """Tells by how many standard errors the lines of each particle agree better than by chance.

    Args:
        images: (P, N, N).
        quaternions: (P, 4), in the right gauge.
        max_shift_px: how far particles may still lie off the centre, in x and in y.
        shifts_px: (P, 2) as x, y, how far they are known to lie off it; None stands for zero.
        ctf: of the P images, or of one for all.
        pixel_size_angstrom: of the images; a CTF needs it.
        symmetry: point group of the particle, about the axes of the orientations.
        likely: (P,), which particles to take partners from; None for any.
        seed: chooses the partners.

    Returns:
        (P,). The cost is that of P times a fixed number of lines.

    Raises:
        InputError: the symmetry is unknown, or a CTF came without a pixel size.
    """
    pool = np.arange(len(images)) if likely is None else np.flatnonzero(likely)
    group = symmetry_matrices(symmetry)
    most = max(_LEAST_PARTNERS, _PARTNERS // len(group))
    partners = np.random.default_rng(seed).permutation(pool)[:most]
    stack = _Stack(images, shifts_px, ctf, pixel_size_angstrom, max_shift_px)
    powers = stack.powers(partners)
    matrices = quaternions_to_matrices(quaternions)
    copies = np.swapaxes(matrices[partners][:, None] @ group, -1, -2)
    others = stack.lines(partners, powers)
    significance = np.zeros(len(images))
    at_once = max(1, _LINES_AT_ONCE // (len(partners) * len(group)))
    for start in range(0, len(images), at_once):
        rows = np.arange(start, min(start + at_once, len(images)))
        relative = matrices[rows][:, None, None] @ copies
        gains = _gains(stack.lines(rows, powers), others, relative)
        themselves = rows[:, None] == partners
        significance[rows] = _standard_errors(gains, ~themselves)
    return significance


class _Stack:
    """The images, centred as far as shifts are known, on central lines a few at a time."""

    def __init__(
        self,
        images: NDArray[np.floating],
        shifts_px: NDArray[np.floating] | None,
        ctf: CtfParameters | None,
        pixel_size_angstrom: float | None,
        max_shift_px: float,
    ) -> None:
        self._images, self._shifts, self._ctf = images, shifts_px, ctf
        self._pixel_size, self._max_shift = pixel_size_angstrom, max_shift_px

    def powers(self, rows: NDArray[np.intp]) -> RingPowers:
        return ring_powers(
            self._images[rows], ctf=self._part(rows), pixel_size_angstrom=self._pixel_size
        )

    def lines(self, rows: NDArray[np.intp], powers: RingPowers) -> WeightedLines:
        images = self._images[rows]
        if self._shifts is not None:
            images = shift_images(images, -self._shifts[rows])
        return central_lines(
            images,
            self._max_shift,
            ctf=self._part(rows),
            pixel_size_angstrom=self._pixel_size,
            powers=powers,
        ).for_likelihood()

    def _part(self, rows: NDArray[np.intp]) -> CtfParameters | None:
        return None if self._ctf is None else self._ctf.part(rows)


def _gains(
    mine: WeightedLines, others: WeightedLines, relative: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Tells how much better common lines agree than others of the same pairs.

    Args:
        mine: of M images.
        others: of the K partners.
        relative: (M, K, |G|, 3, 3), R_i g R_j^T.

    Returns:
        (M, K), in the mean over the group.
    """
    first, second = line_places(relative, np.eye(3))
    in_mine = (np.arange(len(first))[:, None, None], first)
    partner = np.arange(first.shape[1])[None, :, None]
    values, costs = mine.values[in_mine], mine.costs[in_mine]
    agreements = []
    # Where the line with the next partner lies in this one is as good as any other place.
    for places in (second, np.roll(second, 1, axis=1)):
        products = others.products(values, others.values[partner, places])
        agreements.append(products - costs - others.costs[partner, places])
    return np.asarray((agreements[0] - agreements[1]).mean(axis=2), np.float64)


def _standard_errors(gains: NDArray[np.float64], counted: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Gives the means of rows (M, K), where counted, in units of their standard errors."""
    count = counted.sum(axis=1)
    mean = np.where(counted, gains, 0).sum(axis=1) / count
    spread = np.where(counted, (gains - mean[:, None]) ** 2, 0).sum(axis=1)
    error = np.sqrt(spread / np.maximum(count - 1, 1) / count)
    return np.divide(mean, error, out=np.zeros_like(mean), where=error > 0)
