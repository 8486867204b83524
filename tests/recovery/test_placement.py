import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from cryotwin.imaging.errors import InputError
from cryotwin.imaging.orientations import draw_quaternions
from cryotwin.imaging.rotations import (
    orientation_distances,
    pairwise_distances,
    uniform_quaternions,
)
from cryotwin.recovery.placement import LandmarkPlacer, place_from_landmarks

GROUPS = ["C1", "C2", "C7", "D2", "D7", "T", "O", "I"]


def _quaternions(count, seed=0):
    return uniform_quaternions(count, np.random.default_rng(seed))


def test_points_are_placed_in_closed_form_from_exact_distances_to_landmarks_of_any_distribution():
    landmarks = draw_quaternions("so3-quarter", 60, np.random.default_rng(1))
    true = _quaternions(100)
    distances = orientation_distances(true[:, None], landmarks[None])

    placed = place_from_landmarks(distances, landmarks)

    assert orientation_distances(placed, true).max() < 1e-3


@pytest.mark.parametrize("symmetry", GROUPS)
def test_exact_distances_give_the_orientations(symmetry):
    landmarks, true = _quaternions(200), _quaternions(300, 1)

    placed = LandmarkPlacer(landmarks, symmetry=symmetry).place(
        pairwise_distances(true, landmarks, symmetry=symmetry)
    )

    errors = orientation_distances(placed.quaternions, true, symmetry=symmetry)
    assert np.mean(errors < 1e-4) > 0.99
    # Where it is not the orientation, the residual says so.
    assert placed.residuals[errors > 1e-4].min(initial=1) > 20 * placed.residuals.min()
    assert (placed.quaternions[:, 0] >= 0).all()


@pytest.mark.parametrize("symmetry", ["C1", "D2"])
def test_errors_of_the_distances_average_out_over_the_landmarks(symmetry):
    landmarks, true = _quaternions(600), _quaternions(400, 1)
    exact = pairwise_distances(true, landmarks, symmetry=symmetry)
    spread = 0.1
    noisy = exact + np.random.default_rng(2).normal(0, spread, exact.shape)

    placed = LandmarkPlacer(landmarks, symmetry=symmetry).place(noisy)

    errors = orientation_distances(placed.quaternions, true, symmetry=symmetry)
    # Three numbers from L distances: each has the variance 3 spread^2 / L, for uniform landmarks.
    expected = 3 * spread / np.sqrt(len(landmarks))
    assert np.sqrt(np.mean(errors**2)) < 1.15 * expected
    assert np.allclose(placed.residuals.mean(), spread, rtol=0.03)


@given(
    arrays(np.float64, (1, 4), elements=st.floats(-1, 1)).filter(lambda q: np.linalg.norm(q) > 0.1),
    st.integers(0, 10**6),
)
def test_a_turn_of_the_landmarks_turns_what_is_placed(turn, seed):
    from cryotwin.imaging.rotations import multiply_quaternions

    turn = turn / np.linalg.norm(turn)
    landmarks, true = _quaternions(50, seed), _quaternions(3, seed + 1)
    noise = np.random.default_rng(seed).normal(0, 0.05, (3, 50))
    distances = pairwise_distances(true, landmarks) + noise

    placed = LandmarkPlacer(landmarks).place(distances).quaternions
    turned = LandmarkPlacer(multiply_quaternions(turn, landmarks)).place(distances).quaternions

    assert orientation_distances(multiply_quaternions(turn, placed), turned).max() < 1e-3


def test_no_small_turn_of_a_placed_point_fits_its_distances_better():
    landmarks, true = _quaternions(80), _quaternions(20, 1)
    distances = pairwise_distances(true, landmarks)
    distances += np.random.default_rng(2).normal(0, 0.2, distances.shape)
    distances = distances.astype(np.float32)

    placed = LandmarkPlacer(landmarks).place(distances)

    def misfit(quaternions):
        return ((pairwise_distances(quaternions, landmarks) - distances) ** 2).sum(axis=1)

    here = misfit(placed.quaternions)
    assert np.allclose(here, 80 * placed.residuals**2, rtol=1e-5)
    for axis in np.eye(4):
        for step in (0.003, -0.003):
            near = placed.quaternions + step * axis
            near /= np.linalg.norm(near, axis=1, keepdims=True)
            assert (misfit(near) > here * (1 - 1e-6)).all()


@pytest.mark.parametrize("symmetry", ["C1", "D2"])
def test_distances_that_are_missing_are_passed_over(symmetry):
    landmarks, true = _quaternions(100), _quaternions(50, 1)
    distances = pairwise_distances(true, landmarks, symmetry=symmetry)
    distances[np.random.default_rng(0).random(distances.shape) < 0.4] = np.nan

    placed = LandmarkPlacer(landmarks, symmetry=symmetry).place(distances)

    errors = orientation_distances(placed.quaternions, true, symmetry=symmetry)
    assert np.mean(errors < 1e-4) > 0.95


def test_a_point_is_placed_alike_alone_and_among_others():
    landmarks, true = _quaternions(60), _quaternions(30, 1)
    distances = pairwise_distances(true, landmarks)
    placer = LandmarkPlacer(landmarks)

    together = placer.place(distances)
    alone = [placer.place(row[None]) for row in distances]

    assert np.allclose(together.quaternions, [one.quaternions[0] for one in alone], atol=1e-6)
    assert np.allclose(together.residuals, [one.residuals[0] for one in alone], atol=1e-6)


def test_landmarks_and_distances_that_do_not_fit_are_told_in_one_line():
    with pytest.raises(InputError, match=r"\(L, 4\) with L >= 4, not \(3, 4\)"):
        LandmarkPlacer(_quaternions(3))
    with pytest.raises(InputError, match=r"must be \(P, 5\), one for each landmark, not \(2, 4\)"):
        LandmarkPlacer(_quaternions(5)).place(np.zeros((2, 4)))
