import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from cryotwin.imaging.errors import InputError
from cryotwin.imaging.point_groups import symmetry_matrices
from cryotwin.imaging.rotations import (
    MIRROR,
    matrices_to_quaternions,
    orientation_distances,
    pairwise_distances,
    quaternions_to_matrices,
    rotation_vectors_to_matrices,
    uniform_quaternions,
)
from cryotwin.recovery.alignment import align_orientations
from cryotwin.recovery.normalisers import nearest_in_normaliser, normaliser

GROUPS = ["C2", "C7", "D1", "D2", "D7", "T", "O", "I1", "I2", "I3"]
SEEDS = st.integers(0, 2**32 - 1)
some_examples = settings(max_examples=8, deadline=None)


def _matrices(count, seed=0):
    return quaternions_to_matrices(uniform_quaternions(count, np.random.default_rng(seed)))


def _copies(matrices, symmetry, seed=0):
    """Replaces each orientation by one that looks the same."""
    group = symmetry_matrices(symmetry)
    return matrices @ group[np.random.default_rng(seed).integers(len(group), size=len(matrices))]


def _of_the_normaliser(symmetry, seed=0):
    allowed, rng = normaliser(symmetry), np.random.default_rng(seed)
    turn = allowed.turns[rng.integers(len(allowed.turns))]
    if allowed.axis is None:
        return turn
    return turn @ Rotation.from_rotvec(rng.uniform(0, 2 * np.pi) * allowed.axis).as_matrix()


def _align(estimated, true, ambiguity, symmetry):
    return align_orientations(
        matrices_to_quaternions(estimated),
        matrices_to_quaternions(true),
        ambiguity=ambiguity,
        symmetry=symmetry,
    )


def _distances(matrices, symmetry):
    return pairwise_distances(matrices_to_quaternions(matrices), symmetry=symmetry)


@pytest.mark.parametrize("symmetry", GROUPS)
def test_turns_of_the_normaliser_map_the_group_onto_itself(symmetry):
    group = symmetry_matrices(symmetry)
    for seed in range(10):
        turn = _of_the_normaliser(symmetry, seed)
        for moved in turn.T @ group @ turn:
            assert np.abs(group - moved).max(axis=(1, 2)).min() < 1e-9


@pytest.mark.parametrize("symmetry", ["C3", "D1", "D2", "D4", "T", "O", "I2"])
def test_what_is_near_the_normaliser_is_brought_back_to_it(symmetry):
    turn = _of_the_normaliser(symmetry, 1)
    slip = Rotation.from_rotvec([0.02, -0.05, 0.03]).as_matrix()
    found = nearest_in_normaliser(turn @ slip, symmetry)
    moved = found.T @ symmetry_matrices(symmetry) @ found
    distances = np.abs(moved[:, None] - symmetry_matrices(symmetry)).max(axis=(2, 3))
    assert distances.min(axis=1).max() < 1e-6
    assert np.trace(found.T @ turn) > 1 + 2 * np.cos(0.08)
    assert np.allclose(nearest_in_normaliser(found, symmetry), found, atol=1e-6)


def test_without_symmetry_every_rotation_stays():
    turn = Rotation.from_rotvec([0.3, -1.5, 0.3]).as_matrix()
    assert np.array_equal(nearest_in_normaliser(turn, "C1"), turn)


@pytest.mark.parametrize("symmetry", GROUPS)
def test_turns_of_the_normaliser_keep_all_distances_and_others_do_not(symmetry):
    true = _matrices(40)
    before = _distances(true, symmetry)

    kept = _distances(_matrices(1, 1) @ true @ _of_the_normaliser(symmetry), symmetry)
    turned = _distances(true @ rotation_vectors_to_matrices([0.25, 0.2, -0.15]), symmetry)

    assert np.allclose(kept, before, atol=1e-6)
    assert np.abs(turned - before).max() > 0.1


@pytest.mark.parametrize("symmetry", GROUPS)
def test_the_transpose_changes_distances_under_a_group(symmetry):
    """Without symmetry it is an isometry: the bit of the gauge that a group takes away."""
    true = _matrices(40)
    transposed = np.swapaxes(true, -1, -2)

    assert np.allclose(_distances(transposed, "C1"), _distances(true, "C1"), atol=1e-6)
    assert np.abs(_distances(transposed, symmetry) - _distances(true, symmetry)).max() > 0.1


@pytest.mark.parametrize("symmetry", ["D2", "D3", "T", "O", "I"])
def test_the_turns_of_a_normaliser_are_those_of_its_cosets(symmetry):
    """Turns of all cosets are told apart: none is a turn of the group times another."""
    group, turns = symmetry_matrices(symmetry), normaliser(symmetry).turns
    together = (turns[:, None] @ group).reshape(-1, 3, 3)
    apart = np.abs(together[:, None] - together[None]).max(axis=(2, 3))

    assert (apart + np.eye(len(apart)) > 1e-6).all()
    assert len(together) == {"D2": 24, "D3": 12, "T": 24, "O": 24, "I": 60}[symmetry]


@given(SEEDS, st.sampled_from(GROUPS), st.booleans())
@some_examples
def test_a_turn_of_the_object_its_mirror_image_and_its_copies_are_no_error(
    seed, symmetry, mirrored
):
    true = _matrices(50, seed)
    left = MIRROR if mirrored else np.eye(3)
    estimated = left @ _copies(true, symmetry, seed) @ _matrices(1, seed + 1)[0]

    alignment = _align(estimated, true, "object", symmetry)

    assert alignment.errors.max() < 1e-6
    assert not alignment.transposed


@given(SEEDS, st.sampled_from(GROUPS))
@some_examples
def test_every_isometry_of_the_distances_under_a_group_is_no_o4_error(seed, symmetry):
    true = _matrices(50, seed)
    estimated = _matrices(1, seed + 1)[0] @ _copies(true, symmetry, seed)

    alignment = _align(estimated @ _of_the_normaliser(symmetry, seed), true, "o4", symmetry)

    assert alignment.errors.max() < 1e-6


@pytest.mark.parametrize("symmetry", ["C7", "D2", "I"])
@pytest.mark.parametrize("ambiguity", ["object", "o4"])
def test_an_alignment_under_a_group_says_how_it_was_reached(ambiguity, symmetry):
    true = _matrices(100)
    errors = rotation_vectors_to_matrices(np.random.default_rng(1).normal(0, 0.05, (100, 3)))
    left = MIRROR if ambiguity == "object" else _matrices(1, 3)[0]
    estimated = left @ errors @ _copies(true, symmetry)

    alignment = _align(estimated, true, ambiguity, symmetry)

    reached = matrices_to_quaternions(alignment.left @ estimated @ alignment.right)
    assert orientation_distances(reached, alignment.quaternions).max() < 1e-6
    left_over = orientation_distances(
        alignment.quaternions, matrices_to_quaternions(true), symmetry=symmetry
    )
    assert np.allclose(alignment.errors, left_over)
    planted = orientation_distances(
        matrices_to_quaternions(errors), np.array([1.0, 0, 0, 0])
    ).mean()
    assert 0.9 * planted < alignment.mean_error <= planted


@pytest.mark.parametrize("ambiguity", ["object", "o4"])
def test_a_quarter_of_wild_orientations_does_not_pull_the_others_off(ambiguity):
    true = _matrices(300)
    estimated = _copies(true, "D2")
    estimated[:75] = _matrices(75, 8)

    alignment = _align(estimated, true, ambiguity, "D2")

    assert alignment.errors[75:].max() < 0.01


def test_a_turn_of_all_detectors_is_a_physical_error_and_no_o4_error_under_a_group():
    true, left = _matrices(200), rotation_vectors_to_matrices([0.4, -0.5, 0.6])

    assert _align(left @ true, true, "object", "D2").mean_error > 0.3
    assert _align(left @ true, true, "o4", "D2").mean_error < 1e-6


def test_axes_elsewhere_are_no_physical_error_but_no_isometry():
    true = _matrices(200)
    estimated = true @ rotation_vectors_to_matrices([0.3, 0.2, -0.2])

    assert _align(estimated, true, "object", "D2").mean_error < 1e-6
    assert _align(estimated, true, "o4", "D2").mean_error > 0.1


def test_unrelated_orientations_stay_as_far_apart_as_a_group_lets_them():
    """Under D2 the mean distance of unrelated orientations is 1.31 rad."""
    for ambiguity in ("object", "o4"):
        assert _align(_matrices(400, 1), _matrices(400, 2), ambiguity, "D2").mean_error > 1.0


def test_an_unknown_group_is_named():
    with pytest.raises(InputError, match="'X3'"):
        _align(_matrices(5), _matrices(5), "o4", "X3")
