import numpy as np
import pytest

from cryotwin.imaging.errors import InputError
from cryotwin.recovery.phase_randomisation import masked_correlation, randomise_phases
from cryotwin.recovery.resolution import fourier_shell_correlation, resolution_at, soft_sphere_mask

SIZE = 40


def noise(seed):
    return np.random.default_rng(seed).standard_normal((SIZE,) * 3)


def filtered(volume, gain):
    """Multiplies by gain(shell radius) in Fourier space."""
    frequency = np.fft.fftfreq(SIZE, 1 / SIZE)
    radius = np.sqrt(sum(axis**2 for axis in np.meshgrid(*[frequency] * 3, indexing="ij")))
    return np.real(np.fft.ifftn(np.fft.fftn(volume) * gain(radius)))


def half_maps(decay):
    """A particle inside a sphere, ever weaker at high frequencies, and independent noise."""
    inside = soft_sphere_mask(SIZE, 7, 3)
    signal = filtered(inside * noise(0), lambda k: np.exp(-k / decay))
    return [40 * signal + noise(seed) for seed in (1, 2)]


def test_random_phases_keep_amplitudes_and_what_is_coarser():
    volume = noise(3)
    found = randomise_phases(volume, 8, np.random.default_rng(0))
    assert np.allclose(np.abs(np.fft.fftn(found)), np.abs(np.fft.fftn(volume)), rtol=1e-3)
    curve = fourier_shell_correlation(volume, found)
    np.testing.assert_allclose(curve[:8], 1, atol=1e-6)
    assert np.abs(curve[10:]).max() < 0.2


def test_a_tight_sharp_mask_makes_agreement_that_the_correction_removes():
    first, second = half_maps(decay=2)
    found = masked_correlation(first, second, soft_sphere_mask(SIZE, 4, 0))
    beyond = slice(13, 19)
    assert found.masked[beyond].mean() > 0.1
    assert found.corrected[beyond].mean() < 0.03


def test_a_wide_soft_mask_needs_hardly_any_correction():
    first, second = half_maps(decay=4)
    found = masked_correlation(first, second, soft_sphere_mask(SIZE, 12, 6))
    resolutions = [resolution_at(c, 1.0, 0.143) for c in (found.masked, found.corrected)]
    assert resolutions[1] == pytest.approx(resolutions[0], rel=0.02)
    assert np.abs(found.randomised[found.first_shell + 2 :]).mean() < 0.1


def test_identical_maps_agree_after_the_correction():
    volume = noise(4)
    found = masked_correlation(volume, volume, soft_sphere_mask(SIZE, 12, 6))
    assert found.first_shell == SIZE // 2 + 1
    np.testing.assert_allclose(found.corrected, 1, atol=1e-9)


def test_the_correction_is_the_same_every_time():
    first, second = half_maps(decay=3)
    mask = soft_sphere_mask(SIZE, 9, 3)
    one, two = (masked_correlation(first, second, mask).corrected for _ in range(2))
    np.testing.assert_array_equal(one, two)


def test_maps_that_cannot_be_compared_are_refused():
    with pytest.raises(InputError, match="one size"):
        masked_correlation(noise(0), np.zeros((8, 8, 8)), soft_sphere_mask(SIZE, 9, 3))
