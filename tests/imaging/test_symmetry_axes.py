import numpy as np
import pytest

from cryotwin.imaging.point_groups import symmetry_matrices
from cryotwin.imaging.rotations import quaternions_to_matrices
from cryotwin.imaging.symmetry_axes import align_symmetry_axes, find_symmetry_axes
from cryotwin.imaging.volume_rotation import rotate_volume
from cryotwin.imaging.volume_symmetry import symmetry_agreement

TURN = quaternions_to_matrices([0.8, 0.3, 0.2, 0.48])


def symmetrised(group: str) -> np.ndarray:
    """Two blobs and their copies, in a box of 32."""
    z, y, x = np.mgrid[:32, :32, :32] - 16
    blobs = sum(
        np.exp(-((x - a) ** 2 + (y - b) ** 2 + (z - c) ** 2) / 4)
        for a, b, c in [(6, 2, 3), (3, -3, 8)]
    )
    return np.sum([rotate_volume(blobs, g) for g in symmetry_matrices(group)], axis=0)


@pytest.mark.parametrize("group", ["C7", "D3", "I1"])
def test_the_axes_of_a_turned_volume_are_found(group):
    turned = rotate_volume(symmetrised(group), TURN)
    assert symmetry_agreement(turned, group) < 0.5
    rotation = find_symmetry_axes(turned, group)
    assert np.allclose(rotation @ rotation.T, np.eye(3))
    assert symmetry_agreement(rotate_volume(turned, rotation), group) > 0.995


def test_a_volume_with_its_axes_in_place_is_left_alone():
    volume = symmetrised("D3")
    assert align_symmetry_axes(volume, "D3") is volume


def test_a_volume_without_the_symmetry_does_not_get_it():
    volume = symmetrised("C1")
    assert symmetry_agreement(align_symmetry_axes(volume, "D2"), "D2") < 0.8
