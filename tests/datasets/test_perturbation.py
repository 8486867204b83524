import json

import numpy as np
import pytest

from cryotwin.datasets.perturbation import Perturbation
from cryotwin.imaging.ctf import CtfDistribution, apply_ctf
from cryotwin.imaging.errors import InputError
from cryotwin.imaging.fourier import resize_images
from cryotwin.imaging.microscope import shift_images
from cryotwin.imaging.noise import NoiseSpectrum

CTF = CtfDistribution(
    defocus_angstrom=(8000.0, 16000.0), phase_shift_rad=(0.1, 0.4), b_factor_angstrom2=30.0
)


def blob(count: int, size: int = 32) -> np.ndarray:
    y, x = np.mgrid[:size, :size] - size // 2
    image = np.exp(-(x**2 + y**2) / (2 * 2.0**2)).astype(np.float32)
    return np.repeat(image[None], count, axis=0)


def centres(images: np.ndarray) -> np.ndarray:
    size = images.shape[-1]
    grid = np.arange(size) - size // 2
    total = images.sum(axis=(1, 2))
    x = (images.sum(axis=1) * grid).sum(axis=1) / total
    y = (images.sum(axis=2) * grid).sum(axis=1) / total
    return np.stack([x, y], axis=1)


def test_the_centre_of_mass_moves_by_the_shift_that_is_told():
    perturbed = Perturbation(max_shift_px=3).perturb_and_tell(blob(20), np.random.default_rng(0))
    shifts = perturbed.shifts_px
    np.testing.assert_allclose(centres(perturbed.images), shifts, atol=1e-3)
    assert np.abs(shifts).max() <= 3
    assert shifts.std() > 1


@pytest.mark.parametrize(("name", "parts"), [("uniform", 3), ("triangular", 6)])
def test_shifts_have_the_distribution_that_was_asked_for(name, parts):
    perturbation = Perturbation(max_shift_px=4, shift_distribution=name)
    shifts = perturbation.perturb_and_tell(
        np.zeros((4000, 2, 2), np.float32), np.random.default_rng(0)
    ).shifts_px
    np.testing.assert_allclose(shifts.mean(axis=0), 0, atol=0.15)
    np.testing.assert_allclose(shifts.var(axis=0), 4**2 / parts, rtol=0.05)


def test_the_image_is_the_clean_one_through_the_shift_and_the_ctf_that_are_told():
    perturbation = Perturbation(max_shift_px=3, ctf=CTF)
    perturbed = perturbation.perturb_and_tell(
        blob(6), np.random.default_rng(0), pixel_size_angstrom=2.0
    )
    assert perturbed.ctf is not None
    assert len(set(perturbed.ctf.columns()["defocus_u_angstrom"])) == 6
    expected = apply_ctf(shift_images(blob(6), perturbed.shifts_px), perturbed.ctf, 2.0)
    np.testing.assert_allclose(perturbed.images, expected, atol=1e-6)


def test_what_is_drawn_for_one_thing_does_not_depend_on_the_others():
    everything = {
        "noise_variance": 2.0,
        "max_shift_px": 3.0,
        "shift_distribution": "triangular",
        "ctf": CTF,
        "noise_spectrum": NoiseSpectrum((0.0, 0.1), (4.0, 1.0)),
    }

    def drawn(**without):
        """With one generator for each image; the images are empty, so what is left is noise."""
        perturbed = Perturbation(**(everything | without)).perturb_and_tell(
            np.zeros((3, 16, 16), np.float32),
            [np.random.default_rng(seed) for seed in range(3)],
            pixel_size_angstrom=2.0,
        )
        ctf = perturbed.ctf and np.stack(list(perturbed.ctf.columns().values()))
        return perturbed.images, perturbed.shifts_px, ctf

    noise, shifts, ctf = drawn()
    no_ctf, no_shift, no_noise = drawn(ctf=None), drawn(max_shift_px=0), drawn(noise_variance=0)
    np.testing.assert_allclose(no_ctf[0], noise, atol=1e-6)
    np.testing.assert_allclose(no_shift[0], noise, atol=1e-6)
    assert np.array_equal(no_ctf[1], shifts)
    assert np.array_equal(no_noise[1], shifts)
    assert np.array_equal(no_shift[2], ctf)
    assert np.array_equal(no_noise[2], ctf)
    # The draws are no copies of each other either.
    assert not np.isclose(np.corrcoef(ctf[0] + ctf[1], shifts[:, 0])[0, 1], 1)


def test_a_generator_draws_other_ctfs_each_time_it_is_used():
    rng = np.random.default_rng(0)
    first, second = (
        Perturbation(ctf=CTF).perturb_and_tell(blob(2), rng, pixel_size_angstrom=2.0).ctf
        for _ in range(2)
    )
    defoci = [ctf.columns()["defocus_u_angstrom"] for ctf in (first, second)]
    assert len(set(np.concatenate(defoci))) == 4


def test_coloured_noise_has_its_variance_and_more_power_where_the_spectrum_says():
    perturbation = Perturbation(
        noise_variance=4, noise_spectrum=NoiseSpectrum((0.0, 0.25), (9.0, 1.0))
    )
    noise = perturbation.perturb(
        np.zeros((500, 32, 32), np.float32), np.random.default_rng(3), pixel_size_angstrom=2.0
    )
    power = (np.abs(np.fft.fft2(noise)) ** 2).mean(axis=0)
    assert noise.var() == pytest.approx(4, rel=0.02)
    assert power[0, 1:3].mean() / power[0, 14:17].mean() == pytest.approx(8.25 / 1.5, rel=0.2)


def test_noise_levels_are_factors_of_the_standard_deviation_of_each_image():
    noise = Perturbation(noise_variance=4).perturb(
        np.zeros((2, 64, 64), np.float32),
        np.random.default_rng(4),
        noise_levels=np.array([0.25, 1.0]),
    )
    np.testing.assert_allclose(noise.std(axis=(1, 2)), [0.5, 2], rtol=0.05)


def test_a_perturbation_goes_through_json_and_back():
    perturbation = Perturbation(
        noise_variance=2.5,
        max_shift_px=1.5,
        shift_distribution="gaussian",
        ctf=CTF,
        noise_spectrum=NoiseSpectrum((0.0, 0.1), (4.0, 1.0)),
    )
    text = json.dumps(perturbation.to_metadata() | {"seed": 1})
    assert Perturbation.from_metadata(json.loads(text)) == perturbation
    assert hash(Perturbation.from_metadata(json.loads(text))) == hash(perturbation)


def test_metadata_of_a_dataset_from_before_the_ctf_are_read():
    metadata = {"noise_variance": 4.0, "max_shift_px": 2.0}
    assert Perturbation.from_metadata(metadata) == Perturbation(4.0, 2.0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"noise_variance": "much"}, "metadata of a perturbation are damaged"),
        ({"ctf": {"defocus": 3}}, "metadata of a perturbation are damaged"),
        ({"ctf": {"voltage_kv": -3}}, "voltage_kv must be from 1 to 1e.06, not -3"),
        ({"shift_distribution": "square"}, "not 'square'"),
    ],
)
def test_damaged_metadata_are_told(change, message):
    with pytest.raises(InputError, match=message):
        Perturbation.from_metadata({"noise_variance": 4.0, "max_shift_px": 2.0} | change)


@pytest.mark.parametrize(
    "perturbation",
    [Perturbation(ctf=CTF), Perturbation(1.0, noise_spectrum=NoiseSpectrum((0.1,), (1.0,)))],
)
def test_a_ctf_and_a_spectrum_ask_for_the_pixel_size(perturbation):
    with pytest.raises(InputError, match="need pixel_size_angstrom"):
        perturbation.perturb(blob(1), np.random.default_rng(0))


def test_noise_has_the_variance_that_was_asked_for():
    clean = blob(50)
    noise = Perturbation(noise_variance=4).perturb(clean, np.random.default_rng(1)) - clean
    assert noise.dtype == np.float32
    assert abs(noise.var() / 4 - 1) < 5 * np.sqrt(2 / noise.size)
    assert abs(noise.mean()) < 5 * np.sqrt(4 / noise.size)


def test_no_perturbation_leaves_images_as_they_are():
    clean = blob(2)
    assert np.array_equal(Perturbation().perturb(clean, np.random.default_rng(0)), clean)


def test_with_a_generator_each_an_image_does_not_depend_on_its_neighbours():
    perturbation = Perturbation(
        noise_variance=1,
        max_shift_px=2,
        ctf=CTF,
        noise_spectrum=NoiseSpectrum((0.0, 0.1), (4.0, 1.0)),
    )

    def perturb(seeds):
        generators = [np.random.default_rng(seed) for seed in seeds]
        return perturbation.perturb(blob(len(seeds)), generators, pixel_size_angstrom=2.0)

    together = perturb([5, 6, 7])
    alone = perturb([6])
    assert np.array_equal(together[1], alone[0])


@pytest.mark.parametrize("value", [-1.0, float("nan"), float("inf")])
@pytest.mark.parametrize("name", ["noise_variance", "max_shift_px"])
def test_a_bad_number_is_quoted(name, value):
    with pytest.raises(InputError, match=f"{name} must be .* not {value}"):
        Perturbation(**{name: value})


@pytest.mark.parametrize("spectrum", [None, NoiseSpectrum((0.0, 0.1), (4.0, 1.0))])
def test_a_resampled_perturbation_is_what_resampled_images_have_gone_through(spectrum):
    stored = Perturbation(noise_variance=2.0, max_shift_px=3.0, noise_spectrum=spectrum)
    blank = np.zeros((400, 48, 48), np.float32)
    noise = stored.perturb(blank, np.random.default_rng(0), pixel_size_angstrom=2.0)

    seen = stored.resampled(48, 2.0, 4.0)
    fresh = seen.perturb(blank[:, :24, :24], np.random.default_rng(1), pixel_size_angstrom=4.0)

    # Resampling once more takes the Nyquist lines from both.
    assert resize_images(noise, 20).var() == pytest.approx(resize_images(fresh, 20).var(), rel=0.02)
    assert seen.max_shift_px == 1.5
