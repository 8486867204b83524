import numpy as np
import pytest

from cryotwin.imaging.projection import project_volume
from cryotwin.imaging.rotations import quaternions_to_matrices, uniform_quaternions
from cryotwin.imaging.volume_rotation import rotate_volume
from cryotwin.recovery.handedness import mirror_orientations, mirror_volume


def _volume(size):
    axis = np.arange(size) - size // 2
    volume = np.zeros((size,) * 3, dtype=np.float32)
    for z, y, x in np.random.default_rng(1).uniform(-size / 5, size / 5, (5, 3)):
        along = [np.exp(-((axis - centre) ** 2) / 5) for centre in (z, y, x)]
        volume += np.einsum("i,j,k->ijk", *along).astype(np.float32)
    return volume


@pytest.mark.parametrize("size", [24, 25])
def test_the_other_hand_gives_the_same_images(size):
    volume = _volume(size)
    quaternions = uniform_quaternions(5, np.random.default_rng(2))

    images = project_volume(volume, quaternions_to_matrices(quaternions))
    mirrored = project_volume(
        mirror_volume(volume), quaternions_to_matrices(mirror_orientations(quaternions))
    )

    assert np.allclose(images, mirrored, atol=1e-4 * images.max())


@pytest.mark.parametrize("size", [24, 25])
def test_a_mirrored_volume_is_the_inverted_one(size):
    volume = _volume(size)
    inverted = rotate_volume(volume, np.eye(3), inverted=True)
    assert np.allclose(mirror_volume(volume), inverted, atol=1e-3 * volume.max())


def test_the_other_hand_of_the_other_hand_is_the_first():
    volume = np.random.default_rng(3).standard_normal((8, 8, 8)).astype(np.float32)
    quaternions = uniform_quaternions(5, np.random.default_rng(4))
    assert np.array_equal(mirror_volume(mirror_volume(volume)), volume)
    assert np.allclose(mirror_orientations(mirror_orientations(quaternions)), quaternions)
