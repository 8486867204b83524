import numpy as np
import pytest

from cryotwin.imaging.rotations import pairwise_distances, uniform_quaternions
from cryotwin.pipelines.reproduction.estimator import distance_loss, symmetric_distances


@pytest.fixture(scope="module")
def true():
    return uniform_quaternions(400, np.random.default_rng(0))


def test_the_loss_of_exact_distances_is_zero(true):
    assert distance_loss(pairwise_distances(true), true) == pytest.approx(0, abs=1e-12)


def test_every_interval_of_the_true_distance_counts_the_same(true):
    distances = pairwise_distances(true)
    near = distances < distances.max() / 2
    # An error of 0.3 rad at half of the range, which few of the pairs have.
    assert near.mean() < 0.3
    assert distance_loss(np.where(near, distances + 0.3, distances), true) == pytest.approx(
        0.045, rel=0.05
    )


def test_distances_become_symmetric_and_stay_in_range():
    rough = np.array([[0.2, 1.0, 4.0], [2.0, -0.1, 0.5], [3.0, 0.5, 0.0]])
    np.testing.assert_allclose(
        symmetric_distances(rough), [[0, 1.5, np.pi], [1.5, 0, 0.5], [np.pi, 0.5, 0]]
    )
