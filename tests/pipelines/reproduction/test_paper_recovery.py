import numpy as np
import pytest

from cryotwin.imaging.rotations import pairwise_distances, uniform_quaternions
from cryotwin.pipelines.reproduction.paper_recovery import (
    AdamSettings,
    InducedDistance,
    recover_by_adam,
)
from cryotwin.pipelines.reproduction.recovered import recover_as_in_the_paper, recover_our_way


@pytest.fixture(scope="module")
def true():
    return uniform_quaternions(120, np.random.default_rng(0))


def test_the_layer_gives_the_distances_of_its_quaternions_whatever_their_length(true):
    rng = np.random.default_rng(1)
    layer = InducedDistance(true * rng.uniform(0.5, 2, (len(true), 1)))
    pairs = rng.integers(len(true), size=(500, 2)).astype(np.int32)
    expected = pairwise_distances(true)[tuple(pairs.T)]
    apart = expected > 1e-3
    got = np.asarray(layer(pairs))[:, 0]
    np.testing.assert_allclose(got[apart], expected[apart], atol=2e-3)


def test_exact_distances_give_orientations_up_to_an_isometry_from_the_best_of_a_few_starts(true):
    distances = pairwise_distances(true)
    found = [recover_by_adam(distances, AdamSettings(seed=seed)) for seed in range(3)]
    best = min(found, key=lambda one: one.loss)
    assert best.loss < 1e-6
    induced = pairwise_distances(best.quaternions)
    assert np.abs(induced - distances).max() < 1e-2
    assert best.steps == sorted(best.steps)
    assert len(best.steps) == len(best.losses)


def test_both_ways_tell_errors_of_both_kinds(true):
    distances = pairwise_distances(true)
    ours = recover_our_way(distances, true)
    assert ours.o4_error < 1e-6
    assert ours.physical_error > 0.1  # The gauge is not in the distances.
    paper = recover_as_in_the_paper(distances, true)
    assert paper.physical_error >= paper.o4_error - 1e-6
    assert len(paper.errors) == len(true)


def test_the_same_seed_gives_the_same_orientations(true):
    distances = pairwise_distances(true)
    settings = AdamSettings(most_steps=200)
    first, again = (recover_by_adam(distances, settings).quaternions for _ in range(2))
    np.testing.assert_allclose(first, again, atol=1e-5)
