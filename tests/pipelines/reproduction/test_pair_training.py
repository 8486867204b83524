import numpy as np
import pytest

from cryotwin.imaging.rotations import uniform_quaternions
from cryotwin.pipelines.reproduction.pair_training import PairSettings, PairTraining


@pytest.fixture(scope="module")
def views():
    rng = np.random.default_rng(0)
    return rng.standard_normal((40, 16, 16), np.float32), uniform_quaternions(40, rng)


SETTINGS = PairSettings(feature_dim=16, pairs_a_batch=8, pairs=24)


def test_a_step_costs_two_passes_a_pair_and_lowers_the_loss_in_the_end(views):
    training = PairTraining(*views, SETTINGS)
    losses = [training.train_step() for _ in range(30)]
    assert training.passes == 30 * 8 * 2
    assert np.mean(losses[-5:]) < losses[0]


def test_a_training_that_goes_on_ends_as_one_that_was_not_stopped(views, tmp_path):
    through = PairTraining(*views, SETTINGS)
    expected = [through.train_step() for _ in range(7)]

    stopped = PairTraining(*views, SETTINGS)
    first = [stopped.train_step() for _ in range(4)]
    stopped.save(tmp_path, {"curve": first})
    again = PairTraining(*views, SETTINGS)
    kept = again.restore(tmp_path)
    assert kept == {"curve": first}
    got = first + [again.train_step() for _ in range(3)]
    np.testing.assert_allclose(got, expected, rtol=1e-4)
    assert again.step == 7


def test_pairs_are_drawn_so_that_their_distances_are_uniform(views):
    training = PairTraining(*views, PairSettings(feature_dim=16, pairs_a_batch=8, pairs=800))
    distances = np.sort(training._distances)
    uniform = np.linspace(distances[0], distances[-1], len(distances))
    assert np.abs(distances - uniform).max() < 0.25


def test_nothing_is_restored_where_nothing_was_saved(views, tmp_path):
    assert PairTraining(*views, SETTINGS).restore(tmp_path / "none") is None
