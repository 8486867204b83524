import numpy as np
import pytest

from cryotwin.imaging.errors import InputError
from cryotwin.imaging.orientations import draw_quaternions
from cryotwin.imaging.rotations import (
    multiply_quaternions,
    pairwise_distances,
    uniform_quaternions,
)
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


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"loss": "cubes"}, "'squares', 'clipped', 'robust', not 'cubes'"),
        ({"weights": "short"}, "'equal', 'distance' or .*, not 'short'"),
        ({"weights": np.ones((5, 5))}, r"\(6, 6\) as distances, not \(5, 5\)"),
        ({"weights": -np.ones((6, 6))}, "at least 0"),
        ({"weights": np.triu(np.ones((6, 6)))}, "symmetric"),
        ({"limit_rad": 4.0}, r"in \(0, pi\], not 4.0"),
        ({"starts": 0}, "at least 1, not 0"),
    ],
)
def test_an_option_that_makes_no_sense_is_named(options, message):
    with pytest.raises(InputError, match=message):
        embed_distances(_distances(), **options)


def _with_gaps(known):
    distances = pairwise_distances(_quaternions(len(known)))
    distances[~known & ~known.T] = np.nan
    return distances


def _between(*sizes):
    """Lets only the members of the same part know their distances."""
    label = np.repeat(np.arange(len(sizes)), sizes)
    return label[:, None] == label


def _few_for(particle, count, size=12):
    known = np.ones((size, size), dtype=bool)
    known[particle, count:] = False
    known[count:, particle] = False
    return known


@pytest.mark.parametrize(
    ("known", "message"),
    [
        (_few_for(7, 0), "particle 7 has no distance to any other"),
        (_few_for(7, 2), "do not determine .* particle 7 has 2 distances, at least 3"),
        (_between(8, 6), "do not connect the particles: 2 parts of 8, 6 particles"),
        (np.abs(np.subtract.outer(np.arange(40), np.arange(40))) <= 2, "has 2 distances"),
        (
            np.abs((np.subtract.outer(np.arange(40), np.arange(40)) + 20) % 40 - 20) <= 2,
            "80 distances for 114 unknowns",
        ),
    ],
)
def test_distances_that_leave_orientations_open_are_refused(known, message):
    with pytest.raises(InputError, match=message):
        embed_distances(_with_gaps(known))


@pytest.mark.parametrize("share", [0.3, 0.8])
def test_missing_distances_are_not_needed(share):
    true, rng = _quaternions(150), np.random.default_rng(1)
    distances = pairwise_distances(true)
    lost = np.triu(rng.random(distances.shape) < share, 1)
    distances[lost | lost.T] = np.nan

    embedding = embed_distances(distances)

    assert _o4_error(embedding.quaternions, true) < 1e-4
    assert embedding.trusted
    assert embedding.loss < 1e-8


def test_two_sets_that_hang_together_by_a_hinge_are_not_trusted():
    """Two points in common leave one turn open, that about the axis through both."""
    known = _between(40, 40)
    known[38:40, :] = known[:, 38:40] = True
    distances = _with_gaps(known)

    assert not embed_distances(distances, starts=6).trusted


def test_a_weight_of_zero_is_a_missing_distance():
    true = _quaternions(100)
    distances = pairwise_distances(true)
    wrong = np.triu(np.random.default_rng(1).random(distances.shape) < 0.3, 1)
    wrong |= wrong.T
    distances[wrong] = 1.0

    embedding = embed_distances(distances, weights=1.0 - wrong)

    assert _o4_error(embedding.quaternions, true) < 1e-4


def test_the_clipped_loss_takes_the_bias_of_clipped_distances_away():
    """Errors of 0.9 rad (the paper's 0.8 rad^2), nearly a third of the distances clipped at pi."""
    true = _quaternions(400)
    distances = _perturbed(pairwise_distances(true), np.sqrt(0.8))

    clipped = embed_distances(distances)
    squares = embed_distances(distances, loss="squares", weights="equal")

    bound = np.sqrt(8 / np.pi * 3 * 0.8 / 400)
    assert _o4_error(clipped.quaternions, true) < 1.15 * bound
    assert _o4_error(clipped.quaternions, true) < _o4_error(squares.quaternions, true)


def test_the_robust_loss_is_not_moved_by_wrong_distances():
    true, rng = _quaternions(300), np.random.default_rng(1)
    distances = _perturbed(pairwise_distances(true), 0.05)
    wrong = np.triu(rng.random(distances.shape) < 0.2, 1)
    distances[wrong] = rng.uniform(0, np.pi, wrong.sum())
    distances.T[wrong] = distances[wrong]

    robust = embed_distances(distances, loss="robust")
    clipped = embed_distances(distances)

    bound = np.sqrt(8 / np.pi * 3 * 0.05**2 / (0.8 * 300))
    assert _o4_error(robust.quaternions, true) < 1.25 * bound
    assert _o4_error(clipped.quaternions, true) > 2 * bound


def test_weights_by_distance_prefer_the_distances_with_small_errors():
    true = _quaternions(300)
    exact = pairwise_distances(true)
    noise = np.triu(np.random.default_rng(1).normal(size=exact.shape), 1)
    distances = np.clip(exact + (noise + noise.T) * np.where(exact < 2, 0.02, 0.5), 0, np.pi)
    np.fill_diagonal(distances, 0)

    by_distance = embed_distances(distances)
    equal = embed_distances(distances, weights="equal")

    assert _o4_error(by_distance.quaternions, true) < 0.3 * _o4_error(equal.quaternions, true)


def test_short_distances_alone_do_not_let_the_orientations_collapse():
    """The paper's 3.3: what is beyond the limit is known to be at least that far, no more."""
    true = _quaternions(200)
    distances = _perturbed(pairwise_distances(true), 0.05)
    distances -= 0.7 * np.maximum(distances - 1.8, 0)  # A plateau, as that of the paper's network.

    limited = embed_distances(distances, limit_rad=1.8)
    misled = embed_distances(distances, weights="equal")

    assert _o4_error(limited.quaternions, true) < 0.05
    assert _o4_error(limited.quaternions, true) < 0.5 * _o4_error(misled.quaternions, true)


@pytest.mark.parametrize("symmetry", ["C1", "D2"])
def test_views_from_one_direction_are_called_that(symmetry):
    angles = np.random.default_rng(0).uniform(0, 2 * np.pi, 60)
    turns = np.stack([np.cos(angles / 2), 0 * angles, 0 * angles, np.sin(angles / 2)], axis=1)
    true = multiply_quaternions(turns, _quaternions(1, 5))

    embedding = embed_distances(pairwise_distances(true, symmetry=symmetry), symmetry=symmetry)

    assert not embedding.trusted
    assert "one direction" in embedding.reason


@pytest.mark.parametrize(
    ("count", "reason"), [(4, "6 distances for 6 unknowns"), (6, "15 distances for 12 unknowns")]
)
def test_as_many_unknowns_as_distances_are_not_trusted(count, reason):
    embedding = embed_distances(pairwise_distances(_quaternions(count)))

    assert not embedding.trusted
    assert reason in embedding.reason


def test_few_distances_with_large_errors_are_not_trusted():
    distances = _perturbed(pairwise_distances(_quaternions(20)), 0.4)

    embedding = embed_distances(distances)

    assert not embedding.trusted


@pytest.mark.parametrize("count", [8, 12, 20, 40])
@pytest.mark.parametrize("seed", range(3))
def test_what_is_trusted_of_exact_distances_is_right(count, seed):
    true = draw_quaternions("euler", count, np.random.default_rng(seed))

    embedding = embed_distances(pairwise_distances(true), seed=seed)

    error = _o4_error(embedding.quaternions, true)
    # Distances of 8 views are explained to 0.01 rad by orientations that are a little off as well.
    assert embedding.trusted == (error < (1e-4 if count > 8 else 0.05))
