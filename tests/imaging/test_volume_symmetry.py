from pathlib import Path

import numpy as np
import pytest

from cryotwin.imaging.errors import InputError
from cryotwin.imaging.point_groups import symmetry_matrices
from cryotwin.imaging.rotations import quaternions_to_matrices
from cryotwin.imaging.structures import read_structure
from cryotwin.imaging.volume_rotation import rotate_volume
from cryotwin.imaging.volume_symmetry import check_volume_symmetry, symmetry_agreement
from cryotwin.imaging.volumes import structure_volume

BETA_GALACTOSIDASE = Path(__file__).parents[2].parent / "shared/data/targets/5a1a.cif.gz"


def blob(size: int = 32) -> np.ndarray:
    z, y, x = np.mgrid[:size, :size, :size] - size // 2
    square = (x - 0.2 * size) ** 2 + (y - 0.06 * size) ** 2 + (z - 0.1 * size) ** 2
    return np.exp(-square / 0.008 / size**2).astype(np.float32)


def symmetrised(group: str, size: int = 32) -> np.ndarray:
    return np.sum([rotate_volume(blob(size), g) for g in symmetry_matrices(group)], axis=0)


@pytest.mark.parametrize("group", ["C2", "C7", "D3", "T", "O", "I1", "I4"])
def test_a_symmetrised_volume_has_its_symmetry(group):
    assert symmetry_agreement(symmetrised(group), group) > 0.999


def test_the_same_volume_turned_has_it_no_longer():
    turn = quaternions_to_matrices([0.9, 0.3, 0.2, 0.24])
    volume = rotate_volume(symmetrised("D3"), turn)
    assert symmetry_agreement(volume, "D3") < 0.8


def test_a_subgroup_is_found_and_a_larger_group_is_not():
    volume = symmetrised("D3")
    assert symmetry_agreement(volume, "C3") > 0.999
    assert symmetry_agreement(volume, "D1") > 0.999
    assert symmetry_agreement(volume, "D6") < 0.8
    assert symmetry_agreement(volume, "C2") < 0.8


def test_everything_has_the_symmetry_c1():
    assert symmetry_agreement(blob(), "C1") == 1


def test_a_large_volume_is_compared_in_a_smaller_box():
    assert symmetry_agreement(symmetrised("D2", 96), "D2") > 0.999
    assert symmetry_agreement(blob(96), "D2") < 0.5


def test_a_structure_without_the_symmetry_is_refused_with_the_figure():
    volume = structure_volume(read_structure("7cfn"), size=32).volume
    with pytest.raises(InputError, match=r"7cfn does not have the symmetry D2 .* by 0\.\d\d, exp"):
        check_volume_symmetry(volume, "D2", "7cfn")
    check_volume_symmetry(volume, "C1", "7cfn")


@pytest.mark.skipif(not BETA_GALACTOSIDASE.exists(), reason="the paper's structure is not here")
def test_beta_galactosidase_has_d2_about_the_axes_that_relion_has():
    volume = structure_volume(read_structure(str(BETA_GALACTOSIDASE)), size=48).volume
    assert symmetry_agreement(volume, "D2") > 0.99
    assert symmetry_agreement(volume, "D4") < 0.8
