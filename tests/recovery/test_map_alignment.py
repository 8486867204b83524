import numpy as np
import pytest
from scipy import ndimage

from cryotwin.imaging.errors import InputError
from cryotwin.imaging.point_groups import symmetry_matrices
from cryotwin.imaging.projection import project_volume
from cryotwin.imaging.rotations import (
    MIRROR,
    matrices_to_quaternions,
    orientation_distances,
    quaternions_to_matrices,
    uniform_quaternions,
)
from cryotwin.imaging.volume_rotation import rotate_volume
from cryotwin.recovery.map_alignment import MapAlignment, align_maps
from cryotwin.recovery.resolution import fourier_shell_correlation

SIZE = 32


def handed_volume(seed):
    """Blobs without symmetry, which no rotation takes to their mirror image."""
    rng = np.random.default_rng(seed)
    z, y, x = np.mgrid[:SIZE, :SIZE, :SIZE] - SIZE // 2
    centres, widths = rng.uniform(-5, 5, (12, 3)), rng.uniform(0.9, 1.3, 12)
    return sum(
        np.exp(-((x - a) ** 2 + (y - b) ** 2 + (z - c) ** 2) / (2 * w**2))
        for (a, b, c), w in zip(centres, widths, strict=True)
    ).astype(np.float32)


def random_pose(seed, inverted):
    rng = np.random.default_rng(seed)
    rotation = quaternions_to_matrices(uniform_quaternions(1, rng))[0]
    return MapAlignment(rotation, inverted, rng.uniform(-3, 3, 3), 1.0)


def angle(first, second):
    return float(
        orientation_distances(*(matrices_to_quaternions(m[None]) for m in (first, second)))[0]
    )


@pytest.mark.parametrize("inverted", [False, True], ids=["same hand", "mirror image"])
@pytest.mark.parametrize("seed", [0, 1])
def test_a_turned_and_shifted_map_is_brought_back(seed, inverted):
    volume, pose = handed_volume(seed), random_pose(seed, inverted)
    moved = pose.apply(volume)

    found = align_maps(volume, moved)

    assert found.inverted == inverted
    assert angle(found.rotation, pose.rotation) < 1e-3
    assert np.abs(found.shift_px - pose.shift_px).max() < 5e-3
    assert found.correlation > 0.999
    assert fourier_shell_correlation(found.apply(volume), moved)[:15].min() > 0.999


def test_noise_in_both_maps_leaves_the_pose():
    rng = np.random.default_rng(5)
    volume, pose = handed_volume(2), random_pose(2, True)
    noisy = [
        clean + 1.5 * volume.std() * rng.standard_normal(volume.shape)
        for clean in (volume, pose.apply(volume))
    ]

    found = align_maps(*noisy)

    assert found.inverted
    assert angle(found.rotation, pose.rotation) < 0.05
    assert np.abs(found.shift_px - pose.shift_px).max() < 0.2


def test_without_the_other_hand_a_mirror_image_fits_badly():
    volume = handed_volume(3)
    mirrored = random_pose(3, True).apply(volume)
    found = align_maps(volume, mirrored, both_hands=False)
    assert not found.inverted
    assert found.correlation < 0.8


def test_a_symmetric_map_is_brought_to_one_of_the_equal_places():
    volume = sum(rotate_volume(handed_volume(4), g) for g in symmetry_matrices("D2"))
    pose = random_pose(4, False)
    moved = pose.apply(volume)
    found = align_maps(volume, moved)
    assert fourier_shell_correlation(found.apply(volume), moved)[:15].min() > 0.999


def test_the_pose_is_in_the_terms_of_the_orientations():
    """The moved map seen under R looks as the map does under R B, or under diag(-1, -1, 1) R B."""
    volume = handed_volume(5)
    views = quaternions_to_matrices(uniform_quaternions(4, np.random.default_rng(0)))
    for inverted, left in ((False, np.eye(3)), (True, MIRROR)):
        pose = MapAlignment(random_pose(5, inverted).rotation, inverted, np.zeros(3), 1.0)
        seen = project_volume(pose.apply(volume), views)
        expected = project_volume(volume, left @ views @ pose.rotation)
        assert np.abs(seen - expected).max() < 5e-3 * expected.max()


def test_a_shift_goes_along_x_y_and_z():
    volume = handed_volume(6)
    pose = MapAlignment(np.eye(3), False, np.array([1.0, 2.0, 3.0]), 1.0)
    expected = np.add(ndimage.center_of_mass(volume), (3.0, 2.0, 1.0))
    assert np.allclose(ndimage.center_of_mass(pose.apply(volume)), expected, atol=0.05)


def test_maps_that_cannot_be_aligned_are_refused():
    volume = handed_volume(0)
    with pytest.raises(InputError, match="one size, not"):
        align_maps(volume, volume[:16, :16, :16])
    with pytest.raises(InputError, match="everywhere: there is nothing to align"):
        align_maps(volume, np.zeros_like(volume))
    with pytest.raises(InputError, match="the map holds NaN"):
        align_maps(np.full_like(volume, np.nan), volume)
    with pytest.raises(InputError, match="must be a cube"):
        align_maps(volume[0], volume)
