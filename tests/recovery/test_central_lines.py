import numpy as np
import pytest

from cryotwin.imaging.ctf import CtfDistribution, apply_ctf
from cryotwin.imaging.fourier import fourier_disc, images_to_disc, resize_images
from cryotwin.recovery.central_lines import LINES, CentralLines, central_lines


def _smooth_images(count, size, seed):
    """Images of a few Gaussian blobs each, near the middle."""
    rng, axis = np.random.default_rng(seed), np.arange(size) - size // 2
    images = np.zeros((count, size, size))
    for image in images:
        for y, x in rng.uniform(-size / 8, size / 8, (4, 2)):
            image += np.outer(np.exp(-((axis - y) ** 2) / 8), np.exp(-((axis - x) ** 2) / 8))
    return images


def test_lines_along_the_axes_are_the_coefficients_of_the_images_there():
    images = _smooth_images(3, 48, 1)
    disc = fourier_disc(48)

    lines = central_lines(images).lines

    coefficients = images_to_disc(images, disc)
    along_x = [np.flatnonzero((disc.kx == r) & (disc.ky == 0))[0] for r in range(1, 13)]
    along_y = [np.flatnonzero((disc.kx == 0) & (disc.ky == r))[0] for r in range(1, 13)]
    scale = np.abs(coefficients).max()
    assert np.allclose(lines[:, 0], coefficients[:, along_x], atol=1e-3 * scale)
    assert np.allclose(lines[:, LINES // 2], coefficients[:, along_y], atol=1e-3 * scale)


def test_powers_are_those_of_signal_and_white_noise():
    clean = _smooth_images(200, 48, 2)
    noise = np.random.default_rng(3).standard_normal(clean.shape)

    spectra, known = central_lines(clean + noise), central_lines(clean)

    assert np.allclose(spectra.power - spectra.signal, 48**2, rtol=0.1)
    assert spectra.signal[0, :4] == pytest.approx(known.power[0, :4], rel=0.2)


def test_signal_powers_follow_the_ctf_of_each_image():
    clean = resize_images(np.random.default_rng(4).standard_normal((100, 32, 32)), 48)
    ctf = CtfDistribution(astigmatism_angstrom=0.0).parameters(
        np.random.default_rng(5).random((100, 4))
    )
    images = apply_ctf(clean, ctf, 3.0)

    spectra = central_lines(images, ctf=ctf, pixel_size_angstrom=3.0)

    measured = (np.abs(spectra.lines) ** 2).mean(axis=1)
    assert np.corrcoef(measured.ravel(), spectra.signal.ravel())[0, 1] > 0.8


def test_a_few_images_of_huge_power_do_not_change_the_mean_powers():
    images = _smooth_images(50, 32, 6)
    with_junk = np.concatenate([images, 1e3 * images[:10]])

    assert np.allclose(central_lines(with_junk).signal[0], central_lines(images).signal[0])


@pytest.mark.parametrize("coherence", [1.0, 0.6])
def test_lines_agree_by_the_log_likelihood_ratio_of_two_gaussians(coherence):
    rng = np.random.default_rng(7)
    signal, power = np.array([3.0, 1.0, 0.2]), np.array([4.0, 3.0, 2.0])
    values = rng.standard_normal((2, 5, 3)) + 1j * rng.standard_normal((2, 5, 3))
    both_images = np.ones((2, 1))
    spectra = CentralLines(values, both_images * signal, both_images * power, np.zeros((1, 3)))
    lines = spectra.for_likelihood(coherence)

    found = lines.values[0, 1] @ lines.values[1, 4] - lines.costs[0, 1] - lines.costs[1, 4]

    expected = 0.0
    for ring in range(3):
        both = np.array([values[0, 1, ring], values[1, 4, ring]])
        common = np.full((2, 2), coherence * signal[ring])
        np.fill_diagonal(common, power[ring])
        apart = power[ring] * np.eye(2)
        for covariance, sign in ((common, 1), (apart, -1)):
            expected -= sign * (both.conj() @ np.linalg.solve(covariance, both)).real
    assert found == pytest.approx(expected, rel=1e-5)


def test_the_likelihood_stays_finite_where_all_power_is_signal():
    values = np.random.default_rng(7).standard_normal((2, 5, 3)) + 0j
    power = np.array([4.0, 3.0, 1e-6])
    powers = np.tile(power, (2, 1))

    lines = CentralLines(values, powers, powers, np.zeros((1, 3))).for_likelihood()

    assert np.isfinite(lines.values).all()
    assert np.isfinite(lines.costs).all()
