from pathlib import Path

import numpy as np
import pytest

from cryotwin.imaging.errors import InputError
from cryotwin.imaging.noise import (
    NoiseSpectrum,
    colour_noise,
    radial_power_spectrum,
    read_noise_spectrum,
    write_noise_spectrum,
)

PARTICLES = Path(__file__).resolve().parents[3] / "shared" / "data" / "particles"
SIZE, PIXEL = 64, 3.0


def lorentzian(frequency: np.ndarray) -> np.ndarray:
    """Falls to a twentieth from zero to Nyquist, as ice does."""
    return 1 / (1 + (frequency / 0.08) ** 2) + 0.05


def ring(frequency: np.ndarray) -> np.ndarray:
    """A broad ring at half Nyquist, as amorphous matter has."""
    return 0.2 + np.exp(-(((frequency - 0.25) / 0.06) ** 2))


def white(frequency: np.ndarray) -> np.ndarray:
    return np.full_like(frequency, 1.0)


SPECTRA = {"white": white, "lorentzian": lorentzian, "ring": ring}


def micrograph_crops(power, count: int, rng: np.random.Generator) -> np.ndarray:
    """Boxes cut out of larger fields, whose noise does not go on at the other edge of the box."""
    boxes = []
    wide = 4 * SIZE
    frequency = np.hypot(np.fft.fftfreq(wide)[:, None], np.fft.rfftfreq(wide))
    for _ in range(count // 16):
        field = np.fft.rfft2(rng.standard_normal((wide, wide))) * np.sqrt(power(frequency))
        field = np.fft.irfft2(field, s=(wide, wide))
        boxes.append(field.reshape(4, SIZE, 4, SIZE).swapaxes(1, 2).reshape(16, SIZE, SIZE))
    return np.concatenate(boxes).astype(np.float32)


def test_coloured_noise_has_the_spectrum_and_the_variance_that_were_asked_for():
    spectrum = NoiseSpectrum((0.0, 0.05, 0.12), (8.0, 2.0, 1.0))
    rng = np.random.default_rng(0)
    noise = colour_noise(
        rng.standard_normal((3000, 32, 32), dtype=np.float32), spectrum, pixel_size_angstrom=4.0
    )
    power = (np.abs(np.fft.fft2(noise)) ** 2).mean(axis=0) / 32**2
    frequency = np.fft.fftfreq(32, 4.0)
    expected = spectrum.at(np.hypot(frequency[:, None], frequency))
    expected /= expected.mean()
    # The mean of 3,000 exponential numbers; twice as wide where a coefficient is real.
    np.testing.assert_allclose(power / expected, 1, atol=6 * np.sqrt(2 / 3000))
    assert noise.var(dtype=np.float64) == pytest.approx(1, abs=0.01)
    assert noise.dtype == np.float32


def test_a_flat_spectrum_leaves_white_noise_as_it_is():
    noise = np.random.default_rng(1).standard_normal((2, 33, 33), dtype=np.float32)
    coloured = colour_noise(noise, NoiseSpectrum((0.1,), (7.0,)), 2.0)
    np.testing.assert_allclose(coloured, noise, atol=1e-5)


def test_a_spectrum_belongs_to_frequencies_whatever_the_pixel_size():
    spectrum = NoiseSpectrum((0.0, 0.1), (5.0, 1.0))
    noise = np.random.default_rng(2).standard_normal((2000, 16, 16), dtype=np.float32)

    def ratio(pixel_size: float) -> float:
        """Power at 1/32 over that at 1/16 per angstrom."""
        power = np.abs(np.fft.fft2(colour_noise(noise, spectrum, pixel_size))) ** 2
        steps = round(16 * pixel_size / 32)
        return power[:, 0, steps].mean() / power[:, 0, 2 * steps].mean()

    expected = spectrum.at(np.array([1 / 32])) / spectrum.at(np.array([1 / 16]))
    assert ratio(2.0) == pytest.approx(expected[0], rel=0.15)
    assert ratio(4.0) == pytest.approx(expected[0], rel=0.15)


@pytest.mark.parametrize("name", SPECTRA)
def test_the_spectrum_of_a_background_is_found_around_bright_particles(name):
    images = micrograph_crops(SPECTRA[name], 640, np.random.default_rng(3))
    y, x = np.mgrid[:SIZE, :SIZE] - SIZE // 2
    images += 20 * (np.hypot(x, y) < 0.36 * SIZE)
    found = radial_power_spectrum(images, PIXEL)
    frequency = np.arange(SIZE // 2 + 1) / SIZE
    np.testing.assert_allclose(found.frequency_per_angstrom, frequency / PIXEL, rtol=1e-6)
    error = np.array(found.power) / SPECTRA[name](frequency) - 1
    # Parzen's window is about two shells wide: a narrow ring is found a little broader.
    assert np.abs(error[2:]).max() < 0.1
    assert np.sqrt((error[2:] ** 2).mean()) < 0.04


def test_the_mean_of_each_image_does_not_matter():
    images = micrograph_crops(lorentzian, 32, np.random.default_rng(4))
    offset = 100 * np.random.default_rng(5).standard_normal((32, 1, 1)).astype(np.float32)
    plain, moved = (
        np.array(radial_power_spectrum(each, PIXEL).power) for each in (images, images + offset)
    )
    np.testing.assert_allclose(moved, plain, rtol=1e-3)


def test_noise_made_with_a_measured_spectrum_measures_the_same():
    images = micrograph_crops(lorentzian, 320, np.random.default_rng(6))
    measured = radial_power_spectrum(images, PIXEL)
    rng = np.random.default_rng(7)
    made = colour_noise(rng.standard_normal((640, SIZE, SIZE), dtype=np.float32), measured, PIXEL)
    again = np.array(radial_power_spectrum(made, PIXEL).power)
    ratio = again[2:] / np.array(measured.power)[2:]
    np.testing.assert_allclose(ratio / ratio.mean(), 1, atol=0.1)


@pytest.mark.parametrize(
    "name",
    [
        "class17/sample_particles_relion31.star",
        "relion31/relion31.star",
        "empiar10076/empiar_10076_7.star",
    ],
)
def test_noise_like_that_of_real_particles_measures_like_theirs(name):
    from cryotwin.datasets import read_particles

    if not (PARTICLES / name).exists():
        pytest.skip("the real stacks are not there")
    particles = read_particles(PARTICLES / name)
    size, pixel_size = particles.images.shape[-1], particles.pixel_size_angstrom
    measured = radial_power_spectrum(particles.images, pixel_size)
    rng = np.random.default_rng(8)
    count = max(20, 2_000_000 // size**2)
    made = colour_noise(
        rng.standard_normal((count, size, size), dtype=np.float32), measured, pixel_size
    )
    again = np.array(radial_power_spectrum(made, pixel_size).power)
    ratio = again[2:] / np.array(measured.power)[2:]
    assert np.std(np.log(ratio)) < 0.1


def test_a_table_is_read_as_it_was_written(tmp_path):
    spectrum = NoiseSpectrum((0.0, 0.05, 0.2), (3.5, 0.25, 0.125))
    write_noise_spectrum(tmp_path / "noise.txt", spectrum)
    assert read_noise_spectrum(tmp_path / "noise.txt") == spectrum


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0 1\n0.1 x\n", "not a table of frequency and power"),
        ("# nothing yet\n", "no rows of frequency and power"),
        ("0 1 2\n", "must have two columns.*not 3"),
        ("0.1 1\n0 1\n", "frequencies of a noise spectrum must rise"),
        ("0 1\n0.1 -1\n", "power must be zero or positive, not -1"),
        ("0 0\n", "must not be zero everywhere"),
        ("0 nan\n", "power must be zero or positive, not nan"),
        ("-1 1\n", "frequencies must be zero or positive, not -1"),
    ],
)
def test_a_bad_table_is_told_with_its_name(tmp_path, text, message):
    (tmp_path / "noise.txt").write_text(text)
    with pytest.raises(InputError, match=f"noise.txt: .*{message}"):
        read_noise_spectrum(tmp_path / "noise.txt")


def test_a_missing_table_is_told(tmp_path):
    with pytest.raises(InputError, match="noise.txt: no such file"):
        read_noise_spectrum(tmp_path / "noise.txt")


def test_a_spectrum_without_power_in_the_images_is_told():
    spectrum = NoiseSpectrum((0.4, 0.5), (0.0, 1.0))
    with pytest.raises(InputError, match="must have power below the Nyquist frequency"):
        colour_noise(np.ones((1, 16, 16), np.float32), spectrum, 4.0)


@pytest.mark.parametrize("radius", [-1.0, 32.0, float("nan")])
def test_a_radius_that_leaves_no_background_is_told(radius):
    with pytest.raises(InputError, match="the background radius must be"):
        radial_power_spectrum(np.ones((1, SIZE, SIZE)), PIXEL, background_radius_px=radius)


def test_images_without_noise_are_told():
    with pytest.raises(InputError, match="background of the images is flat"):
        radial_power_spectrum(np.ones((2, SIZE, SIZE)), PIXEL)
