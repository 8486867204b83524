import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cryotwin.imaging.errors import InputError
from cryotwin.imaging.fundamental_domain import domain_radius
from cryotwin.imaging.point_groups import symmetry_quaternions
from cryotwin.imaging.rotations import (
    multiply_quaternions,
    orientation_distances,
    pairwise_distances,
    uniform_quaternions,
)
from cryotwin.recovery.alignment import align_orientations
from cryotwin.recovery.embedding import embed_distances, embedding_loss
from cryotwin.recovery.embedding_descent import Terms, descend
from cryotwin.recovery.embedding_loops import pulls
from cryotwin.recovery.orientation_grid import orientation_grid

GROUPS = ["C2", "C7", "D2", "D7", "T", "O", "I"]
SEEDS = st.integers(0, 2**32 - 1)
some_examples = settings(max_examples=15, deadline=None)


def _quaternions(count, seed=0):
    return uniform_quaternions(count, np.random.default_rng(seed))


def _perturbed(distances, spread_rad, seed=0):
    errors = np.triu(np.random.default_rng(seed).normal(0, spread_rad, distances.shape), 1)
    perturbed = np.clip(distances + errors + errors.T, 0, np.pi)
    np.fill_diagonal(perturbed, 0)
    return perturbed


def _o4_error(estimated, true, symmetry):
    return align_orientations(estimated, true, ambiguity="o4", symmetry=symmetry).mean_error


@pytest.mark.parametrize("symmetry", GROUPS)
def test_exact_distances_give_the_orientations(symmetry):
    true = _quaternions(100)

    distances = pairwise_distances(true, symmetry=symmetry)
    embedding = embed_distances(distances, symmetry=symmetry, starts=4)

    assert _o4_error(embedding.quaternions, true, symmetry) < 1e-3
    assert embedding.loss < 1e-8
    assert embedding.trusted
    assert embedding.quaternions.shape == (100, 4)
    assert (embedding.quaternions[:, 0] >= 0).all()
    assert np.allclose(np.linalg.norm(embedding.quaternions, axis=1), 1)


def test_errors_of_the_distances_average_out_over_the_pairs_of_many_points():
    true, spread = _quaternions(500), 0.3

    embedding = embed_distances(
        _perturbed(pairwise_distances(true, symmetry="D2"), spread), symmetry="d2"
    )

    # Each orientation has three numbers from 500 distances.
    assert _o4_error(embedding.quaternions, true, "D2") < 2 * spread * 3 / np.sqrt(500)
    assert embedding.trusted


def test_the_choice_among_equivalent_orientations_changes_no_distance_and_no_error():
    true, rng = _quaternions(60), np.random.default_rng(1)
    copies = multiply_quaternions(true, symmetry_quaternions("T")[rng.integers(12, size=60)])

    embedding = embed_distances(pairwise_distances(copies, symmetry="T"), symmetry="T", starts=2)

    assert _o4_error(embedding.quaternions, true, "T") < 1e-3


def test_the_same_seed_gives_the_same_orientations_and_leaves_the_input_alone():
    distances = _perturbed(pairwise_distances(_quaternions(40), symmetry="D2"), 0.1)
    before = distances.copy()

    first, second = (embed_distances(distances, symmetry="D2", seed=3, starts=2) for _ in "12")

    assert np.array_equal(first.quaternions, second.quaternions)
    assert np.array_equal(distances, before)


@pytest.mark.parametrize("symmetry", ["D2", "O"])
def test_distances_from_nothing_are_not_trusted(symmetry):
    distances = np.random.default_rng(0).uniform(0, domain_radius(symmetry), (150, 150))
    distances = np.triu(distances, 1) + np.triu(distances, 1).T

    assert not embed_distances(distances, symmetry=symmetry, starts=4).trusted


def test_true_distances_dealt_to_other_pairs_are_not_trusted():
    """The histogram of the distances is right, their arrangement is not."""
    rng, count = np.random.default_rng(0), 150
    pairs = np.triu_indices(count, 1)
    distances = np.zeros((count, count))
    true = pairwise_distances(_quaternions(count), symmetry="D2")
    distances[pairs] = rng.permutation(true[pairs])

    assert not embed_distances(distances + distances.T, symmetry="D2", starts=4).trusted


def test_distances_under_another_group_are_not_trusted():
    """Distances without symmetry are no distances under D2: nothing fits, and starts disagree."""
    embedding = embed_distances(pairwise_distances(_quaternions(150)), symmetry="D2", starts=4)

    assert not embedding.trusted
    assert embedding.loss > 0.05


def test_equal_distances_are_not_trusted():
    distances = np.full((40, 40), 1.0)
    np.fill_diagonal(distances, 0)

    assert not embed_distances(distances, symmetry="D2", starts=4).trusted
    assert not embed_distances(np.zeros((40, 40)), symmetry="D2", starts=4).trusted


def test_as_few_as_four_points_are_embedded():
    distances = pairwise_distances(_quaternions(4), symmetry="D2")

    embedding = embed_distances(distances, symmetry="D2")

    assert embedding.loss < 1e-4


def test_an_unknown_group_is_named():
    with pytest.raises(InputError, match="'X3'"):
        embed_distances(np.zeros((6, 6)), symmetry="X3")


@pytest.mark.parametrize("symmetry", ["C1", *GROUPS])
def test_the_pull_is_the_way_the_misfit_falls(symmetry):
    points, others, rng = _quaternions(5, 1), _quaternions(30, 2), np.random.default_rng(4)
    group = symmetry_quaternions(symmetry)
    wanted = pairwise_distances(_quaternions(5, 3), others, symmetry=symmetry).astype(np.float32)
    weights = rng.uniform(0, 2, wanted.shape).astype(np.float32)
    weights[2, 4] = 0
    tangents = rng.normal(size=(5, 4))
    tangents -= np.sum(tangents * points, axis=1, keepdims=True) * points

    misfits, pull, stiffness = pulls(wanted, weights, points, others, group)

    residuals = pairwise_distances(points, others, symmetry=symmetry) - wanted
    assert np.allclose(misfits, np.sum(weights * residuals**2, axis=1), atol=1e-5)
    step = 1e-6
    ahead, *_ = pulls(wanted, weights, points + step * tangents, others, group)
    behind, *_ = pulls(wanted, weights, points - step * tangents, others, group)
    # A quaternion moves by half the angle that its rotation turns by.
    slopes = -8 * np.sum(pull * tangents, axis=1)
    assert np.allclose((ahead - behind) / (2 * step), slopes, rtol=1e-3, atol=1e-3)
    # Each distance holds a point in one direction with its weight.
    assert np.allclose(np.trace(stiffness, axis1=1, axis2=2), weights.sum(axis=1))
    assert np.allclose(np.einsum("pij,pj->pi", stiffness, points), 0, atol=1e-9)


@given(SEEDS, st.sampled_from(GROUPS))
@some_examples
def test_a_descent_from_near_the_truth_ends_there(seed, symmetry):
    true = _quaternions(40, seed)
    distances = pairwise_distances(true, symmetry=symmetry).astype(np.float32)
    weights = (1 - np.eye(40)).astype(np.float32)
    start = true + np.random.default_rng([seed, 1]).normal(0, 0.01, true.shape)
    start /= np.linalg.norm(start, axis=1, keepdims=True)

    found, loss = descend(Terms(distances, weights), start, symmetry_quaternions(symmetry), 300)

    before = embedding_loss(pairwise_distances(true, symmetry=symmetry), start, symmetry=symmetry)
    assert loss < 1e-4 * before
    assert orientation_distances(found, true, symmetry=symmetry).max() < 0.1


@pytest.mark.parametrize("symmetry", GROUPS)
def test_the_grid_leaves_no_orientation_far_from_its_nodes(symmetry):
    grid = orientation_grid(symmetry, 500)

    gaps = pairwise_distances(_quaternions(500), grid.quaternions, symmetry=symmetry).min(axis=1)

    assert len(grid.quaternions) == pytest.approx(500, rel=0.2)
    assert gaps.max() < 1.2 * grid.spacing_rad
