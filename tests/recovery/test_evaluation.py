import numpy as np
import pytest
from scipy import ndimage

from cryotwin.imaging.ctf import CtfDistribution, apply_ctf
from cryotwin.imaging.errors import InputError
from cryotwin.imaging.maps import write_map
from cryotwin.imaging.point_groups import symmetry_matrices
from cryotwin.imaging.projection import project_volume
from cryotwin.imaging.rotations import (
    MIRROR,
    matrices_to_quaternions,
    quaternions_to_matrices,
    rotation_vectors_to_matrices,
    uniform_quaternions,
)
from cryotwin.imaging.volume_rotation import rotate_volume
from cryotwin.recovery.evaluation import (
    compare_half_maps,
    compare_limit,
    compare_maps,
    evaluate_orientations,
    evaluation_metrics,
    read_true_map,
    to_estimated_frame,
)
from cryotwin.recovery.reconstruction import reconstruct

SIZE = 32
PIXEL_A = 4.0
MASKS = ("", "_no_mask", "_masked")


def handed_volume(size=SIZE, scale=1.0, seed=0):
    """Blobs without symmetry, which no rotation takes to their mirror image."""
    rng = np.random.default_rng(seed)
    z, y, x = (np.mgrid[:size, :size, :size] - size // 2) / scale
    centres, widths = rng.uniform(-5, 5, (12, 3)), rng.uniform(0.9, 1.3, 12)
    return sum(
        np.exp(-((x - a) ** 2 + (y - b) ** 2 + (z - c) ** 2) / (2 * w**2))
        for (a, b, c), w in zip(centres, widths, strict=True)
    ).astype(np.float32)


def moved_orientations(left, count=60, seed=0):
    """True orientations, and the same in another frame: R_true = left R_est right."""
    rng = np.random.default_rng(seed)
    true = uniform_quaternions(count, rng)
    right = quaternions_to_matrices(uniform_quaternions(1, rng))[0]
    estimated = left.T @ quaternions_to_matrices(true) @ right.T
    return matrices_to_quaternions(estimated), true, right


both_hands = pytest.mark.parametrize("left", [np.eye(3), MIRROR], ids=["object", "mirror image"])


@both_hands
def test_the_true_map_in_the_estimated_frame_gives_the_true_images(left):
    estimated, true, right = moved_orientations(left)
    found = evaluate_orientations(estimated, true).physical
    np.testing.assert_allclose(found.left, left, atol=1e-9)
    np.testing.assert_allclose(found.right, right, atol=1e-6)
    volume = handed_volume()
    seen = project_volume(to_estimated_frame(volume, found), quaternions_to_matrices(estimated))
    images = project_volume(volume, quaternions_to_matrices(true))
    assert np.abs(seen - images).max() < 2e-3 * images.max()


@both_hands
def test_a_map_from_orientations_in_another_frame_agrees_with_the_truth_to_nyquist(left):
    estimated, true, _ = moved_orientations(left, count=400)
    volume = handed_volume()
    images = project_volume(volume, quaternions_to_matrices(true))
    found = reconstruct(images, quaternions_to_matrices(estimated))
    evaluation = evaluate_orientations(estimated, true)
    comparison = compare_maps(found, volume, evaluation.physical, PIXEL_A)
    assert comparison.resolution_angstrom == pytest.approx(2 * PIXEL_A)
    assert comparison.threshold == 0.5
    assert comparison.fsc.shape == (SIZE // 2 + 1,)
    assert evaluation.mirrored == (left is MIRROR)


def test_the_wrong_hand_does_not_agree():
    estimated, true, _ = moved_orientations(np.eye(3))
    physical = evaluate_orientations(estimated, true).physical
    here = to_estimated_frame(handed_volume(), physical)
    mirrored = np.roll(here[::-1, ::-1, ::-1], 1, axis=(0, 1, 2))
    comparison = compare_maps(mirrored, handed_volume(), physical, PIXEL_A)
    assert comparison.resolution_angstrom > 4 * PIXEL_A


def test_where_the_object_lies_in_the_box_does_not_count():
    estimated, true, _ = moved_orientations(np.eye(3))
    physical = evaluate_orientations(estimated, true).physical
    here = to_estimated_frame(handed_volume(), physical)
    away = ndimage.fourier_shift(np.fft.fftn(here), (1.3, -0.45, 0.8))
    comparison = compare_maps(np.fft.ifftn(away).real, handed_volume(), physical, PIXEL_A)
    assert comparison.resolution_angstrom == pytest.approx(2 * PIXEL_A)


def test_scattered_orientations_have_the_errors_that_were_put_in():
    rng = np.random.default_rng(1)
    estimated, true, _ = moved_orientations(MIRROR, count=800)
    vectors = rng.standard_normal((800, 3))
    vectors *= 0.1 / np.linalg.norm(vectors, axis=1, keepdims=True)
    scattered = rotation_vectors_to_matrices(vectors) @ quaternions_to_matrices(estimated)
    evaluation = evaluate_orientations(matrices_to_quaternions(scattered), true)
    assert evaluation.particles == 800
    assert evaluation.physical.mean_error == pytest.approx(0.1, abs=0.002)
    assert evaluation.o4.mean_error <= evaluation.physical.mean_error + 1e-6


def test_a_transpose_is_forgiven_by_the_paper_but_not_by_nature():
    estimated, true, _ = moved_orientations(np.eye(3), count=300)
    transposed = estimated * [1, -1, -1, -1]
    evaluation = evaluate_orientations(transposed, true)
    assert evaluation.o4.mean_error < 1e-6
    assert evaluation.physical.mean_error > 0.5


def test_noise_in_the_corners_counts_without_a_mask_only():
    rng = np.random.default_rng(2)
    halves = [handed_volume() + 0.1 * rng.standard_normal((SIZE,) * 3) for _ in range(2)]
    comparison = compare_half_maps(*halves, PIXEL_A)
    assert comparison.threshold == 0.143
    assert comparison.resolution_angstrom < comparison.resolution_no_mask_angstrom
    assert comparison.mask == (
        "soft sphere about the middle of the box, 108 A across, falling to zero over 8 A"
    )


def test_half_maps_are_corrected_for_the_mask_and_the_truth_is_not():
    rng = np.random.default_rng(3)
    halves = [handed_volume() + 0.3 * rng.standard_normal((SIZE,) * 3) for _ in range(2)]
    comparison = compare_half_maps(*halves, PIXEL_A)
    assert comparison.resolution_masked_angstrom < comparison.resolution_no_mask_angstrom
    assert np.all(comparison.fsc_corrected <= comparison.fsc_masked + 1e-9)
    assert comparison.fsc_randomised.shape == comparison.fsc_masked.shape == (SIZE // 2 + 1,)
    assert comparison.particle_mask.startswith("soft mask about the particle, ")
    estimated, true, _ = moved_orientations(np.eye(3))
    physical = evaluate_orientations(estimated, true).physical
    noisy = to_estimated_frame(handed_volume(), physical) + halves[0] - handed_volume()
    against_truth = compare_maps(noisy, handed_volume(), physical, PIXEL_A)
    assert against_truth.fsc_randomised is against_truth.fsc_corrected is None
    masked = against_truth.fsc_masked
    assert masked[4:10].mean() > against_truth.fsc_no_mask[4:10].mean()


@both_hands
def test_the_limit_is_the_same_in_either_frame(left):
    estimated, true, _ = moved_orientations(left, count=200)
    physical = evaluate_orientations(estimated, true).physical
    rng = np.random.default_rng(4)
    ctf = CtfDistribution(defocus_angstrom=(5000.0, 15000.0)).parameters(rng.random((200, 4)))
    images = apply_ctf(project_volume(handed_volume(), quaternions_to_matrices(true)), ctf, PIXEL_A)
    images += images.std() * rng.standard_normal(images.shape).astype(np.float32)
    settings = {"true_shifts_px": np.zeros((200, 2)), "ctf": ctf}

    in_true, in_estimated = (
        compare_limit(images, true, handed_volume(), PIXEL_A, alignment=alignment, **settings)
        for alignment in (None, physical)
    )

    assert np.abs(in_true.fsc - in_estimated.fsc)[:12].max() < 0.03
    assert in_true.fsc[:8].min() > 0.8


def test_a_map_with_a_point_group_is_compared_along_its_axes():
    """Orientations that are off by a small turn leave the axes of a symmetrised map in place."""
    volume = sum(rotate_volume(handed_volume(), g) for g in symmetry_matrices("D2"))
    quarter = rotation_vectors_to_matrices(np.array([[0, 0, np.pi / 2]]))[0]
    slip = rotation_vectors_to_matrices(np.array([[0.15, 0.1, 0.1]]))[0]
    true = quaternions_to_matrices(uniform_quaternions(50, np.random.default_rng(0)))
    estimated = matrices_to_quaternions(true @ (quarter @ slip).T)
    physical = evaluate_orientations(
        estimated, matrices_to_quaternions(true), symmetry="D2"
    ).physical
    found = rotate_volume(volume, quarter)
    along = compare_maps(found, volume, physical, PIXEL_A, symmetry="D2")
    askew = compare_maps(found, volume, physical, PIXEL_A)
    assert along.fsc[:14].min() > 0.99
    assert askew.fsc[8:14].mean() < 0.9


def test_a_true_map_on_another_grid_is_resampled(tmp_path):
    fine = handed_volume(size=72, scale=2.0)
    write_map(tmp_path / "fine.mrc", fine, PIXEL_A / 2)
    estimated, true, _ = moved_orientations(MIRROR, count=60)
    physical = evaluate_orientations(estimated, true).physical
    here = to_estimated_frame(handed_volume(), physical)
    coarse = read_true_map(tmp_path / "fine.mrc", size=SIZE, pixel_size_angstrom=PIXEL_A)
    assert compare_maps(here, coarse, physical, PIXEL_A).resolution_angstrom < 2.3 * PIXEL_A


def test_a_true_map_on_the_same_grid_is_taken_as_it_is(tmp_path):
    write_map(tmp_path / "same.mrc", handed_volume(), PIXEL_A)
    read = read_true_map(tmp_path / "same.mrc", size=SIZE, pixel_size_angstrom=PIXEL_A)
    np.testing.assert_array_equal(read, handed_volume())


def test_maps_of_two_sizes_are_refused():
    estimated, true, _ = moved_orientations(np.eye(3))
    physical = evaluate_orientations(estimated, true).physical
    with pytest.raises(InputError, match=r"one size, not \(32, 32, 32\) and \(16, 16, 16\)"):
        compare_maps(handed_volume(), handed_volume(16), physical, PIXEL_A)


def test_metrics_carry_the_names_that_others_rely_on():
    estimated, true, _ = moved_orientations(np.eye(3))
    evaluation = evaluate_orientations(estimated, true)
    here = to_estimated_frame(handed_volume(), evaluation.physical)
    metrics = evaluation_metrics(
        particles=60,
        orientations=evaluation,
        half_maps=compare_half_maps(here, here, PIXEL_A),
        against_truth=compare_maps(here, handed_volume(), evaluation.physical, PIXEL_A),
    )
    assert set(metrics) == {
        "particles",
        "physical_error_rad",
        "o4_error_rad",
        "resolution_angstrom",
    }
    assert set(metrics["physical_error_rad"]) == set(metrics["o4_error_rad"]) == {"mean", "median"}
    names = [f"{name}{mask}" for name in ("half_maps_0143", "against_truth_05") for mask in MASKS]
    assert set(metrics["resolution_angstrom"]) == {*names, "mask", "particle_mask"}
    assert evaluation_metrics(particles=3) == {"particles": 3}
