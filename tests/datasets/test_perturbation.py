import numpy as np
import pytest

from cryotwin.datasets.perturbation import Perturbation
from cryotwin.imaging.errors import InputError


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
    images, shifts = Perturbation(max_shift_px=3).perturb_with_shifts(
        blob(20), np.random.default_rng(0)
    )
    np.testing.assert_allclose(centres(images), shifts, atol=1e-3)
    assert np.abs(shifts).max() <= 3
    assert shifts.std() > 1


def test_shifts_are_uniform_on_a_square():
    _, shifts = Perturbation(max_shift_px=4).perturb_with_shifts(
        np.zeros((4000, 2, 2), np.float32), np.random.default_rng(0)
    )
    np.testing.assert_allclose(shifts.mean(axis=0), 0, atol=0.15)
    np.testing.assert_allclose(shifts.var(axis=0), 4**2 / 3, rtol=0.05)


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
    perturbation = Perturbation(noise_variance=1, max_shift_px=2)

    def generators(seeds):
        return [np.random.default_rng(seed) for seed in seeds]

    together = perturbation.perturb(blob(3), generators([5, 6, 7]))
    alone = perturbation.perturb(blob(1), generators([6]))
    assert np.array_equal(together[1], alone[0])


@pytest.mark.parametrize("value", [-1.0, float("nan"), float("inf")])
@pytest.mark.parametrize("name", ["noise_variance", "max_shift_px"])
def test_a_bad_number_is_quoted(name, value):
    with pytest.raises(InputError, match=f"{name} must be .* not {value}"):
        Perturbation(**{name: value})
