import numpy as np
import pytest

from cryotwin.imaging.errors import InputError
from cryotwin.recovery.resolution import (
    fourier_shell_correlation,
    resolution_at,
    soft_sphere_mask,
)


def white_noise(size, seed):
    return np.random.default_rng(seed).standard_normal((size, size, size))


def shell_radii(size):
    frequency = np.fft.fftfreq(size, 1 / size)
    return np.sqrt(sum(axis**2 for axis in np.meshgrid(frequency, frequency, frequency)))


def filtered(volume, weights):
    return np.real(np.fft.ifftn(np.fft.fftn(volume) * weights))


@pytest.mark.parametrize("size", [16, 17])
def test_identical_maps_correlate_fully_in_every_shell(size):
    volume = white_noise(size, 0)
    curve = fourier_shell_correlation(volume, 3 * volume)
    assert curve.shape == (size // 2 + 1,)
    np.testing.assert_allclose(curve, 1, atol=1e-12)
    np.testing.assert_allclose(fourier_shell_correlation(volume, -volume), -1, atol=1e-12)


def test_the_half_transform_gives_what_the_whole_one_gives():
    one, two = white_noise(12, 1), white_noise(12, 2)
    shells = np.rint(shell_radii(12)).astype(int)
    f, g = np.fft.fftn(one), np.fft.fftn(two)
    expected = [
        np.sum(f[shells == k] * np.conj(g[shells == k])).real
        / np.linalg.norm(f[shells == k])
        / np.linalg.norm(g[shells == k])
        for k in range(7)
    ]
    np.testing.assert_allclose(fourier_shell_correlation(one, two), expected, atol=1e-12)


def test_independent_noise_gives_snr_over_one_plus_snr_in_each_shell():
    size = 48
    radius = shell_radii(size)
    amplitude = np.exp(-radius / 12)  # SNR of shell k: exp(-k / 6)
    signal = filtered(white_noise(size, 3), amplitude)
    curve = fourier_shell_correlation(signal + white_noise(size, 4), signal + white_noise(size, 5))
    shells = np.rint(radius)
    snr = np.array([np.mean(amplitude[shells == k] ** 2) for k in range(size // 2 + 1)])
    independent = np.bincount(shells.astype(int).ravel())[: size // 2 + 1] / 2
    deviations = (curve - snr / (1 + snr)) * np.sqrt(independent)
    assert np.abs(deviations[1:]).max() < 4
    assert np.abs(deviations[1:].mean()) < 0.5


def test_a_low_pass_shows_at_its_frequency_and_empty_shells_count_as_zero():
    size, cutoff = 32, 9
    volume = white_noise(size, 6)
    low = filtered(volume, shell_radii(size) < cutoff + 0.5)
    np.testing.assert_allclose(fourier_shell_correlation(volume, low)[: cutoff + 1], 1, atol=1e-9)
    np.testing.assert_allclose(fourier_shell_correlation(low, low)[cutoff + 1 :], 0, atol=1e-9)
    noisy = fourier_shell_correlation(volume, low + 1e-3 * white_noise(size, 7))
    assert resolution_at(noisy, 2.0, 0.5) == pytest.approx(size * 2.0 / (cutoff + 0.5), rel=0.06)


def test_a_shift_of_one_map_turns_the_phases_and_lowers_the_curve():
    volume = white_noise(16, 8)
    curve = fourier_shell_correlation(volume, np.roll(volume, 1, axis=2))
    assert curve[1] > 0.9
    assert curve[1] > curve[4] > curve[8] - 0.05


def test_the_resolution_is_interpolated_at_the_first_crossing():
    curve = [1.0, 1.0, 0.8, 0.2, 0.9, 0.0]
    assert resolution_at(curve, 2.0, 0.5) == pytest.approx(10 * 2.0 / 2.5)
    assert resolution_at(curve, 2.0, 0.5, size=11) == pytest.approx(11 * 2.0 / 2.5)


def test_the_resolution_lies_between_the_box_and_nyquist():
    assert resolution_at([1.0, 0.9, 0.9, 0.9], 1.5, 0.5) == 3.0
    assert resolution_at([0.0, -0.2, 0.0, 0.0], 1.5, 0.5) == 6 * 1.5


def test_a_mask_takes_away_the_noise_outside_it():
    size = 32
    mask = soft_sphere_mask(size, 6, 3)
    signal = 4 * mask * filtered(white_noise(size, 9), shell_radii(size) < 6)
    halves = [signal + white_noise(size, seed) / 4 for seed in (10, 11)]
    plain = fourier_shell_correlation(*halves)
    masked = fourier_shell_correlation(*halves, mask=soft_sphere_mask(size, 9, 3))
    assert masked[3:8].mean() > plain[3:8].mean()


def test_the_soft_sphere_is_one_inside_zero_outside_and_half_in_the_middle_of_its_edge():
    mask = soft_sphere_mask(32, 8, 4)
    assert mask[16, 16, 16 + 8] == 1
    assert mask[16, 16 + 12, 16] == 0
    assert mask[16 - 10, 16, 16] == pytest.approx(0.5)
    assert set(np.unique(soft_sphere_mask(9, 3, 0))) == {0, 1}


def test_maps_that_cannot_be_compared_are_refused():
    volume = white_noise(8, 0)
    with pytest.raises(InputError, match=r"\(8, 8, 8\) and \(9, 9, 9\)"):
        fourier_shell_correlation(volume, white_noise(9, 0))
    with pytest.raises(InputError, match=r"cube .* not of shape \(8, 8\)"):
        fourier_shell_correlation(volume[0], volume)
    with pytest.raises(InputError, match="NaN"):
        fourier_shell_correlation(np.full((8, 8, 8), np.nan), volume)
    with pytest.raises(InputError, match="mask must have the maps' size"):
        fourier_shell_correlation(volume, volume, mask=np.ones((4, 4, 4)))
