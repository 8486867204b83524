import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import jv

from cryotwin.models.circular_harmonics import (
    Coefficients,
    mix_channels,
    sample_polar,
    to_angles,
    to_harmonics,
)

GRID = 24


def _complex(coefficients):
    real, imaginary = (keras.ops.convert_to_numpy(part) for part in coefficients)
    return real + 1j * imaginary


def _coefficients(values):
    return Coefficients(values.real.astype(np.float32), values.imag.astype(np.float32))


def _turned(values, angle):
    """Multiplies coefficients (B, M, C) by exp(-i m angle)."""
    return values * np.exp(-1j * angle * np.arange(values.shape[1]))[:, None]


def _draw(seed, orders, channels):
    """Coefficients (3, M, C) of real maps: those of order 0 are real."""
    real, imaginary = np.random.default_rng(seed).standard_normal((2, 3, orders, channels))
    imaginary[:, 0] = 0
    return real + 1j * imaginary


@given(st.integers(0, 99), st.integers(1, 6), st.integers(1, 9), st.integers(1, 3))
def test_harmonics_of_the_angles_are_the_coefficients_again(seed, orders, more, channels):
    angles = 2 * (orders - 1) + more
    values = _draw(seed, orders, channels)

    maps = to_angles(_coefficients(values), angles)

    assert maps.shape == (3, angles, channels)
    assert np.allclose(_complex(to_harmonics(maps, orders)), values, atol=1e-5)


@given(st.integers(0, 99), st.integers(5, 16), st.integers(0, 20))
def test_a_map_moved_along_the_circle_has_coefficients_turned_by_the_angle(seed, angles, steps):
    maps = np.random.default_rng(seed).standard_normal((2, angles, 3)).astype(np.float32)

    moved = _complex(to_harmonics(np.roll(maps, steps, axis=1), 3))

    expected = _turned(_complex(to_harmonics(maps, 3)), 2 * np.pi * steps / angles)
    assert np.allclose(moved, expected, atol=1e-5)


@pytest.fixture(scope="module")
def mixing():
    keras.utils.set_random_seed(3)
    real, imaginary = keras.Input((4, 5)), keras.Input((4, 5))
    return keras.Model([real, imaginary], mix_channels(Coefficients(real, imaginary), 6, "mix"))


@given(st.integers(0, 99), st.floats(-7, 7))
def test_channels_that_are_mixed_turn_as_they_did(mixing, seed, angle):
    values = _draw(seed, 4, 5)

    mixed = _complex(mixing(list(_coefficients(values))))
    after = _complex(mixing(list(_coefficients(_turned(values, angle)))))

    assert mixed.shape == (3, 4, 6)
    assert np.allclose(after, _turned(mixed, angle), atol=1e-4)


def test_channels_are_mixed_as_a_correlation_with_filters_on_the_whole_circle(mixing):
    values, angles = _draw(0, 4, 5), 16
    maps = keras.ops.convert_to_numpy(to_angles(_coefficients(values), angles))
    weights = _complex(tuple(layer.kernel for layer in mixing.layers if layer.weights))

    mixed = keras.ops.convert_to_numpy(
        to_angles(Coefficients(*mixing(list(_coefficients(values)))), angles)
    )

    # Filters (A, C, D) whose coefficients are the weights, unscaled; a real map needs 2 Re.
    phases = np.exp(2j * np.pi * np.outer(np.arange(angles), np.arange(4)) / angles)
    twice = np.where(np.arange(4) == 0, 1, 2)
    filters = np.einsum("am,mcd->acd", phases * twice, weights).real / angles
    places = (np.arange(angles)[:, None] - np.arange(angles)) % angles
    expected = np.einsum("akcd,bkc->bad", filters[places], maps)
    assert np.allclose(mixed, expected, atol=1e-4)


def _sampled(images, **settings):
    return keras.ops.convert_to_numpy(sample_polar(images, grid_px=GRID, **settings))


def _places(size, rings, angles, centres):
    """Points (C, A, R) of the samples in pixels of an image from its origin, as x and y."""
    radii = 0.475 * GRID * (np.arange(rings) + 0.5) / rings
    turns = 2 * np.pi * np.arange(angles)[:, None] / angles
    x, y = (np.asarray(centres, float).T[..., None, None]) * size / GRID
    reach = size / GRID * radii
    return x + reach * np.cos(turns), y + reach * np.sin(turns), radii


@pytest.mark.parametrize("size", [16, 23, 24, 25, 48, 61, 116])
@pytest.mark.parametrize("centres", [[(0, 0)], [(2, -1), (0, 0), (-1.5, 1)]])
def test_samples_are_those_about_pixel_half_n_rounded_down(size, centres):
    # Neither resampling nor interpolation between pixels changes a + b x + c y + d x y.
    y, x = np.mgrid[:size, :size] - size // 2
    images = np.stack([1 + x + 2 * y, 3 - x + x * y / size]).astype(np.float32)[..., None]

    samples = _sampled(images, rings=6, angles=8, centres_px=centres)

    x, y, radii = _places(size, 6, 8, centres)
    inner = radii < 0.3 * GRID
    expected = np.concatenate([1 + x + 2 * y, 3 - x + x * y / size]) * np.sqrt(radii / radii[-1])
    assert samples.shape == (2 * len(centres), 8, 6)
    # A triangle over a part of a pixel is a little off; 0.02 pixels of the grid at most.
    atol = 1e-3 if size <= GRID or size % GRID == 0 else 0.05 * size / GRID
    assert np.allclose(samples[..., inner], expected[..., inner], atol=atol)


def test_a_ring_sees_a_plane_wave_as_bessel_functions():
    """Jacobi and Anger: exp(i z cos phi) = sum over m of i^m J_m(z) exp(i m phi)."""
    wave_number = 2 * np.pi / 16  # In radians a pixel.
    y, x = np.mgrid[:GRID, :GRID] - GRID // 2
    direction = np.radians(30)
    along = np.cos(direction) * x + np.sin(direction) * y
    waves = np.stack([np.cos(wave_number * along), np.sin(wave_number * along)])

    rings = _sampled(waves[..., None].astype(np.float32), rings=5, angles=32)
    found = _complex(to_harmonics(rings, 6)) / np.sqrt(32)

    radii = 0.475 * GRID * (np.arange(5) + 0.5) / 5
    weights = np.sqrt(radii / radii[-1])
    order = np.arange(6)[:, None]
    expected = 1j**order * jv(order, wave_number * radii) * np.exp(-1j * order * direction)
    assert np.allclose((found[0] + 1j * found[1]) / weights, expected, atol=0.04)


def test_channels_of_an_image_are_sampled_alike_and_stand_side_by_side_in_each_ring():
    images = np.random.default_rng(0).standard_normal((2, 30, 30, 3)).astype(np.float32)
    settings = {"rings": 4, "angles": 8, "centres_px": [(0, 0), (1, 2)]}

    together = _sampled(images, **settings).reshape(4, 8, 4, 3)

    for channel in range(3):
        alone = _sampled(images[..., channel : channel + 1], **settings)
        assert np.allclose(together[..., channel], alone, atol=1e-5)


def test_a_sample_beyond_the_edge_repeats_it():
    images = np.zeros((1, GRID, GRID, 1), np.float32)
    images[:, :, -1] = 1

    samples = _sampled(images, rings=2, angles=4, centres_px=[(GRID, 0)])

    assert samples[0, 0, 1] == pytest.approx(1, abs=2e-3)
