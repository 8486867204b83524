import numpy as np
import pytest

from cryotwin.imaging.ctf import CtfDistribution, CtfParameters, apply_ctf
from cryotwin.imaging.errors import InputError
from cryotwin.imaging.microscope import shift_images, signal_variance, snr_from_db
from cryotwin.imaging.point_groups import symmetry_matrices
from cryotwin.imaging.projection import project_volume
from cryotwin.imaging.rotations import (
    MIRROR,
    matrices_to_quaternions,
    quaternions_to_matrices,
    rotation_vectors_to_matrices,
    uniform_quaternions,
)
from cryotwin.imaging.structures import read_structure
from cryotwin.imaging.volumes import structure_volume
from cryotwin.recovery.alignment import align_orientations
from cryotwin.recovery.gauge import Gauge, common_line_score, find_gauge


def _quaternions(count, seed):
    return uniform_quaternions(count, np.random.default_rng(seed))


def _in_another_gauge(quaternions, transposed, seed=0):
    """Plants A, B and the transpose, none of which changes a distance."""
    left, right = quaternions_to_matrices(_quaternions(2, seed))
    matrices = left @ quaternions_to_matrices(quaternions) @ right
    return matrices_to_quaternions(np.swapaxes(matrices, -1, -2) if transposed else matrices)


def _scaled(volume):
    return volume / np.sqrt(signal_variance(volume))


def _blobs(seed):
    """Five blobs without symmetry in a box of 32 voxels."""
    axis = np.arange(32) - 16
    volume = np.zeros((32,) * 3)
    for z, y, x in np.random.default_rng(seed).uniform(-6.5, 6.5, (5, 3)):
        along = [np.exp(-((axis - centre) ** 2) / 7) for centre in (z, y, x)]
        volume += np.einsum("i,j,k->ijk", *along)
    return volume


@pytest.fixture(scope="module")
def small_views():
    """40 noiseless views of five blobs without symmetry, and their orientations."""
    quaternions = _quaternions(40, 5)
    volume = _scaled(_blobs(seed=4))
    return project_volume(volume, quaternions_to_matrices(quaternions)), quaternions


@pytest.fixture(scope="module")
def noisy_views():
    """160 views of the bundled structure at -12 dB, 64 px, and their orientations."""
    volume = _scaled(structure_volume(read_structure("7cfn"), size=64).volume)
    quaternions = _quaternions(160, 1)
    images = project_volume(volume, quaternions_to_matrices(quaternions))
    noise = np.random.default_rng(2).standard_normal(images.shape) / np.sqrt(snr_from_db(-12))
    return images + noise.astype(np.float32), quaternions


@pytest.mark.parametrize("transposed", [False, True])
def test_a_planted_gauge_is_found_from_images_at_minus_12_db(noisy_views, transposed):
    images, true = noisy_views
    errors = np.random.default_rng(3).normal(0, 0.1 / 1.6, (len(true), 3))
    turned = quaternions_to_matrices(true) @ rotation_vectors_to_matrices(errors)
    estimated = _in_another_gauge(matrices_to_quaternions(turned), transposed)

    gauge = find_gauge(images, estimated)

    optimum = align_orientations(estimated, true, ambiguity="o4").mean_error
    assert 0.08 < optimum < 0.12
    assert align_orientations(estimated, true).mean_error > 0.5
    assert align_orientations(gauge.apply(estimated), true).mean_error < optimum + 0.01
    assert gauge.transposed == transposed
    assert gauge.score_after > gauge.score_before


def test_the_gauge_is_found_from_particles_that_lie_off_the_centre(noisy_views):
    images, true = noisy_views
    shifts = np.random.default_rng(6).uniform(-2, 2, (len(images), 2))
    estimated = _in_another_gauge(true, transposed=True)

    gauge = find_gauge(shift_images(images, shifts), estimated, max_shift_px=2)

    assert gauge.transposed
    assert align_orientations(gauge.apply(estimated), true).mean_error < 0.05


@pytest.mark.parametrize("transposed", [False, True])
def test_without_noise_and_errors_the_gauge_is_exact(small_views, transposed):
    images, true = small_views
    estimated = _in_another_gauge(true, transposed, seed=8)

    gauge = find_gauge(images, estimated)

    assert align_orientations(gauge.apply(estimated), true).mean_error < 0.02
    assert gauge.transposed == transposed
    assert np.allclose(gauge.left @ gauge.left.T, np.eye(3), atol=1e-9)
    assert np.linalg.det(gauge.left) == pytest.approx(1)


def test_the_scores_are_those_of_the_orientations_before_and_after(small_views):
    images, true = small_views
    estimated = _in_another_gauge(true, False, seed=9)

    gauge = find_gauge(images, estimated)

    after = common_line_score(images, gauge.apply(estimated))
    assert gauge.score_before == pytest.approx(common_line_score(images, estimated), abs=1e-6)
    assert gauge.score_after == pytest.approx(after, abs=1e-6)
    assert gauge.score_after == max(gauge.score_as_estimated, gauge.score_transposed)
    assert gauge.score_as_estimated > gauge.score_transposed


def test_true_orientations_score_near_one_and_wrong_ones_less(small_views):
    images, true = small_views

    score = common_line_score(images, true)

    assert score > 0.9
    assert common_line_score(images, _in_another_gauge(true, False)) < score - 0.1
    assert common_line_score(images, _in_another_gauge(true, True)) < score - 0.1
    assert common_line_score(images, _quaternions(40, 77)) < score - 0.1


def test_the_object_s_frame_and_its_mirror_image_do_not_change_the_score(small_views):
    images, true = small_views
    matrices, turn = quaternions_to_matrices(true), quaternions_to_matrices(_quaternions(1, 6))[0]

    score = common_line_score(images, true)

    turned, mirrored = matrices_to_quaternions(matrices @ turn), MIRROR @ matrices
    assert common_line_score(images, turned) == pytest.approx(score, abs=1e-4)
    assert common_line_score(images, matrices_to_quaternions(mirrored)) == pytest.approx(
        score, abs=1e-4
    )


def test_images_of_noise_alone_score_near_nothing():
    noise = np.random.default_rng(0).standard_normal((60, 32, 32))

    assert abs(common_line_score(noise, _quaternions(60, 1))) < 0.05


def test_a_gauge_is_applied_as_a_r_or_a_r_transposed():
    quaternions = _quaternions(20, 1)
    matrices = quaternions_to_matrices(quaternions)
    left = rotation_vectors_to_matrices([0.3, -1.0, 0.5])

    plain = Gauge(left, False, 0.0, 1.0, 1.0, 0.0).apply(quaternions)
    transposed = Gauge(left, True, 0.0, 1.0, 0.0, 1.0).apply(quaternions)

    assert np.allclose(quaternions_to_matrices(plain), left @ matrices)
    assert np.allclose(quaternions_to_matrices(transposed), left @ np.swapaxes(matrices, -1, -2))


@pytest.mark.parametrize("symmetry", ["C3", "D2", "O"])
def test_a_planted_gauge_is_found_under_a_point_group(symmetry):
    group, true = symmetry_matrices(symmetry), _quaternions(60, 12)
    rotations = quaternions_to_matrices(true)
    images = sum(project_volume(_blobs(seed=3), rotations @ turn) for turn in group)
    images = images + np.random.default_rng(4).standard_normal(images.shape) * images.std() / 5
    copies = group[np.random.default_rng(5).integers(len(group), size=len(true))]
    left = quaternions_to_matrices(_quaternions(1, 6))[0]
    estimated = matrices_to_quaternions(left @ rotations @ copies)

    gauge = find_gauge(images, estimated, symmetry=symmetry)

    found = align_orientations(gauge.apply(estimated), true, symmetry=symmetry)
    assert found.mean_error < 0.03
    assert align_orientations(estimated, true, symmetry=symmetry).mean_error > 0.3
    assert not gauge.transposed
    assert gauge.score_transposed is None
    assert gauge.score_after > gauge.score_before


def test_the_gauge_is_found_from_images_with_a_ctf(noisy_views):
    images, true = noisy_views
    ctf = CtfDistribution(defocus_angstrom=(8000.0, 20000.0)).parameters(
        np.random.default_rng(7).random((len(images), 4))
    )
    seen = apply_ctf(images, ctf, 2.0)
    estimated = _in_another_gauge(true, transposed=True)

    gauge = find_gauge(seen, estimated, ctf=ctf, pixel_size_angstrom=2.0)

    assert gauge.transposed
    assert align_orientations(gauge.apply(estimated), true).mean_error < 0.05


def test_lines_with_flipped_phases_agree_better(small_views):
    images, true = small_views
    ctf = CtfDistribution(defocus_angstrom=(20000.0, 40000.0)).parameters(
        np.random.default_rng(7).random((len(images), 4))
    )
    seen = apply_ctf(images, ctf, 3.0)

    flipped = common_line_score(seen, true, ctf=ctf, pixel_size_angstrom=3.0)

    assert flipped > common_line_score(seen, true) + 0.1


def test_a_ctf_needs_a_pixel_size(small_views):
    images, true = small_views
    with pytest.raises(InputError, match="needs pixel_size_angstrom"):
        find_gauge(images, true, ctf=CtfParameters(10000.0, 10000.0))
