"""Images on central lines of Fourier space, weighted so that products of lines tell if they agree.

How well two lines agree is the log likelihood ratio of "one line, seen twice" to "two lines". In a
ring of image i with mean power P_i, of which S_i is signal and the rest noise, a coefficient f is
complex Gaussian with variance P_i. If the line is common to the images i and j, the covariance of f
and g is C = k sqrt(S_i S_j), else 0. With rho = C / sqrt(P_i P_j),

    log ratio = sum over rings of [2 rho Re(f g*) / sqrt(P_i P_j)
                                   - rho^2 (|f|^2 / P_i + |g|^2 / P_j)] / (1 - rho^2) + const,

a weighted product of the lines, less a cost of each: strong lines, which have a large product with
whatever is like them, must agree better. The coherence k is 1 where lines are predicted exactly,
and less in outer rings where the orientations err.

Images that went through a microscope have their phases flipped before; the signal in a ring is then
the mean square of the CTF there, times that of the particle.
"""

from dataclasses import dataclass

import finufft
import numpy as np
from numpy.typing import NDArray

from cryotwin.imaging.ctf import CtfParameters, disc_contrast_transfer, flip_phases
from cryotwin.imaging.errors import InputError
from cryotwin.imaging.fourier import FourierDisc, fourier_disc, images_to_disc, resize_images

LINES = 240
"""Lines over half a turn, close enough to take the nearest: 0.2 pixels apart at the outermost
ring used of an image of 64 pixels."""

_LEAST_NOISE = 0.1
"""Least part of a ring's power that counts as noise. Orientations err, so that predicted lines
differ even without noise in the images; and the likelihood stays finite."""

_MOST_POWER = 3.0
"""Images with more than this many times the median power are no particles like the others, and do
not count in the mean powers."""

_MARGIN = 1.3
"""Fourier space is cropped at this many times the outermost ring."""


@dataclass(frozen=True)
class WeightedLines:
    """Weighted central lines, whose agreement is their product less the cost of each.

    Attributes:
        values: (M, 2 L, 2 r), real then imaginary parts, over a full turn of angles.
        costs: (M, 2 L).
        phases: (S, r) rad, of the displacements along each other that lines are compared at.
    """

    values: NDArray[np.float32]
    costs: NDArray[np.float32]
    phases: NDArray[np.float32]

    @classmethod
    def over_full_turn(
        cls,
        values: NDArray[np.complexfloating],
        costs: NDArray[np.floating],
        phases: NDArray[np.floating],
    ) -> "WeightedLines":
        """Takes (M, L, r) and (M, L) over half a turn; half a turn on, a line is its conjugate."""
        turned = np.concatenate([values, values.conj()], axis=1)
        parts = np.concatenate([turned.real, turned.imag], axis=-1)
        return cls(
            parts.astype(np.float32),
            np.tile(costs, 2).astype(np.float32),
            phases.astype(np.float32),
        )

    def products(
        self, first: NDArray[np.float32], second: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """Multiplies lines (..., 2 r) with each other, each pair at its best displacement."""
        even, odd = _cross_spectra(first, second)
        return (even @ np.cos(self.phases).T - odd @ np.sin(self.phases).T).max(axis=-1)


@dataclass(frozen=True)
class CentralLines:
    """Images on central lines.

    Attributes:
        lines: (M, L, r), transforms on L lines over half a turn of angles, rings 1 to r.
        signal: (M, r), mean power of the signal in each image, S above.
        power: (M, r), mean power of signal and noise, P above.
        phases: (S, r) rad, of the displacements to compare lines at.
    """

    lines: NDArray[np.complexfloating]
    signal: NDArray[np.floating]
    power: NDArray[np.floating]
    phases: NDArray[np.floating]

    def for_correlation(self) -> WeightedLines:
        """Whitens the lines, weights them by the signal, and gives every image the same power."""
        lines = self.lines * (np.sqrt(self.signal) / self.power)[:, None]
        norms = np.sqrt((np.abs(lines) ** 2).sum(axis=-1).mean(axis=-1))[:, None, None]
        lines = np.divide(lines, norms, out=lines, where=norms > 0)
        return WeightedLines.over_full_turn(lines, np.zeros(lines.shape[:2]), self.phases)

    def for_likelihood(self, coherence: NDArray[np.floating] | float = 1.0) -> WeightedLines:
        """Weights the lines so that they agree by the log likelihood ratio above.

        Args:
            coherence: k above, (r,) or one number.
        """
        rho = np.minimum(coherence * self.signal / self.power, 1 - _LEAST_NOISE)
        # The geometric mean over the two images stands for what depends on both of them.
        lines = self.lines * np.sqrt(2 * rho / self.power / (1 - rho**2))[:, None]
        costs = np.einsum("mlr,mr->ml", np.abs(lines) ** 2, rho / 2)
        return WeightedLines.over_full_turn(lines, costs, self.phases)

    def part(self, images: NDArray[np.intp] | slice) -> "CentralLines":
        """Keeps some of the images."""
        return CentralLines(
            self.lines[images], self.signal[images], self.power[images], self.phases
        )


@dataclass(frozen=True)
class RingPowers:
    """Mean powers in the rings 1 to r of images' transforms.

    Attributes:
        signal: (r,), of the particle, without a CTF.
        noise: of the noise, which is white.
    """

    signal: NDArray[np.floating]
    noise: float


def central_lines(
    images: NDArray[np.floating],
    max_shift_px: float = 0.0,
    *,
    ctf: CtfParameters | None = None,
    pixel_size_angstrom: float | None = None,
    powers: RingPowers | None = None,
) -> CentralLines:
    """Evaluates transforms on central lines, to half of Nyquist, and their mean powers.

    Two particles that lie up to `max_shift_px` off the centre in x and in y displace their common
    line by up to 2 sqrt 2 times that; nearly all pairs by less than twice that.

    Args:
        images: (M, N, N).
        max_shift_px: how far particles lie off the centre of their images, in x and in y.
        ctf: of the M images, or of one for all; None if they have none.
        pixel_size_angstrom: needed with a CTF.
        powers: None finds them in these images.

    Raises:
        InputError: a CTF without a pixel size.
    """
    size = images.shape[-1]
    radii = np.arange(1, size // 4 + 1)
    transfer = _squared_transfer(len(images), size, ctf, pixel_size_angstrom)
    powers = _powers(images, transfer) if powers is None else powers
    if ctf is not None and pixel_size_angstrom is not None:
        images = flip_phases(images, ctf, pixel_size_angstrom)
    signal = powers.signal * transfer[:, radii]
    reach = np.ceil(2 * max_shift_px)
    displacements = np.arange(-reach, reach + 1)
    return CentralLines(
        lines=_on_lines(images, radii),
        signal=signal,
        power=signal + powers.noise,
        phases=displacements[:, None] * radii * (2 * np.pi / size),
    )


def ring_powers(
    images: NDArray[np.floating],
    *,
    ctf: CtfParameters | None = None,
    pixel_size_angstrom: float | None = None,
) -> RingPowers:
    """Finds the mean powers of signal and noise in images (M, N, N).

    The noise is white, at the level of the outermost rings.

    Raises:
        InputError: a CTF without a pixel size.
    """
    transfer = _squared_transfer(len(images), images.shape[-1], ctf, pixel_size_angstrom)
    return _powers(images, transfer)


def _on_lines(images: NDArray[np.floating], radii: NDArray[np.intp]) -> NDArray[np.complex64]:
    """Transforms images (M, N, N) at radii (r,) in cycles per box, on all lines: (M, L, r)."""
    size = images.shape[-1]
    cropped = min(size, 2 * int(np.ceil(_MARGIN * radii[-1] + 2)))
    small = resize_images(images, cropped) * np.float32((size / cropped) ** 2)
    angles = np.arange(LINES) * np.pi / LINES
    kx = (np.cos(angles)[:, None] * radii * 2 * np.pi / cropped).ravel().astype(np.float32)
    ky = (np.sin(angles)[:, None] * radii * 2 * np.pi / cropped).ravel().astype(np.float32)
    lines = finufft.nufft2d2(ky, kx, small.astype(np.complex64), isign=-1, eps=1e-4, nthreads=1)
    return lines.reshape(len(images), LINES, len(radii))


def _powers(images: NDArray[np.floating], transfer: NDArray[np.floating]) -> RingPowers:
    size = images.shape[-1]
    radii = np.arange(1, size // 4 + 1)
    disc = fourier_disc(size)
    squares = np.abs(images_to_disc(images, disc)) ** 2
    totals = squares.sum(axis=1)
    typical = totals <= _MOST_POWER * np.median(totals)
    mean = _ring_means(squares[typical].mean(axis=0), disc)
    noise = np.median(mean[-max(2, size // 16) :])
    passed = transfer[typical].mean(axis=0)[radii]
    excess = np.maximum(mean[radii] - noise, 0)
    return RingPowers(
        signal=np.divide(excess, passed, out=excess, where=passed > 0),
        noise=float(np.maximum(noise, np.finfo(np.float32).tiny)),
    )


def _squared_transfer(
    count: int, size: int, ctf: CtfParameters | None, pixel_size_angstrom: float | None
) -> NDArray[np.float64]:
    """Averages the squares of CTFs over the rings of each image, from the origin: (M, rings)."""
    disc = fourier_disc(size)
    rings = disc.shells.max() + 1
    if ctf is None:
        return np.ones((count, rings))
    if pixel_size_angstrom is None:
        raise InputError("a CTF needs pixel_size_angstrom, which is not given")
    squares = disc_contrast_transfer(ctf, disc, pixel_size_angstrom) ** 2
    means = np.stack([_ring_means(each, disc) for each in squares])
    return np.broadcast_to(means, (count, rings))


def _ring_means(values: NDArray[np.floating], disc: FourierDisc) -> NDArray[np.float64]:
    return np.bincount(disc.shells, values) / np.bincount(disc.shells)


def _cross_spectra(
    first: NDArray[np.float32], second: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Gives the real and the imaginary part of f g* for lines (..., 2 r)."""
    (real, imaginary), (other_real, other_imaginary) = (
        np.split(lines, 2, axis=-1) for lines in (first, second)
    )
    even = real * other_real + imaginary * other_imaginary
    odd = imaginary * other_real - real * other_imaginary
    return even, odd
