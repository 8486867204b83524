"""How much of a Fourier shell correlation a mask has made: phase randomisation.

A mask correlates neighbouring Fourier voxels, and two maps that share one agree by it. Chen et al.
(Ultramicroscopy 135, 24, 2013) measure that: beyond a resolution where the maps still agree
without a mask, the phases of both are replaced by random ones, so that nothing real is left to
agree on. What is then found behind the mask is the mask's, and taken away:

    FSC = (FSC_masked - FSC_randomised) / (1 - FSC_randomised)

as `relion_postprocess` does.
"""

from dataclasses import dataclass

import numpy as np
import scipy.fft
from numpy.typing import ArrayLike, NDArray

from cryotwin.recovery.resolution import fourier_shell_correlation

RANDOMISE_BELOW = 0.8
"""Phases are randomised from the shell on where the correlation without a mask is below this."""

_SPARED = 2
"""Shells after that one that are not corrected: the mask blurs the randomised ones into them."""


@dataclass(frozen=True)
class MaskedCorrelation:
    """Fourier shell correlations of two half maps behind a mask; each (N // 2 + 1,).

    Attributes:
        masked: of the masked maps.
        randomised: of the masked maps with randomised phases.
        corrected: `masked` less what the mask makes.
        first_shell: the first one whose phases were randomised.
    """

    masked: NDArray[np.floating]
    randomised: NDArray[np.floating]
    corrected: NDArray[np.floating]
    first_shell: int


def masked_correlation(
    first: ArrayLike, second: ArrayLike, mask: ArrayLike, *, seed: int = 0
) -> MaskedCorrelation:
    """Correlates two half maps behind a mask, corrected for the mask.

    Args:
        first: half map (N, N, N).
        second: the other, (N, N, N).
        mask: weights (N, N, N) in [0, 1], with a soft edge.
        seed: of the random phases.

    Raises:
        InputError: the maps and the mask are no cubes of one size, or hold NaN.
    """
    bare = fourier_shell_correlation(first, second)
    masked = fourier_shell_correlation(first, second, mask=mask)
    below = np.flatnonzero(bare[1:] < RANDOMISE_BELOW)
    start = 1 + int(below[0]) if len(below) else len(bare)
    rngs = np.random.default_rng(seed).spawn(2)
    randomised = fourier_shell_correlation(
        randomise_phases(first, start, rngs[0]),
        randomise_phases(second, start, rngs[1]),
        mask=mask,
    )
    corrected = masked.copy()
    beyond = slice(start + _SPARED, None)
    by_mask = np.clip(randomised[beyond], 0, 1 - 1e-6)
    corrected[beyond] = np.maximum((masked[beyond] - by_mask) / (1 - by_mask), 0)
    return MaskedCorrelation(masked, randomised, corrected, start)


def randomise_phases(
    volume: ArrayLike, first_shell: int, generator: np.random.Generator
) -> NDArray[np.float32]:
    """Replaces the phases of a map (N, N, N) by random ones from a shell on; amplitudes stay.

    The phases are those of white noise, so that the result is real.
    """
    spectrum = scipy.fft.rfftn(np.asarray(volume, dtype=np.float64))
    size = np.shape(volume)[0]
    noise = scipy.fft.rfftn(generator.standard_normal((size,) * 3))
    full, half = np.fft.fftfreq(size, 1 / size), np.fft.rfftfreq(size, 1 / size)
    radius = np.sqrt(full[:, None, None] ** 2 + full[None, :, None] ** 2 + half**2)
    beyond = np.rint(radius) >= first_shell
    spectrum[beyond] = np.abs(spectrum[beyond]) * np.exp(1j * np.angle(noise[beyond]))
    return scipy.fft.irfftn(spectrum, s=(size,) * 3).astype(np.float32)
