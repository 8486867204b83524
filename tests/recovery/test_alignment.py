import numpy as np
import pytest
from brute_alignment import least_mean_angle
from hypothesis import given, settings
from hypothesis import strategies as st

from cryotwin.imaging.errors import InputError
from cryotwin.imaging.rotations import (
    MIRROR,
    matrices_to_quaternions,
    nearest_rotations,
    orientation_distances,
    quaternions_to_matrices,
    rotation_vectors_to_matrices,
    uniform_quaternions,
)
from cryotwin.recovery.alignment import align_orientations

SEEDS = st.integers(0, 2**32 - 1)
some_examples = settings(max_examples=15)


def _matrices(count, seed=0):
    return quaternions_to_matrices(uniform_quaternions(count, np.random.default_rng(seed)))


def _align(estimated, true, ambiguity):
    return align_orientations(
        matrices_to_quaternions(estimated), matrices_to_quaternions(true), ambiguity=ambiguity
    )


@given(SEEDS, st.integers(3, 60), st.booleans())
@some_examples
def test_a_turn_of_the_object_and_its_mirror_image_are_no_error(seed, count, mirrored):
    true = _matrices(count, seed)
    turn = _matrices(1, seed + 1)[0]
    left = MIRROR if mirrored else np.eye(3)

    alignment = _align(left @ true @ turn, true, "object")

    assert alignment.errors.max() < 1e-6
    assert np.allclose(alignment.left, left)
    assert np.allclose(alignment.right, turn.T, atol=1e-6)
    assert not alignment.transposed


@given(SEEDS, st.integers(10, 60), st.booleans())
@some_examples
def test_every_isometry_of_the_distances_is_no_o4_error(seed, count, transposed):
    true = _matrices(count, seed)
    left, right = _matrices(2, seed + 1)
    source = np.swapaxes(true, -1, -2) if transposed else true

    alignment = _align(left @ source @ right, true, "o4")

    assert alignment.errors.max() < 1e-6
    assert alignment.transposed == transposed


@pytest.mark.parametrize("mirrored", [False, True])
def test_a_mirror_and_a_transpose_are_told_apart(mirrored):
    true = _matrices(200)
    left = MIRROR if mirrored else np.eye(3)
    transposed = np.swapaxes(left @ true, -1, -2)

    assert _align(left @ true, true, "object").mean_error < 1e-6
    assert _align(transposed, true, "object").mean_error > 0.8
    assert _align(transposed, true, "o4").mean_error < 1e-6


def test_a_turn_of_all_detectors_is_a_physical_error_and_no_o4_error():
    true, left = _matrices(200), rotation_vectors_to_matrices([0.7, -0.5, 0.9])

    assert _align(left @ true, true, "object").mean_error > 0.3
    assert _align(left @ true, true, "o4").mean_error < 1e-6


@pytest.mark.parametrize("ambiguity", ["object", "o4"])
def test_an_alignment_says_how_it_was_reached(ambiguity):
    true = _matrices(50)
    noise = rotation_vectors_to_matrices(np.random.default_rng(1).normal(0, 0.1, (50, 3)))
    left, right = (MIRROR, _matrices(1, 3)[0]) if ambiguity == "object" else _matrices(2, 3)
    estimated = left @ true @ noise @ right

    alignment = _align(estimated, true, ambiguity)

    source = np.swapaxes(estimated, -1, -2) if alignment.transposed else estimated
    reached = matrices_to_quaternions(alignment.left @ source @ alignment.right)
    assert np.allclose(orientation_distances(reached, alignment.quaternions), 0, atol=1e-6)
    errors = orientation_distances(alignment.quaternions, matrices_to_quaternions(true))
    assert np.allclose(alignment.errors, errors)
    assert alignment.mean_error == pytest.approx(errors.mean())
    assert alignment.median_error == pytest.approx(np.median(errors))


@pytest.mark.parametrize("ambiguity", ["object", "o4"])
def test_the_mean_error_is_no_larger_than_with_the_planted_alignment(ambiguity):
    true = _matrices(300)
    turns = rotation_vectors_to_matrices(np.random.default_rng(2).normal(0, 0.08, (300, 3)))
    left, right = _matrices(2, 5)
    left = MIRROR if ambiguity == "object" else left

    alignment = _align(left @ turns @ true @ right, true, ambiguity)

    planted = np.linalg.norm(np.random.default_rng(2).normal(0, 0.08, (300, 3)), axis=1).mean()
    assert alignment.mean_error <= planted
    assert alignment.mean_error > 0.95 * planted


@pytest.mark.parametrize("ambiguity", ["object", "o4"])
def test_a_quarter_of_wild_orientations_does_not_pull_the_others_off(ambiguity):
    true = _matrices(400)
    estimated = true @ _matrices(1, 7)[0]
    estimated[:100] = _matrices(100, 8)

    alignment = _align(estimated, true, ambiguity)

    assert alignment.errors[100:].max() < 0.01
    assert alignment.median_error < 0.01


def test_the_o4_error_is_never_above_the_physical_error():
    for seed in range(5):
        true = _matrices(60, seed)
        turns = np.random.default_rng(seed).normal(0, 0.3, (60, 3))
        estimated = rotation_vectors_to_matrices(turns) @ true

        o4, physical = (_align(estimated, true, ambiguity) for ambiguity in ("o4", "object"))

        assert o4.mean_error <= physical.mean_error + 1e-3


def test_unrelated_orientations_stay_far_apart():
    assert _align(_matrices(500, 1), _matrices(500, 2), "object").mean_error > 1.5
    assert _align(_matrices(500, 1), _matrices(500, 2), "o4").mean_error > 1.4


def test_the_sign_of_a_quaternion_does_not_matter():
    quaternions = uniform_quaternions(40, np.random.default_rng(0))
    signs = np.where(np.arange(40) % 2, 1, -1)[:, None]

    for ambiguity in ("object", "o4"):
        alignment = align_orientations(signs * quaternions, quaternions, ambiguity=ambiguity)
        assert alignment.mean_error < 1e-6


def test_nearest_rotations_in_four_dimensions_are_proper():
    matrices = np.random.default_rng(0).standard_normal((20, 4, 4))

    nearest = nearest_rotations(matrices)

    assert np.allclose(np.linalg.det(nearest), 1)
    assert np.allclose(nearest @ np.swapaxes(nearest, -1, -2), np.eye(4), atol=1e-12)
    assert np.allclose(nearest_rotations(2.5 * nearest), nearest)


def test_what_cannot_be_aligned_is_named():
    quaternions = uniform_quaternions(5, np.random.default_rng(0))

    with pytest.raises(InputError, match=r"\(5, 4\) and \(4, 4\)"):
        align_orientations(quaternions, quaternions[:4])
    with pytest.raises(InputError, match=r"\(5, 3\)"):
        align_orientations(quaternions[:, :3], quaternions[:, :3])
    with pytest.raises(InputError, match="'object' or 'o4', not 'all'"):
        align_orientations(quaternions, quaternions, ambiguity="all")


@pytest.mark.parametrize(
    ("ambiguity", "symmetry"), [("object", "C1"), ("object", "D2"), ("o4", "D2")]
)
@pytest.mark.parametrize("spread_rad", [0.1, 0.8, np.pi])
def test_no_search_of_a_grid_finds_a_smaller_mean_angle(ambiguity, symmetry, spread_rad):
    rng = np.random.default_rng(3)
    true = uniform_quaternions(15, rng)
    errors = rotation_vectors_to_matrices(rng.normal(0, spread_rad, (15, 3)))
    estimated = matrices_to_quaternions(errors @ quaternions_to_matrices(true))

    alignment = align_orientations(estimated, true, ambiguity=ambiguity, symmetry=symmetry)

    least = least_mean_angle(
        estimated, true, ambiguity, symmetry, spacing_rad=0.6 if ambiguity == "o4" else 0.5, kept=4
    )
    assert alignment.mean_error < least + 1e-6
