import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cryotwin.imaging.microscope import shift_images, signal_variance, snr_from_db
from cryotwin.imaging.projection import project_volume
from cryotwin.imaging.rotations import quaternions_to_matrices, uniform_quaternions


def _gaussian_images(size, centres_px, sigma=2.5):
    axis = np.arange(size) - size // 2
    x, y = axis[None, None, :], axis[None, :, None]
    cx, cy = np.asarray(centres_px, dtype=float).T[..., None, None]
    return np.exp(-((x - cx) ** 2 + (y - cy) ** 2) / (2 * sigma**2))


def _blobs(size):
    axis = np.arange(size) - size // 2
    z, y, x = np.meshgrid(axis, axis, axis, indexing="ij")
    first = np.exp(-((x - 4) ** 2 + (y + 2) ** 2 + z**2) / 8)
    return first + 0.6 * np.exp(-(x**2 + (y - 5) ** 2 + (z + 4) ** 2) / 5)


@given(st.integers(4, 17), st.integers(-20, 20), st.integers(-20, 20))
def test_a_shift_by_whole_pixels_rolls_the_image_to_plus_x_and_y(size, x, y):
    images = np.random.default_rng(size).standard_normal((2, size, size))

    shifted = shift_images(images, [[x, y], [0, 0]])

    assert shifted.dtype == np.float32
    assert np.allclose(shifted[0], np.roll(images[0], (y, x), axis=(0, 1)), atol=1e-4)
    assert np.allclose(shifted[1], images[1], atol=1e-5)


@pytest.mark.parametrize("size", [40, 41])
def test_a_shift_by_parts_of_a_pixel_moves_a_gaussian_as_far(size):
    centres = np.array([[0.0, 0.0], [3.0, -2.0], [-1.5, 4.25]])
    shifts = np.array([[0.5, -0.25], [-3.7, 2.2], [1.01, 0.0]])

    shifted = shift_images(_gaussian_images(size, centres), shifts)

    assert np.abs(shifted - _gaussian_images(size, centres + shifts)).max() < 1e-5


def test_a_shift_there_and_back_leaves_a_band_limited_image():
    images = _gaussian_images(24, [[1.0, 2.0], [-2.0, 0.5]])
    shifts = np.array([[7.3, -9.1], [0.4, 30.6]])

    assert np.allclose(shift_images(shift_images(images, shifts), -shifts), images, atol=1e-5)


def test_the_signal_variance_is_that_of_clean_projections_at_uniform_orientations():
    volume = _blobs(32)
    rotations = quaternions_to_matrices(uniform_quaternions(1000, np.random.default_rng(3)))

    variance = signal_variance(volume)

    assert variance == pytest.approx(project_volume(volume, rotations).var(), rel=0.02)
    assert variance == signal_variance(volume)


def test_a_volume_divided_by_the_root_of_its_signal_variance_has_signal_variance_one():
    volume = _blobs(24)

    assert signal_variance(volume / np.sqrt(signal_variance(volume))) == pytest.approx(1, rel=1e-5)


def test_decibels_are_ten_times_the_logarithm_of_the_ratio_of_variances():
    assert snr_from_db(0) == 1
    assert snr_from_db(10) == pytest.approx(10)
    assert snr_from_db(-12) == pytest.approx(0.063, abs=1e-3)
