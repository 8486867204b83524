import numpy as np
import pytest

from cryotwin.imaging.projection import project_volume
from cryotwin.imaging.rotations import quaternions_to_matrices, uniform_quaternions
from cryotwin.recovery.half_references import last_shell_above, make_half_references

SIZE, COUNT = 24, 120
ROTATIONS = quaternions_to_matrices(uniform_quaternions(COUNT, np.random.default_rng(0)))


@pytest.fixture(scope="module")
def images():
    z, y, x = np.mgrid[:SIZE, :SIZE, :SIZE] - SIZE // 2
    blobs = np.random.default_rng(3).uniform((0.5, -5, -5, -5), (1.5, 5, 5, 5), (7, 4))
    volume = sum(
        weight * np.exp(-((x - a) ** 2 + (y - b) ** 2 + (z - c) ** 2) / 5)
        for weight, a, b, c in blobs
    )
    views = project_volume(volume.astype(np.float32), ROTATIONS)
    noise = np.random.default_rng(1).standard_normal(views.shape, np.float32)
    return views + 4 * views.std() * noise


def _references(images, halves=None, **settings):
    return make_half_references(
        images,
        ROTATIONS,
        np.zeros((COUNT, 2)),
        np.arange(COUNT) % 2 if halves is None else halves,
        **{
            "ctf": None,
            "pixel_size_angstrom": 3.0,
            "symmetry": "C1",
            "joined": False,
            "least_limit": 4,
            "threads": 1,
            **settings,
        },
    )


def _shells(volume):
    axis = np.fft.fftfreq(SIZE) * SIZE
    radius = np.rint(np.sqrt(sum(np.meshgrid(axis**2, axis**2, axis**2)))).astype(int)
    return radius, np.fft.fftn(volume)


def test_halves_differ_only_where_noise_matters(images):
    found = _references(images)
    radius, first = _shells(found.volumes[0])
    _, second = _shells(found.volumes[1])
    difference, size = np.abs(first - second), np.abs(first).max()
    assert 0 < found.joined < found.limit
    assert difference[radius < found.joined - 1].max() < 1e-4 * size
    assert difference[radius == found.joined + 2].max() > 1e-4 * size


def test_joined_halves_have_one_reference(images):
    found = _references(images, joined=True)
    assert np.array_equal(*found.volumes)
    assert found.joined == SIZE // 2


def test_images_of_no_half_do_not_count(images):
    halves = np.where(np.arange(COUNT) < 100, np.arange(COUNT) % 2, -1)
    spoilt = images.copy()
    spoilt[100:] = 1e3
    for first, second in zip(
        _references(images, halves).volumes, _references(spoilt, halves).volumes, strict=True
    ):
        assert np.array_equal(first, second)


def test_an_fsc_that_is_trusted_filters_in_place_of_the_one_of_the_maps(images):
    trusted = np.where(np.arange(SIZE // 2 + 1) <= 5, 1.0, 0.0)
    found = _references(images, joined=True, trusted_fsc=trusted)
    radius, transform = _shells(found.volumes[0])
    assert found.limit == 5
    assert np.abs(transform[radius > 6]).max() < 1e-5 * np.abs(transform).max()


def test_the_last_shell_is_the_one_before_the_first_fall():
    assert last_shell_above(np.array([0.1, 0.9, 0.8, 0.1, 0.9]), 0.5) == 2
    assert last_shell_above(np.array([1.0, 0.9, 0.8]), 0.5) == 2
