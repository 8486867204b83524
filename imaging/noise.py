"""Coloured noise: a radial power spectrum, measured on real images or given, and noise that has it.

The noise of a micrograph is not white: ice, the detector and particles that nobody picked give
it more power at low frequencies. A spectrum belongs to frequencies in 1/angstrom, so it carries
over to images of another pixel size and box.
"""

import warnings
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from cryotwin.imaging.atomic import atomic_output
from cryotwin.imaging.errors import InputError

_BACKGROUND_RADIUS = 0.375
"""Of the box; outside it is background. RELION extracts particles with the same default."""

_IMAGES_AT_ONCE = 64

_SMALLEST_PX = 8


@dataclass(frozen=True)
class NoiseSpectrum:
    """The power of noise by spatial frequency, up to a factor.

    Between the frequencies power is linear; below the first and above the last it is constant.

    Attributes:
        frequency_per_angstrom: K rising frequencies in 1/angstrom.
        power: K values, none negative.

    Raises:
        InputError: lengths differ, frequencies do not rise, or power is negative or all zero.
    """

    frequency_per_angstrom: tuple[float, ...]
    power: tuple[float, ...]

    def __post_init__(self) -> None:
        frequency = np.asarray(self.frequency_per_angstrom, dtype=np.float64)
        power = np.asarray(self.power, dtype=np.float64)
        if len(frequency) != len(power) or len(power) == 0:
            raise InputError(
                "a noise spectrum must have as many frequencies as powers, at least one, not "
                f"{len(frequency)} and {len(power)}"
            )
        if not (np.isfinite(frequency).all() and (np.diff(frequency) > 0).all()):
            raise InputError("the frequencies of a noise spectrum must rise")
        if frequency[0] < 0:
            raise InputError(f"frequencies must be zero or positive, not {frequency[0]}")
        bad = ~(np.isfinite(power) & (power >= 0))
        if bad.any():
            raise InputError(f"noise power must be zero or positive, not {power[bad][0]}")
        if not power.any():
            raise InputError("the power of a noise spectrum must not be zero everywhere")

    def at(self, frequency_per_angstrom: NDArray[np.floating]) -> NDArray[np.float64]:
        """Gives the power at any frequencies, in the shape that they have."""
        return np.interp(frequency_per_angstrom, self.frequency_per_angstrom, self.power)


def colour_noise(
    white: NDArray[np.float32], spectrum: NoiseSpectrum, pixel_size_angstrom: float
) -> NDArray[np.float32]:
    """Gives white noise a spectrum and leaves its expected variance over whole images.

    Args:
        white: (P, N, N), independent numbers of mean 0.
        spectrum: the power that is wanted.
        pixel_size_angstrom: edge of a pixel.

    Returns:
        Noise (P, N, N), periodic at the edges of the box.
    """
    size = white.shape[-1]
    transform = scipy.fft.rfft2(white)
    transform *= _amplitudes(spectrum, size, pixel_size_angstrom)
    return scipy.fft.irfft2(transform, s=(size, size)).astype(np.float32, copy=False)


def radial_power_spectrum(
    images: NDArray[np.floating],
    pixel_size_angstrom: float,
    *,
    background_radius_px: float | None = None,
) -> NoiseSpectrum:
    """Measures the spectrum of the noise around the particles of real images.

    The background is cut off by the particle and by the edges of the box, and the periodogram of
    such a narrow frame is smeared over many frequencies. So the covariance at each displacement
    is averaged over those pairs of pixels that both lie in the background, which the cut does not
    bias, and tapered with Parzen's window. Its transform is the spectrum (the estimate of Blackman
    and Tukey). Each image's mean background is subtracted first. That takes power from the
    lowest two frequencies, 0 and 1 / box: they get the power of the third.

    Args:
        images: (P, N, N), particles near the middle.
        pixel_size_angstrom: edge of a pixel.
        background_radius_px: radius of the disc that is left out; 0.375 N when None, where RELION
            normalises particles.

    Returns:
        The spectrum at N // 2 + 1 frequencies from zero to Nyquist, with the scale of
        `abs(fft2(noise)) ** 2 / N ** 2`: white noise of variance 1 has power 1.

    Raises:
        InputError: the radius leaves no background, images are smaller than 8 pixels, or the
            background is flat.
    """
    size = images.shape[-1]
    radius = _BACKGROUND_RADIUS * size if background_radius_px is None else background_radius_px
    if size < _SMALLEST_PX:
        raise InputError(f"images must have at least {_SMALLEST_PX} pixels, not {size}")
    if not 0 <= radius < size / 2:
        raise InputError(f"the background radius must be from 0 to below N / 2, not {radius}")
    axis = np.arange(size) - size // 2
    covariance = _background_covariance(images, np.hypot(axis[:, None], axis) >= radius)
    displacement = 2 * size * np.fft.fftfreq(2 * size)
    covariance *= _parzen_window(np.hypot(displacement[:, None], displacement) / size)
    plane = scipy.fft.fft2(covariance).real
    cycles_per_box = np.hypot(displacement[:, None], displacement) / 2
    shells = np.rint(cycles_per_box).astype(np.int64).ravel()
    means = np.bincount(shells, plane.ravel()) / np.bincount(shells)
    power = np.maximum(means[: size // 2 + 1], 0)
    power[:2] = power[2]
    if not power.any():
        raise InputError("the background of the images is flat, noise was expected in it")
    frequencies = np.arange(size // 2 + 1) / (size * pixel_size_angstrom)
    return NoiseSpectrum(tuple(frequencies.tolist()), tuple(power.tolist()))


def write_noise_spectrum(path: str | Path, spectrum: NoiseSpectrum) -> None:
    """Writes a spectrum as text, a frequency in 1/angstrom and its power in each line."""
    rows = zip(spectrum.frequency_per_angstrom, spectrum.power, strict=True)
    lines = [f"{frequency:.9g} {power:.9g}\n" for frequency, power in rows]
    with atomic_output(Path(path)) as temporary:
        temporary.write_text("# 1/angstrom  power\n" + "".join(lines), encoding="utf-8")


def read_noise_spectrum(path: str | Path) -> NoiseSpectrum:
    """Reads what `write_noise_spectrum` writes: two columns, and comments after "#".

    Raises:
        InputError: there is no such file, or it is no such table.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # Of a file without rows, told below.
            table = np.loadtxt(path, ndmin=2, encoding="utf-8")
    except FileNotFoundError:
        raise InputError(f"{path}: no such file, a noise spectrum was expected") from None
    except ValueError as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{path}: not a table of frequency and power ({reason})") from error
    if not table.size:
        raise InputError(f"{path}: no rows of frequency and power in it")
    if table.shape[1] != 2:
        raise InputError(
            f"{path}: a noise spectrum must have two columns, frequency in 1/angstrom and power, "
            f"not {table.shape[1]}"
        )
    try:
        return NoiseSpectrum(*(tuple(column.tolist()) for column in table.T))
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


@lru_cache(maxsize=8)
def power_within(
    spectrum: NoiseSpectrum, size: int, pixel_size_angstrom: float, limit: float
) -> float:
    """Gives the part of the noise variance of N x N images that a square of frequencies holds.

    Args:
        spectrum: of the noise.
        size: N.
        pixel_size_angstrom: edge of a pixel.
        limit: the highest |kx| and |ky| in the square, in 1/pixel.
    """
    ky, kx = np.fft.fftfreq(size), np.fft.fftfreq(size)
    power = spectrum.at(np.hypot(ky[:, None], kx) / pixel_size_angstrom)
    inside_y, inside_x = (  # What lies on the edge belongs half to the square.
        np.clip((limit - np.abs(k)) * size + 0.5, 0, 1) for k in (ky, kx)
    )
    return float((power * inside_y[:, None] * inside_x).sum() / power.sum())


def _amplitudes(
    spectrum: NoiseSpectrum, size: int, pixel_size_angstrom: float
) -> NDArray[np.float32]:
    """Gives the factors (N, N // 2 + 1) of white noise, mean square 1 over all N x N."""
    ky, kx = np.fft.fftfreq(size), np.fft.rfftfreq(size)
    power = spectrum.at(np.hypot(ky[:, None], kx) / pixel_size_angstrom)
    # All columns stand for two frequencies, less those that are their own mirror images.
    weights = np.where((kx == 0) | (kx == 0.5), 1, 2)
    mean = (power * weights).sum() / size**2
    if mean <= 0:
        raise InputError(
            "the noise spectrum must have power below the Nyquist frequency of the images, "
            f"{0.5 / pixel_size_angstrom:.3g} per angstrom"
        )
    return np.sqrt(power / mean).astype(np.float32)


def _background_covariance(
    images: NDArray[np.floating], background: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Averages products of background pixels by their displacement.

    Args:
        images: (P, N, N).
        background: (N, N), which pixels count.

    Returns:
        (2 N, 2 N), displacement (0, 0) first, as FFTs lay it out; 0 where no two pixels are so
        far apart.
    """
    double = (2 * len(background), 2 * len(background))
    power = np.zeros((double[0], double[1] // 2 + 1))
    for start in range(0, len(images), _IMAGES_AT_ONCE):
        part = images[start : start + _IMAGES_AT_ONCE].astype(np.float64)
        part -= part[:, background].mean(axis=1)[:, None, None]
        power += (np.abs(scipy.fft.rfft2(part * background, s=double)) ** 2).sum(axis=0)
    sums = scipy.fft.irfft2(power / len(images), s=double)
    mask = np.abs(scipy.fft.rfft2(background.astype(np.float64), s=double)) ** 2
    pairs = np.rint(scipy.fft.irfft2(mask, s=double))
    return np.where(pairs > 0, sums / np.maximum(pairs, 1), 0)


def _parzen_window(distance: NDArray[np.floating]) -> NDArray[np.float64]:
    """Falls from 1 at distance 0 to 0 at 1; its transform is nowhere negative."""
    rest = np.maximum(1 - distance, 0)
    return np.where(distance < 0.5, 1 - 6 * distance**2 * rest, 2 * rest**3)
