"""What the microscope does to a projection: C, S and n of equation (1)."""

import math

import numpy as np
import scipy.fft
from numpy.typing import ArrayLike, NDArray

from cryotwin.imaging.ctf import CtfParameters, contrast_transfer
from cryotwin.imaging.errors import InputError
from cryotwin.imaging.projection import project_volume
from cryotwin.imaging.rotations import rotation_grid

_PROBE_SPACING_RAD = 0.54
"""About 500 orientations: the variance of projections is then known to about one percent."""


def shift_images(images: NDArray[np.floating], shifts_px: ArrayLike) -> NDArray[np.float32]:
    """Moves the content of images by (x, y) pixels: image(y) becomes image(y - t).

    Shifts are phase ramps: exact for images below Nyquist, at any fraction of a pixel, and
    periodic at the edges of the box.

    Args:
        images: (P, N, N).
        shifts_px: (P, 2) as x, y in pixels.
    """
    return _filter_images(images, shifts_px, None)


def shift_and_apply_ctf(
    images: NDArray[np.floating],
    shifts_px: ArrayLike,
    ctf: CtfParameters,
    pixel_size_angstrom: float,
) -> NDArray[np.float32]:
    """Does what `shift_images` and `ctf.apply_ctf` do, in one pass through Fourier space.

    Args:
        images: (P, N, N).
        shifts_px: (P, 2) as x, y in pixels.
        ctf: of P images, or of one for all.
        pixel_size_angstrom: edge of a pixel.
    """
    transfer = contrast_transfer(ctf, images.shape[-1], pixel_size_angstrom)
    return _filter_images(images, shifts_px, transfer)


def _filter_images(
    images: NDArray[np.floating], shifts_px: ArrayLike, transfer: NDArray[np.float32] | None
) -> NDArray[np.float32]:
    """Multiplies the spectra of images by the ramps of their shifts and by a transfer function."""
    shifts = np.asarray(shifts_px, dtype=np.float64)
    size = images.shape[-1]
    ky, kx = np.fft.fftfreq(size), np.fft.rfftfreq(size)
    ramp_y = np.exp(-2j * np.pi * shifts[:, 1, None] * ky).astype(np.complex64)
    ramp_x = np.exp(-2j * np.pi * shifts[:, 0, None] * kx).astype(np.complex64)
    spectrum = scipy.fft.rfft2(images.astype(np.float32, copy=False))
    spectrum *= ramp_y[:, :, None]
    spectrum *= ramp_x[:, None, :]
    if transfer is not None:
        spectrum *= transfer
    return scipy.fft.irfft2(spectrum, s=(size, size)).astype(np.float32, copy=False)


def signal_variance(volume: NDArray[np.floating]) -> float:
    """Measures the variance of clean projections over whole images (the signal of an SNR).

    Taken over a fixed, even set of orientations, so that it does not depend on a dataset.
    """
    grid = rotation_grid(_PROBE_SPACING_RAD)
    probes = project_volume(volume, grid, backend="gridding", tolerance=1e-5)
    return float(probes.var(dtype=np.float64))


def unit_projections(volume: NDArray[np.floating], name: str) -> tuple[NDArray[np.float32], float]:
    """Scales the volume of the structure `name` so that its projections have variance 1.

    Returns:
        The scaled volume, and the variance that they had before.

    Raises:
        InputError: the variance is zero or not finite.
    """
    variance = signal_variance(volume)
    if not math.isfinite(variance) or variance <= 0:
        raise InputError(
            f"{name}: projections have variance {variance}; expected a volume of finite "
            "values that is not constant"
        )
    return (volume / math.sqrt(variance)).astype(np.float32), variance


def snr_from_db(snr_db: float) -> float:
    """Turns decibels into the ratio of variances: -12 dB is 0.063."""
    return float(10 ** (snr_db / 10))
