import numpy as np
import pytest

from cryotwin.imaging.ctf import CtfDistribution, apply_ctf
from cryotwin.imaging.microscope import shift_images
from cryotwin.imaging.projection import project_volume
from cryotwin.imaging.rotations import (
    matrices_to_quaternions,
    quaternions_to_matrices,
    uniform_quaternions,
)
from cryotwin.recovery.line_significance import line_significance

COUNT = 120
SIZE = 32


def _quaternions(seed):
    return uniform_quaternions(COUNT, np.random.default_rng(seed))


@pytest.fixture(scope="module")
def volume():
    """Eight blobs."""
    axis = np.arange(SIZE) - SIZE // 2
    volume = np.zeros((SIZE,) * 3)
    for z, y, x in np.random.default_rng(4).uniform(-6, 6, (8, 3)):
        along = [np.exp(-((axis - centre) ** 2) / 4) for centre in (z, y, x)]
        volume += np.einsum("i,j,k->ijk", *along)
    return volume


@pytest.fixture(scope="module")
def views(volume):
    """Clean views of variance 1, and their orientations."""
    quaternions = _quaternions(5)
    images = project_volume(volume, quaternions_to_matrices(quaternions))
    return images / images.std(), quaternions


def _noisy(images, seed=6):
    """Adds as much noise as there is signal."""
    return images + np.random.default_rng(seed).standard_normal(images.shape).astype(np.float32)


def test_lines_of_right_orientations_are_significant_and_of_wrong_ones_are_not(views):
    clean, true = views
    images = _noisy(clean)

    assert np.median(line_significance(images, true)) > 5
    assert abs(np.median(line_significance(images, _quaternions(7)))) < 1


def test_noise_among_particles_is_not_significant(views):
    clean, true = views
    images = _noisy(clean)
    images[:20] = np.random.default_rng(8).standard_normal(images[:20].shape) * images.std()

    significance = line_significance(images, true)

    assert significance[:20].max() < np.percentile(significance[20:], 10)


def test_images_of_noise_alone_are_not_significant():
    noise = np.random.default_rng(9).standard_normal((COUNT, SIZE, SIZE))

    assert abs(np.median(line_significance(noise, _quaternions(1)))) < 0.5


def test_known_and_unknown_shifts_are_allowed_for(views):
    clean, true = views
    shifts = np.random.default_rng(10).uniform(-2, 2, (COUNT, 2))
    images = shift_images(_noisy(clean), shifts)
    ignored = np.median(line_significance(images, true))

    assert np.median(line_significance(images, true, shifts_px=shifts)) > ignored + 1
    assert np.median(line_significance(images, true, max_shift_px=2)) > ignored + 1


def test_phases_are_flipped_before_lines_are_compared(views):
    clean, true = views
    ctf = CtfDistribution(defocus_angstrom=(20000.0, 40000.0)).parameters(
        np.random.default_rng(11).random((COUNT, 4))
    )
    images = apply_ctf(clean, ctf, 3.0)

    flipped = line_significance(images, true, ctf=ctf, pixel_size_angstrom=3.0)

    assert np.median(flipped) > np.median(line_significance(images, true)) + 1


def test_any_of_equivalent_orientations_will_do_under_a_point_group(volume, views):
    _, true = views
    rotations, half_turn = quaternions_to_matrices(true), np.diag([-1.0, -1.0, 1.0])
    images = project_volume(volume, rotations) + project_volume(volume, rotations @ half_turn)
    images = _noisy(images / images.std())
    turned = np.random.default_rng(13).integers(2, size=COUNT)[:, None, None] == 1
    other = matrices_to_quaternions(np.where(turned, rotations @ half_turn, rotations))

    first, second = (np.median(line_significance(images, q, symmetry="C2")) for q in (true, other))

    assert first > 5
    assert second == pytest.approx(first, rel=0.15)
