import numpy as np
import pytest

from cryotwin.datasets.augmentation import QUARTER_TURN, random_exact_views
from cryotwin.imaging.projection import project_volume
from cryotwin.imaging.rotations import FLIP_Y, quaternions_to_matrices, uniform_quaternions

COUNT = 64


def _volume(size):
    """Three Gaussians off the centre and off each other's axes."""
    z, y, x = np.mgrid[:size, :size, :size] - size // 2
    return sum(
        weight * np.exp(-((x - a) ** 2 + (y - b) ** 2 + (z - c) ** 2) / 4)
        for weight, a, b, c in [(1, 4, 0, 1), (0.7, -1, -5, 0), (1.3, -2, 3, 4)]
    ).astype(np.float32)


def _rotations(seed=0):
    return quaternions_to_matrices(uniform_quaternions(COUNT, np.random.default_rng(seed)))


@pytest.fixture(scope="module", params=[24, 25], ids=["even", "odd"])
def views(request):
    """Projections, their orientations, and a view drawn for each with its orientation."""
    volume, rotations = _volume(request.param), _rotations()
    images = project_volume(volume, rotations)
    return volume, rotations, images, *random_exact_views(images, rotations, _generator())


def _generator():
    return np.random.default_rng(1)


def test_each_view_is_the_projection_along_its_new_orientation(views):
    volume, _, _, changed, orientations = views

    expected = project_volume(volume, orientations)

    assert np.abs(changed - expected).max() < 1e-4 * np.abs(expected).max()


def test_all_eight_views_are_drawn_and_no_other(views):
    _, rotations, _, _, orientations = views
    eight = [
        np.linalg.matrix_power(QUARTER_TURN, turns) @ flip
        for flip in (np.eye(3), FLIP_Y)
        for turns in range(4)
    ]

    change = orientations @ np.swapaxes(rotations, 1, 2)

    gaps = np.abs(change[:, None] - np.array(eight)).max(axis=(2, 3))
    assert (gaps.min(axis=1) < 1e-5).all()
    assert set(gaps.argmin(axis=1)) == set(range(8))


def test_the_same_generator_draws_the_same_views_and_leaves_the_originals(views):
    volume, rotations, images, changed, orientations = views

    again = random_exact_views(images, rotations, _generator())

    assert np.array_equal(again[0], changed)
    assert np.array_equal(again[1], orientations)
    assert np.array_equal(images, project_volume(volume, rotations))
    assert np.array_equal(rotations, _rotations())
