import numpy as np
import pytest

from cryotwin.imaging.errors import InputError
from cryotwin.imaging.projection import project_volume
from cryotwin.imaging.rotations import MIRROR, quaternions_to_matrices, uniform_quaternions
from cryotwin.imaging.volume_rotation import rotate_volume

CENTRES = np.array([[4.0, 0, 1], [0, -5, 2], [-3, 2, 4], [-2, -3, -3]])
WIDTHS = np.array([1.6, 1.8, 2.0, 1.7])


def blobs(size, centres):
    """Gaussians at (x, y, z) from the origin voxel, in closed form."""
    z, y, x = np.mgrid[:size, :size, :size] - size // 2
    squares = [(x - a) ** 2 + (y - b) ** 2 + (z - c) ** 2 for a, b, c in centres]
    return sum(np.exp(-s / (2 * w**2)) for s, w in zip(squares, WIDTHS, strict=True))


def rotations(count, seed=0):
    return quaternions_to_matrices(uniform_quaternions(count, np.random.default_rng(seed)))


@pytest.mark.parametrize("size", [32, 33])
def test_turned_blobs_lie_where_the_closed_form_puts_them(size):
    for rotation in rotations(3):
        turned = rotate_volume(blobs(size, CENTRES), rotation)
        # V(B^T x) has at B c what V has at c.
        np.testing.assert_allclose(turned, blobs(size, CENTRES @ rotation.T), atol=1e-4)


@pytest.mark.parametrize("size", [32, 33])
def test_inverted_blobs_lie_opposite(size):
    rotation = rotations(1, seed=1)[0]
    turned = rotate_volume(blobs(size, CENTRES), rotation, inverted=True)
    np.testing.assert_allclose(turned, blobs(size, -CENTRES @ rotation.T), atol=1e-4)


def test_no_turn_leaves_the_volume():
    volume = blobs(32, CENTRES)
    np.testing.assert_allclose(rotate_volume(volume, np.eye(3)), volume, atol=1e-4)


def test_there_and_back_again():
    volume, rotation = blobs(32, CENTRES), rotations(1, seed=2)[0]
    np.testing.assert_allclose(
        rotate_volume(rotate_volume(volume, rotation), rotation.T), volume, atol=2e-4
    )


def test_a_turned_volume_looks_as_the_given_one_does_from_turned_directions():
    volume, views, turn = blobs(32, CENTRES), rotations(5, seed=3), rotations(1, seed=4)[0]
    seen = project_volume(rotate_volume(volume, turn), views)
    expected = project_volume(volume, views @ turn)
    assert np.abs(seen - expected).max() < 1e-3 * expected.max()


def test_a_mirror_image_looks_as_the_object_does_from_behind():
    volume, views, turn = blobs(32, CENTRES), rotations(5, seed=5), rotations(1, seed=6)[0]
    seen = project_volume(rotate_volume(volume, turn, inverted=True), views)
    expected = project_volume(volume, MIRROR @ views @ turn)
    assert np.abs(seen - expected).max() < 1e-3 * expected.max()


@pytest.mark.parametrize(
    ("volume", "rotation", "said"),
    [
        (np.zeros((8, 8, 9)), np.eye(3), r"cube .* not of shape \(8, 8, 9\)"),
        (np.zeros((8, 8, 8)), np.eye(4), r"\(3, 3\), not \(4, 4\)"),
        (np.zeros((8, 8, 8)), MIRROR * [1, 1, -1], "must be a rotation matrix"),
        (np.zeros((8, 8, 8)), 2 * np.eye(3), "must be a rotation matrix"),
    ],
)
def test_what_cannot_be_turned_is_named(volume, rotation, said):
    with pytest.raises(InputError, match=said):
        rotate_volume(volume, rotation)
