import numpy as np
import pytest

from cryotwin.imaging.errors import InputError
from cryotwin.imaging.rotations import matrices_to_quaternions as to_quaternions
from cryotwin.imaging.rotations import (
    pairwise_distances,
    quaternions_to_matrices,
    rotation_vectors_to_matrices,
    uniform_quaternions,
)
from cryotwin.recovery.view_spread import check_views, turned_share

COUNT = 300


def noisy(quaternions, error_rad, symmetry="C1"):
    """Distances with errors, as an estimator gives them."""
    distances = pairwise_distances(quaternions, symmetry=symmetry)
    error = np.random.default_rng(9).normal(0, error_rad, distances.shape)
    return np.clip(np.abs(distances + (error + error.T) / np.sqrt(2)), 0, np.pi)


def near(quaternion, spread_rad):
    """Views that differ from one by a few degrees."""
    rng = np.random.default_rng(1)
    turns = rotation_vectors_to_matrices(rng.normal(0, spread_rad, (COUNT, 3)))
    return to_quaternions(turns @ quaternions_to_matrices(quaternion)[0])


def turned_in_the_plane():
    rng = np.random.default_rng(2)
    vectors = np.zeros((COUNT, 3))
    vectors[:, 2] = rng.uniform(-np.pi, np.pi, COUNT)
    return to_quaternions(
        rotation_vectors_to_matrices(vectors)
        @ quaternions_to_matrices(uniform_quaternions(1, rng))[0]
    )


@pytest.mark.parametrize("symmetry", ["C1", "C7", "D2", "O", "I2"])
@pytest.mark.parametrize("error_rad", [0.0, 0.15])
def test_views_from_all_sides_pass(symmetry, error_rad):
    quaternions = uniform_quaternions(COUNT, np.random.default_rng(0))
    check_views(noisy(quaternions, error_rad, symmetry), symmetry=symmetry)


def test_views_from_all_sides_hold_two_of_nine_in_two_directions():
    quaternions = uniform_quaternions(2000, np.random.default_rng(0))
    assert turned_share(pairwise_distances(quaternions)) == pytest.approx(2 / 9, abs=0.03)
    assert turned_share(pairwise_distances(turned_in_the_plane())) == pytest.approx(1)


@pytest.mark.parametrize("symmetry", ["C1", "D2"])
def test_views_that_are_all_alike_are_refused(symmetry):
    one = uniform_quaternions(1, np.random.default_rng(3))
    with pytest.raises(InputError, match=r"from one side: nine of ten .* below 0\.\d+ rad"):
        check_views(noisy(near(one, 0.03), 0.05, symmetry), symmetry=symmetry)


def test_views_that_differ_by_turns_in_the_plane_are_refused():
    with pytest.raises(InputError, match=r"from one side: .* turns in the plane"):
        check_views(noisy(turned_in_the_plane(), 0.1))


def test_preferred_views_pass():
    """Nine of ten from one side, turned in the plane, one of ten from anywhere."""
    quaternions = turned_in_the_plane()
    rare = COUNT // 10
    quaternions[:rare] = uniform_quaternions(rare, np.random.default_rng(4))
    check_views(noisy(quaternions, 0.1))


def test_an_estimator_that_knows_nothing_says_nothing_about_views():
    one = uniform_quaternions(1, np.random.default_rng(3))
    check_views(noisy(near(one, 0.03), 0.05), error_rad=2.2)
