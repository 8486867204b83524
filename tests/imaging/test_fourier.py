import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cryotwin.imaging.fourier import (
    disc_to_images,
    fourier_disc,
    images_to_disc,
    resize_images,
    resize_volume,
)

SIZES = st.integers(5, 40)


def _gaussian(size, box, dimensions, centre=0.06, width=0.07):
    """Samples an off-centre Gaussian on `size` pixels of a box; lengths are in units of `box`."""
    axis = (np.arange(size) - size // 2) * (box / size) - centre * box
    squares = sum(np.meshgrid(*[axis**2] * dimensions, indexing="ij"))
    return np.exp(-squares / (2 * (width * box) ** 2))


def _disc_noise(size, count=3, seed=0):
    """Draws images without frequencies beyond the disc."""
    images = np.random.default_rng(seed).standard_normal((count, size, size))
    disc = fourier_disc(size)
    return disc_to_images(images_to_disc(images, disc), disc)


@given(SIZES)
def test_the_disc_lists_each_frequency_below_nyquist_once_up_to_its_sign(size):
    disc = fourier_disc(size)
    k = np.rint(np.fft.fftfreq(size) * size)
    inside = k[:, None] ** 2 + k[None, :] ** 2 < (size / 2) ** 2

    assert disc.weights.sum() == inside.sum()
    assert len(set(zip(disc.kx.tolist(), disc.ky.tolist(), strict=True))) == len(disc.kx)
    assert (disc.kx >= 0).all()
    assert (disc.radius < size / 2).all()
    assert np.array_equal(disc.shells, np.rint(np.hypot(disc.kx, disc.ky)))


@given(SIZES)
def test_coefficients_are_sums_of_waves_about_the_origin_pixel(size):
    disc = fourier_disc(size)
    image = np.zeros((1, size, size))
    origin = size // 2
    image[0, origin + 2, origin - 1] = 1

    coefficients = images_to_disc(image, disc)

    expected = np.exp(-2j * np.pi * (2 * disc.ky - disc.kx) / size)
    assert np.allclose(coefficients[0], expected, atol=1e-5)


@given(SIZES, st.integers(0, 1000))
def test_the_disc_holds_a_band_limited_image(size, seed):
    images, disc = _disc_noise(size, seed=seed), fourier_disc(size)

    assert np.allclose(disc_to_images(images_to_disc(images, disc), disc), images, atol=1e-5)


@given(SIZES, st.integers(0, 1000))
def test_sums_over_pixels_are_weighted_sums_over_the_disc(size, seed):
    first, second = _disc_noise(size, count=2, seed=seed)
    disc = fourier_disc(size)

    a, b = images_to_disc(np.stack([first, second]), disc)

    over_disc = np.sum(disc.weights * (a * b.conj()).real) / size**2
    scale = np.linalg.norm(first) * np.linalg.norm(second)
    assert abs(over_disc - np.vdot(first, second)) < 1e-5 * scale


@given(SIZES, SIZES)
def test_resizing_an_image_keeps_a_constant(old, new):
    assert np.allclose(resize_images(np.full((2, old, old), 2.5), new), 2.5, atol=1e-5)


@pytest.mark.parametrize("old", [32, 33])
@pytest.mark.parametrize("new", [24, 25, 32, 40, 45])
def test_resizing_samples_the_same_box_more_coarsely_or_finely(old, new):
    image, volume = _gaussian(old, 32, 2)[None], _gaussian(old, 32, 3)

    resized_image, resized_volume = resize_images(image, new), resize_volume(volume, new)

    assert resized_image.dtype == resized_volume.dtype == np.float32
    assert np.abs(resized_image[0] - _gaussian(new, 32, 2)).max() < 1e-4
    assert np.abs(resized_volume - _gaussian(new, 32, 3)).max() < 1e-4


@given(SIZES, st.integers(0, 15), st.integers(0, 1000))
def test_resizing_up_and_down_again_leaves_a_band_limited_image(size, more, seed):
    images = _disc_noise(size, seed=seed)

    assert np.allclose(resize_images(resize_images(images, size + more), size), images, atol=1e-5)


def test_resizing_more_images_than_fit_in_one_part_treats_each_alike():
    images = np.random.default_rng(0).standard_normal((700, 8, 8))

    resized = resize_images(images, 6)

    assert resized.shape == (700, 6, 6)
    assert np.allclose(resized[600:], resize_images(images[600:], 6), atol=1e-6)


def test_cropping_white_noise_leaves_white_noise_of_the_share_of_the_variance():
    noise = np.random.default_rng(0).standard_normal((50, 64, 64))

    cropped = resize_images(noise, 32)

    # Three lines of 32 at Nyquist are left out: a share of 31^2 / 32^2 remains.
    assert cropped.var() == pytest.approx((32 / 64) ** 2 * (31 / 32) ** 2, rel=0.02)
