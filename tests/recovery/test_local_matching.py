import numpy as np
import pytest

from cryotwin.imaging.ctf import CtfParameters, apply_ctf
from cryotwin.imaging.microscope import shift_images
from cryotwin.imaging.projection import project_volume
from cryotwin.imaging.rotations import (
    matrices_to_quaternions,
    orientation_distances,
    quaternions_to_matrices,
    rotation_vectors_to_matrices,
    uniform_quaternions,
)
from cryotwin.recovery.compared_images import ComparedImages
from cryotwin.recovery.local_matching import frequency_weights, match_images, standard_errors
from cryotwin.recovery.reference import Reference

SIZE, COUNT, PIXEL_A = 32, 40, 3.0
ROWS = np.arange(COUNT)


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
def reference(volume):
    return Reference(volume)


@pytest.fixture(scope="module")
def poses():
    rng = np.random.default_rng(0)
    rotations = quaternions_to_matrices(uniform_quaternions(COUNT, rng))
    return rotations, rng.uniform(-1.5, 1.5, (COUNT, 2))


@pytest.fixture(scope="module")
def ctf():
    defocus = np.random.default_rng(1).uniform(4000, 9000, COUNT)
    return CtfParameters(defocus + 200, defocus - 200, 0.4)


@pytest.fixture(scope="module")
def images(volume, poses, ctf):
    rotations, shifts = poses
    return apply_ctf(shift_images(project_volume(volume, rotations), shifts), ctf, PIXEL_A)


@pytest.fixture(scope="module")
def compared(images, ctf):
    return ComparedImages.of(images, ctf, PIXEL_A).below(13, SIZE)


def _turned(rotations, angle_rad, seed=1):
    axes = np.random.default_rng(seed).standard_normal((len(rotations), 3))
    axes *= angle_rad / np.linalg.norm(axes, axis=1, keepdims=True)
    return rotation_vectors_to_matrices(axes) @ rotations


def _distances(first, second):
    return orientation_distances(matrices_to_quaternions(first), matrices_to_quaternions(second))


def _likelihood(comparison):
    return -comparison.ring_errors.sum(axis=1) / 2


def test_a_view_is_explained_by_its_slice(reference, compared, poses):
    found = reference.compare(compared, compared.disc.weights, ROWS, *poses, 1)
    energy = (np.abs(compared.coefficients) ** 2) @ compared.disc.weights
    assert (found.ring_errors.sum(axis=1) < 1e-4 * energy).all()
    assert np.allclose(found.overlaps, energy[:, None], rtol=0.01)


@pytest.mark.parametrize("direction", range(5), ids=["turn x", "turn y", "turn z", "x", "y"])
def test_gradients_agree_with_finite_differences_of_the_likelihood(
    direction, reference, compared, poses
):
    rotations, shifts = _turned(poses[0], 0.1), poses[1] + 0.4

    def at(step):
        turn, move = np.zeros((COUNT, 3)), np.zeros((COUNT, 2))
        (turn, move)[direction // 3][:, direction % 3] = step
        turned = rotation_vectors_to_matrices(turn) @ rotations
        return reference.compare(compared, compared.disc.weights, ROWS, turned, shifts + move, 1)

    step = 0.01
    expected = (_likelihood(at(step)) - _likelihood(at(-step))) / (2 * step)
    gradient = at(0).gradients[:, direction]
    assert np.linalg.norm(gradient - expected) < 0.01 * np.linalg.norm(expected)


def test_the_curvature_is_that_of_the_likelihood_where_nothing_is_left(reference, compared, poses):
    rotations, shifts = poses
    weights = compared.disc.weights
    here = reference.compare(compared, weights, ROWS, rotations, shifts, 1)
    turn = np.random.default_rng(2).standard_normal((COUNT, 5)) * [1, 1, 1, 3, 3]
    step = 0.01
    there = [
        reference.compare(
            compared,
            weights,
            ROWS,
            rotation_vectors_to_matrices(side * step * turn[:, :3]) @ rotations,
            shifts + side * step * turn[:, 3:],
            1,
        )
        for side in (1, -1)
    ]
    curved = sum(_likelihood(found) for found in there) - 2 * _likelihood(here)
    expected = np.einsum("pf,pfg,pg->p", turn, here.normals, turn)
    assert np.allclose(-curved / step**2, expected, rtol=0.05)


def test_images_with_a_ctf_return_to_where_they_were_moved_from(reference, compared, poses):
    rotations, shifts = poses
    start = _turned(rotations, 0.12)

    found = match_images(
        reference,
        compared,
        np.ones(compared.rings),
        ROWS,
        start,
        shifts + 0.5,
        most_shift_px=4,
        steps=10,
    )

    assert _distances(start, rotations).min() > 0.119
    assert _distances(found.rotations, rotations).max() < 0.003
    assert np.abs(found.shifts_px - shifts).max() < 0.02


def test_displacements_stay_where_they_are_fixed_and_within_their_bound(reference, compared, poses):
    rotations, shifts = poses
    settings = reference, compared, np.ones(compared.rings), ROWS, _turned(rotations, 0.1)

    fixed = match_images(*settings, shifts, most_shift_px=0, steps=8)
    bound = match_images(*settings, np.zeros((COUNT, 2)), most_shift_px=0.5, steps=8)

    assert np.array_equal(fixed.shifts_px, shifts)
    assert _distances(fixed.rotations, rotations).max() < 0.003
    assert np.abs(bound.shifts_px).max() == 0.5


def test_standard_errors_are_what_noise_causes(reference, images, poses, ctf):
    rng = np.random.default_rng(7)
    sigma = 0.5 * images.std()
    noisy = (images + sigma * rng.standard_normal(images.shape)).astype(np.float32)
    compared = ComparedImages.of(noisy, ctf, PIXEL_A).below(13, SIZE)
    variance = np.full(compared.rings, sigma**2 * SIZE**2)

    found = match_images(reference, compared, variance, ROWS, *poses, most_shift_px=4, steps=10)

    errors = _distances(found.rotations, poses[0])
    expected = standard_errors(found.comparison)
    assert 0.8 < np.sqrt((errors**2).mean() / (expected**2).mean()) < 1.25


def test_threads_and_neighbours_change_nothing(reference, compared, poses):
    rotations, shifts = _turned(poses[0], 0.1), np.zeros((COUNT, 2))
    settings = {"most_shift_px": 4.0, "steps": 3}
    variance = np.ones(compared.rings)

    alone = match_images(
        reference, compared, variance, ROWS[-3:], rotations[-3:], shifts[-3:], **settings
    )
    together = match_images(
        reference, compared, variance, ROWS, rotations, shifts, threads=3, **settings
    )

    assert np.array_equal(together.rotations[-3:], alone.rotations)
    assert np.array_equal(together.shifts_px[-3:], alone.shifts_px)


def test_rings_of_more_noise_count_less(compared):
    variance = np.linspace(1, 4, compared.rings)
    weights = frequency_weights(compared, variance)
    assert np.allclose(weights * variance[compared.disc.shells], compared.disc.weights)
