import numpy as np
import pytest

from cryotwin.imaging.errors import InputError
from cryotwin.imaging.orientations import draw_quaternions
from cryotwin.imaging.rotations import pairwise_distances, uniform_quaternions
from cryotwin.recovery.alignment import align_orientations
from cryotwin.recovery.embedding import embed_distances, embedding_loss


def _quaternions(count, seed=0):
    return uniform_quaternions(count, np.random.default_rng(seed))


def _perturbed(distances, spread_rad, seed=0):
    noise = np.random.default_rng(seed).normal(0, spread_rad, distances.shape)
    perturbed = np.clip(distances + np.triu(noise, 1) + np.triu(noise, 1).T, 0, np.pi)
    np.fill_diagonal(perturbed, 0)
    return perturbed


def _o4_error(estimated, true):
    return align_orientations(estimated, true, ambiguity="o4").mean_error


@pytest.mark.parametrize("seed", range(5))
def test_exact_distances_give_the_orientations_from_any_seed(seed):
    true = _quaternions(300, seed)

    embedding = embed_distances(pairwise_distances(true), seed=seed)

    assert _o4_error(embedding.quaternions, true) < 1e-4
    assert embedding.loss < 1e-8
    assert embedding.trusted
    assert embedding.quaternions.shape == (300, 4)
    assert (embedding.quaternions[:, 0] >= 0).all()
    assert np.allclose(np.linalg.norm(embedding.quaternions, axis=1), 1, atol=1e-6)


@pytest.mark.parametrize("views", ["euler", "euler-half", "so3-quarter"])
def test_views_need_not_be_uniform(views):
    true = draw_quaternions(views, 300, np.random.default_rng(0))

    embedding = embed_distances(pairwise_distances(true))

    assert _o4_error(embedding.quaternions, true) < 1e-4
    assert embedding.trusted


def test_errors_of_the_distances_average_out_over_the_pairs():
    true = _quaternions(300)
    spread = 0.3

    embedding = embed_distances(_perturbed(pairwise_distances(true), spread))

    # Each orientation has three numbers from 300 distances.
    assert _o4_error(embedding.quaternions, true) < 2 * spread * 3 / np.sqrt(300)
    assert embedding.loss == pytest.approx(spread**2, rel=0.2)
    assert embedding.trusted


def test_more_points_than_landmarks_are_all_placed():
    true = _quaternions(650)

    exact = embed_distances(pairwise_distances(true))
    perturbed = embed_distances(_perturbed(pairwise_distances(true), 0.3))

    assert _o4_error(exact.quaternions, true) < 1e-4
    assert exact.trusted
    assert _o4_error(perturbed.quaternions, true) < 0.07
    assert perturbed.trusted


def test_the_loss_is_the_mean_square_over_pairs_without_the_diagonal():
    quaternions = _quaternions(10)
    distances = pairwise_distances(quaternions)

    assert embedding_loss(distances, quaternions) < 1e-6
    assert embedding_loss(distances + 0.2, quaternions) == pytest.approx(0.04, rel=1e-3)


def test_the_same_seed_gives_the_same_orientations_and_leaves_the_input_alone():
    distances = _perturbed(pairwise_distances(_quaternions(40)), 0.2)
    before = distances.copy()

    first, second = embed_distances(distances, seed=3), embed_distances(distances, seed=3)

    assert np.array_equal(first.quaternions, second.quaternions)
    assert np.array_equal(distances, before)


@pytest.mark.parametrize("count", [30, 100, 300])
def test_distances_from_nothing_are_not_trusted(count):
    distances = np.random.default_rng(count).uniform(0, np.pi, (count, count))
    distances = np.triu(distances, 1) + np.triu(distances, 1).T

    embedding = embed_distances(distances)

    assert not embedding.trusted
    assert "starts ended in the best solution" in embedding.reason


def test_true_distances_dealt_to_other_pairs_are_not_trusted():
    """The histogram of the distances is right, their arrangement is not."""
    rng, count = np.random.default_rng(0), 150
    pairs = np.triu_indices(count, 1)
    distances = np.zeros((count, count))
    distances[pairs] = rng.permutation(pairwise_distances(_quaternions(count))[pairs])

    assert not embed_distances(distances + distances.T).trusted


def test_equal_distances_are_not_trusted():
    distances = np.full((40, 40), 2.0)
    np.fill_diagonal(distances, 0)

    assert not embed_distances(distances).trusted
    assert not embed_distances(np.zeros((40, 40))).trusted


def _distances(count=6):
    return pairwise_distances(_quaternions(count))


def _changed(row, column, value):
    distances = _distances()
    distances[row, column] = value
    return distances


@pytest.mark.parametrize(
    ("distances", "message"),
    [
        (np.zeros((5, 6)), r"\(5, 6\)"),
        (np.zeros(9), r"\(9,\)"),
        (_distances(3), "P >= 4"),
        (_changed(1, 2, np.nan), r"symmetric, but d\[1, 2\] is nan and d\[2, 1\] is"),
        (_changed(1, 2, np.inf), "infinite"),
        (np.full((6, 6), np.nan), "all are NaN"),
        (_changed(1, 2, -0.5), r"in \[0, pi\] rad, not \[-0.5"),
        (_changed(1, 2, 3.5), r"3.5\]"),
        (180 * _distances() / np.pi, r"in \[0, pi\] rad"),
        (np.triu(_distances()), "symmetric"),
    ],
)
def test_what_is_no_table_of_distances_is_refused(distances, message):
    with pytest.raises(InputError, match=message):
        embed_distances(distances)
