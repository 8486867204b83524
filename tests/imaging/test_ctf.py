import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import constants

from cryotwin.imaging.ctf import (
    CtfDistribution,
    CtfParameters,
    apply_ctf,
    contrast_transfer,
    electron_wavelength_angstrom,
    flip_phases,
    full_contrast_transfer,
)
from cryotwin.imaging.errors import InputError

SIZE, PIXEL = 48, 2.5
HARD = CtfParameters(
    defocus_u_angstrom=np.array([21000.0, 9000.0, -4000.0]),
    defocus_v_angstrom=np.array([18500.0, 9000.0, -4800.0]),
    defocus_angle_rad=np.array([0.4, 2.9, 1.3]),
    voltage_kv=np.array([300.0, 200.0, 120.0]),
    spherical_aberration_mm=np.array([2.7, 0.01, 2.0]),
    amplitude_contrast=np.array([0.1, 0.07, 0.2]),
    phase_shift_rad=np.array([0.0, 1.4, 0.3]),
    b_factor_angstrom2=np.array([0.0, 60.0, 150.0]),
)


def relion_ctf(of: dict[str, float], x: float, y: float) -> float:
    """RELION 3.1's CTF::getCTF, line by line, at one frequency in 1/angstrom."""
    volts, cs = 1e3 * of["voltage_kv"], 1e7 * of["spherical_aberration_mm"]
    wavelength = 12.2643247 / np.sqrt(volts * (1 + volts * 0.978466e-6))
    k1 = np.pi / 2 * 2 * wavelength
    k2 = np.pi / 2 * cs * wavelength**3
    k3 = np.arctan(of["amplitude_contrast"] / np.sqrt(1 - of["amplitude_contrast"] ** 2))
    k4 = -of["b_factor_angstrom2"] / 4
    k5 = of["phase_shift_rad"]
    cosine, sine = np.cos(of["defocus_angle_rad"]), np.sin(of["defocus_angle_rad"])
    turn = np.array([[cosine, sine], [-sine, cosine]])
    defocus = np.diag([-of["defocus_u_angstrom"], -of["defocus_v_angstrom"]])
    a = turn.T @ defocus @ turn
    u2 = x * x + y * y
    gamma = k1 * (a[0, 0] * x * x + 2 * a[0, 1] * x * y + a[1, 1] * y * y) + k2 * u2 * u2 - k5 - k3
    return -np.sin(gamma) * np.exp(k4 * u2)


@pytest.mark.parametrize("size", [SIZE, SIZE + 1])
def test_the_ctf_is_relions_at_every_frequency(size):
    transfer = contrast_transfer(HARD, size, PIXEL)

    y, x = np.fft.fftfreq(size, PIXEL), np.fft.rfftfreq(size, PIXEL)
    for place in range(3):
        of = {name: values[place] for name, values in HARD.columns().items()}
        expected = [[relion_ctf(of, kx, ky) for kx in x] for ky in y]
        np.testing.assert_allclose(transfer[place], expected, atol=1e-5)


@pytest.mark.parametrize("size", [SIZE, SIZE + 1])
def test_the_whole_of_fourier_space_is_the_half_of_it_and_its_mirror_image(size):
    whole = full_contrast_transfer(HARD, size, PIXEL)

    assert whole.shape == (3, size, size)
    assert np.array_equal(whole[:, :, : size // 2 + 1], contrast_transfer(HARD, size, PIXEL))
    images = np.random.default_rng(0).standard_normal((3, size, size))
    product = np.fft.ifft2(np.fft.fft2(images) * whole).real
    np.testing.assert_allclose(product, apply_ctf(images, HARD, PIXEL), atol=1e-5)


def test_flipping_phases_makes_the_ctf_its_own_size_and_flipped_twice_is_as_before():
    images = np.random.default_rng(0).standard_normal((3, SIZE + 1, SIZE + 1)).astype(np.float32)

    flipped = flip_phases(apply_ctf(images, HARD, PIXEL), HARD, PIXEL)

    expected = np.abs(contrast_transfer(HARD, SIZE + 1, PIXEL)) * np.fft.rfft2(images)
    np.testing.assert_allclose(np.fft.rfft2(flipped), expected, atol=1e-3)
    twice = flip_phases(flip_phases(images, HARD, PIXEL), HARD, PIXEL)
    np.testing.assert_allclose(twice, images, atol=1e-5)


@pytest.mark.parametrize("voltage", [80.0, 120.0, 200.0, 300.0])
def test_the_wavelength_is_that_of_relativistic_electrons(voltage):
    energy, rest = voltage * 1e3 * constants.e, constants.m_e * constants.c**2
    momentum = np.sqrt(energy * (energy + 2 * rest)) / constants.c
    expected = constants.h / momentum * 1e10
    assert electron_wavelength_angstrom(voltage) == pytest.approx(expected, rel=1e-5)


def test_at_frequency_zero_the_ctf_is_plus_the_amplitude_contrast():
    parameters = CtfParameters(20000.0, 18000.0, amplitude_contrast=np.array([0.0, 0.1, 1.0]))
    at_zero = contrast_transfer(parameters, SIZE, PIXEL)[:, 0, 0]
    np.testing.assert_allclose(at_zero, [0, 0.1, 1], atol=1e-7)


def test_a_phase_plate_of_ninety_degrees_gives_full_contrast_at_frequency_zero():
    parameters = CtfParameters(5000.0, 5000.0, amplitude_contrast=0.0, phase_shift_rad=np.pi / 2)
    assert contrast_transfer(parameters, SIZE, PIXEL)[0, 0, 0] == pytest.approx(1)


def test_without_aberration_the_zeros_lie_where_lambda_defocus_u_squared_is_whole():
    # 40 cycles over the box are exactly sqrt(k / (lambda defocus)) for k = 1, 4, 9 at 40, 80, 120.
    size, pixel = 512, 1.0
    defocus = (size * pixel / 40) ** 2 / electron_wavelength_angstrom(300.0)
    parameters = CtfParameters(
        defocus, defocus, spherical_aberration_mm=0.0, amplitude_contrast=0.0
    )
    along_x = contrast_transfer(parameters, size, pixel)[0, 0]
    np.testing.assert_allclose(along_x[[40, 80, 120]], 0, atol=1e-5)
    assert along_x[1:40].min() > 0  # Underfocus: positive before the first zero.
    assert along_x[41:56].max() < 0


def test_in_the_direction_of_its_angle_the_ctf_has_the_larger_defocus():
    # A direction on the grid: 3 along x and 4 along y, 5 in all.
    angle = np.arctan2(4, 3)
    astigmatic = contrast_transfer(CtfParameters(20000.0, 15000.0, angle), 64, 2.0)[0]
    larger = contrast_transfer(CtfParameters(20000.0, 20000.0), 64, 2.0)[0]
    smaller = contrast_transfer(CtfParameters(15000.0, 15000.0), 64, 2.0)[0]
    for steps in range(1, 6):
        assert astigmatic[4 * steps, 3 * steps] == pytest.approx(
            larger[4 * steps, 3 * steps], abs=1e-5
        )
        assert astigmatic[-3 * steps, 4 * steps] == pytest.approx(
            smaller[-3 * steps, 4 * steps], abs=1e-5
        )


@given(st.floats(-30000, 30000), st.floats(-30000, 30000), st.floats(-10, 10))
def test_swapping_the_defoci_is_a_quarter_turn_of_their_angle(first, second, angle):
    one = contrast_transfer(CtfParameters(first, second, angle), 16, 4.0)
    other = contrast_transfer(CtfParameters(second, first, angle + np.pi / 2), 16, 4.0)
    np.testing.assert_allclose(one, other, atol=2e-5)


def test_the_envelope_falls_with_the_square_of_the_frequency():
    still = contrast_transfer(CtfParameters(15000.0, 14000.0, 0.5), SIZE, PIXEL)
    damped = contrast_transfer(
        CtfParameters(15000.0, 14000.0, 0.5, b_factor_angstrom2=90.0), SIZE, PIXEL
    )
    y, x = np.fft.fftfreq(SIZE, PIXEL)[:, None], np.fft.rfftfreq(SIZE, PIXEL)
    np.testing.assert_allclose(damped[0], still[0] * np.exp(-90 / 4 * (x**2 + y**2)), atol=1e-6)


def test_a_wave_is_multiplied_by_the_ctf_at_its_frequency():
    y, x = np.mgrid[:SIZE, :SIZE] - SIZE // 2
    kx, ky = 7, -5
    wave = np.cos(2 * np.pi * (kx * x + ky * y) / SIZE + 0.3)[None].repeat(3, axis=0)
    expected = contrast_transfer(HARD, SIZE, PIXEL)[:, ky, kx, None, None] * wave
    np.testing.assert_allclose(apply_ctf(wave, HARD, PIXEL), expected, atol=1e-5)


def test_the_ctf_turns_with_the_image():
    image = np.random.default_rng(0).standard_normal((1, 33, 33))
    parameters = CtfParameters(14000.0, 11000.0, 0.3)
    turned = CtfParameters(14000.0, 11000.0, 0.3 + np.pi / 2)
    # From the x axis towards y, down the rows: rot90 turns the other way.
    quarter = np.rot90(apply_ctf(image, parameters, 2.0), -1, axes=(1, 2))
    again = apply_ctf(np.rot90(image, -1, axes=(1, 2)).copy(), turned, 2.0)
    np.testing.assert_allclose(again, quarter, atol=1e-4)


def test_applying_a_ctf_is_its_own_adjoint():
    rng = np.random.default_rng(1)
    a, b = rng.standard_normal((2, 3, SIZE, SIZE))
    left = np.vdot(apply_ctf(a, HARD, PIXEL), b)
    assert left == pytest.approx(np.vdot(a, apply_ctf(b, HARD, PIXEL)), rel=1e-5)


def test_one_set_of_parameters_serves_all_images():
    images = np.random.default_rng(2).standard_normal((4, 16, 16))
    one = CtfParameters(12000.0, 11000.0, 1.0)
    each = CtfParameters(np.full(4, 12000.0), 11000.0, 1.0)
    assert np.array_equal(apply_ctf(images, one, 3.0), apply_ctf(images, each, 3.0))


def test_the_signal_of_a_point_stays_within_the_spread():
    size, pixel = 256, 2.0
    distribution = CtfDistribution(defocus_angstrom=(25000.0, 25000.0), astigmatism_angstrom=0.0)
    point = np.zeros((1, size, size), np.float32)
    point[0, size // 2, size // 2] = 1
    spectrum = np.fft.rfft2(point)
    y, x = np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size)
    disc = np.fft.irfft2(spectrum * (np.hypot(x, y) < 0.5), s=(size, size))
    image = apply_ctf(disc, distribution.parameters(np.zeros((1, 4))), pixel)[0]
    axis = np.arange(size) - size // 2
    distance = pixel * np.hypot(axis[:, None], axis)
    spread = distribution.spread_angstrom(pixel)
    energy = image.astype(np.float64) ** 2
    assert spread < 0.5 * size * pixel
    assert energy[distance <= 1.1 * spread].sum() > 0.97 * energy.sum()
    assert energy[distance <= 0.8 * spread].sum() < 0.75 * energy.sum()


def test_drawn_parameters_fill_their_ranges_and_no_more():
    distribution = CtfDistribution(
        defocus_angstrom=(6000.0, 20000.0),
        astigmatism_angstrom=800.0,
        phase_shift_rad=(0.2, 1.0),
        b_factor_angstrom2=70.0,
    )
    drawn = distribution.parameters(np.random.default_rng(0).random((5000, 4))).columns()
    u, v = drawn["defocus_u_angstrom"], drawn["defocus_v_angstrom"]
    for values, low, high in (
        ((u + v) / 2, 6000, 20000),
        (u - v, 0, 800),
        (drawn["defocus_angle_rad"], 0, np.pi),
        (drawn["phase_shift_rad"], 0.2, 1.0),
    ):
        assert low <= values.min()
        assert values.max() <= high
        assert values.mean() == pytest.approx((low + high) / 2, rel=0.03)
        assert values.std() == pytest.approx((high - low) / np.sqrt(12), rel=0.05)
    assert set(drawn["b_factor_angstrom2"]) == {70.0}
    assert set(drawn["voltage_kv"]) == {300.0}


def test_a_distribution_can_be_hashed_and_pickled():
    distribution = CtfDistribution(voltage_kv=200.0)
    assert pickle.loads(pickle.dumps(distribution)) == distribution
    assert hash(distribution) == hash(CtfDistribution(voltage_kv=200.0))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"defocus_angstrom": (9000.0, 8000.0)}, r"defocus_angstrom must rise .*not \(9000"),
        ({"defocus_angstrom": (float("nan"), 8000.0)}, "defocus_angstrom must rise"),
        ({"phase_shift_rad": (0.0, float("inf"))}, "phase_shift_rad must rise"),
        ({"astigmatism_angstrom": -1.0}, "astigmatism_angstrom must be from 0 to 1e.06, not -1"),
        ({"voltage_kv": 0.0}, "voltage_kv must be from 1 to 1e.06, not 0.0"),
        ({"defocus_angstrom": (1e30, 1e31)}, r"within 1e.06, not \(1e.30"),
        ({"spherical_aberration_mm": 1e300}, "spherical_aberration_mm must be .*not 1e.300"),
        ({"spherical_aberration_mm": float("nan")}, "spherical_aberration_mm must be .*not nan"),
        ({"amplitude_contrast": 1.5}, "amplitude_contrast must be from 0 to 1, not 1.5"),
        ({"b_factor_angstrom2": -5.0}, "b_factor_angstrom2 must be .*not -5.0"),
    ],
)
def test_a_bad_distribution_is_told(change, message):
    with pytest.raises(InputError, match=message):
        CtfDistribution(**change)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"voltage_kv": np.array([300.0, 0.0])}, "voltage_kv must be positive, not 0.0"),
        ({"amplitude_contrast": -0.1}, "amplitude_contrast must be from 0 to 1, not -0.1"),
        ({"defocus_angle_rad": float("nan")}, "defocus_angle_rad must be finite, not nan"),
        ({"phase_shift_rad": np.zeros(3)}, "must be of one length"),
    ],
)
def test_bad_parameters_are_told(change, message):
    with pytest.raises(InputError, match=message):
        CtfParameters(np.array([10000.0, 12000.0]), 9000.0, **change)


def test_a_pixel_size_of_zero_is_told():
    with pytest.raises(InputError, match="pixel size must be a positive number, not 0"):
        contrast_transfer(HARD, SIZE, 0)
