import numpy as np
import pytest

from cryotwin.imaging.fourier import fourier_disc, images_to_disc
from cryotwin.imaging.microscope import shift_images
from cryotwin.imaging.projection import project_volume
from cryotwin.imaging.rotations import (
    matrices_to_quaternions,
    orientation_distances,
    quaternions_to_matrices,
    rotation_grid,
    rotation_vectors_to_matrices,
    uniform_quaternions,
)
from cryotwin.recovery.matching import LocalProblem, _moments, match_globally, match_locally

SIZE = 32
COUNT = 30
DISC = fourier_disc(SIZE)
LOW = DISC.radius <= 10


@pytest.fixture(scope="module")
def volume():
    """Seven blobs without symmetry, smooth enough for 32 px."""
    z, y, x = np.mgrid[:SIZE, :SIZE, :SIZE] - SIZE // 2
    return sum(
        weight * np.exp(-((x - a) ** 2 + (y - b) ** 2 + (z - c) ** 2) / 6)
        for weight, a, b, c in np.random.default_rng(3).uniform(
            (0.5, -7, -7, -7), (1.5, 7, 7, 7), (7, 4)
        )
    ).astype(np.float32)


@pytest.fixture(scope="module")
def views(volume):
    """Displaced projections, with the rotations and displacements in pixels."""
    rng = np.random.default_rng(0)
    rotations = quaternions_to_matrices(uniform_quaternions(COUNT, rng))
    shifts = rng.uniform(-1.5, 1.5, (COUNT, 2))
    images = shift_images(project_volume(volume, rotations), shifts)
    return images_to_disc(images, DISC), rotations, shifts


def _turned(rotations, angle_rad, seed=1):
    axes = np.random.default_rng(seed).standard_normal((len(rotations), 3))
    axes *= angle_rad / np.linalg.norm(axes, axis=1, keepdims=True)
    return rotation_vectors_to_matrices(axes) @ rotations


def _distances(first, second):
    return orientation_distances(matrices_to_quaternions(first), matrices_to_quaternions(second))


def test_matching_returns_to_orientations_and_shifts_that_it_was_moved_from(volume, views):
    coefficients, rotations, shifts = views
    start = _turned(rotations, 0.1)

    found, moved, errors = match_locally(
        coefficients, volume, start, shifts + 0.5, DISC, LOW, steps=8, fit_shifts=True
    )

    assert _distances(start, rotations).min() > 0.099
    assert _distances(found, rotations).max() < 0.002
    assert np.abs(moved - shifts).max() < 0.01
    scale = np.mean(np.abs(coefficients[:, LOW]) ** 2, axis=1)
    assert (errors < 1e-4 * scale).all()


def test_shifts_that_are_known_are_left_alone(volume, views):
    coefficients, rotations, shifts = views

    found, moved, _ = match_locally(
        coefficients, volume, _turned(rotations, 0.1), shifts, DISC, LOW, steps=8, fit_shifts=False
    )

    assert np.array_equal(moved, shifts)
    assert _distances(found, rotations).max() < 0.002


def test_no_step_makes_the_match_worse(volume, views):
    coefficients, rotations, shifts = views
    noise = np.random.default_rng(5).standard_normal((2, *coefficients.shape))
    noisy = coefficients + np.abs(coefficients).mean() * (noise[0] + 1j * noise[1])
    state = (_turned(rotations, 0.3), np.zeros_like(shifts))
    before = None
    for _ in range(4):
        *state, errors = match_locally(
            noisy.astype(np.complex64), volume, *state, DISC, LOW, steps=1, fit_shifts=True
        )
        assert before is None or (errors <= before * (1 + 1e-5)).all()
        before = errors


def test_every_image_is_matched_on_its_own(volume, views):
    coefficients, rotations, shifts = views
    # More images than one call of the NUFFT takes.
    rows = np.arange(220) % COUNT
    start = _turned(rotations[rows], 0.1)
    settings = {"steps": 3, "fit_shifts": True}

    together, _, _ = match_locally(
        coefficients[rows], volume, start, shifts[rows], DISC, LOW, **settings
    )
    alone, _, _ = match_locally(
        coefficients[rows[-3:]], volume, start[-3:], shifts[rows[-3:]], DISC, LOW, **settings
    )

    assert _distances(together[-3:], alone).max() < 1e-3


@pytest.mark.parametrize("direction", range(5), ids=["turn x", "turn y", "turn z", "x", "y"])
def test_derivatives_agree_with_finite_differences(direction, volume, views):
    coefficients, rotations, shifts = views
    problem = LocalProblem(coefficients, _moments(volume), DISC, fit_shifts=True, threads=1)
    residual, jacobian = problem.linearise(rotations, shifts)

    def predicted(step):
        vector, move = np.zeros((COUNT, 3)), np.zeros((COUNT, 2))
        target = (vector, move)[direction // 3]
        target[:, direction % 3] = step
        turned = rotation_vectors_to_matrices(vector) @ rotations
        return -problem.linearise(turned, shifts + move)[0]

    step = 0.01
    expected = (predicted(step) - predicted(-step)) / (2 * step)
    difference = np.linalg.norm(jacobian[:, direction] - expected, axis=1)
    assert residual.shape == (COUNT, 2 * len(DISC.kx))
    assert (difference < 0.01 * np.linalg.norm(expected, axis=1)).all()


def test_the_linearised_prediction_is_the_projection(volume, views):
    coefficients, rotations, shifts = views
    problem = LocalProblem(coefficients, _moments(volume), DISC, fit_shifts=False, threads=1)
    residual, _ = problem.linearise(rotations, shifts)
    scale = np.linalg.norm(coefficients, axis=1)
    assert (np.linalg.norm(residual, axis=1) < 1e-3 * scale).all()


def test_the_search_finds_the_nearest_orientations_and_shifts_of_its_grid(volume):
    grid = rotation_grid(0.3)
    chosen = np.arange(5, len(grid), len(grid) // 15)
    shift_grid = np.array([[0.0, 0.0], [2.0, -1.0], [-1.0, 2.0]])
    shifts = shift_grid[np.arange(len(chosen)) % 3]
    images = shift_images(project_volume(volume, _turned(grid[chosen], 0.02)), shifts + 0.1)

    which, moved = match_globally(
        images_to_disc(images, DISC), volume, grid, DISC, DISC.radius <= 6, shifts_px=shift_grid
    )

    assert np.array_equal(which, chosen)
    assert np.array_equal(moved, shifts)


def test_the_search_prefers_the_least_squared_difference_over_the_brightest(volume):
    grid = quaternions_to_matrices(uniform_quaternions(40, np.random.default_rng(8)))
    references = images_to_disc(project_volume(volume, grid), DISC)
    images = references + 0.5 * np.roll(references, 1, axis=0)

    which, _ = match_globally(images, volume, grid, DISC, LOW, shifts_px=np.zeros((1, 2)))

    gap = np.abs(images[:, None, LOW] - references[None, :, LOW]) ** 2 @ DISC.weights[LOW]
    assert np.array_equal(which, gap.argmin(axis=1))
