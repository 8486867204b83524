import numpy as np
import pytest

from cryotwin.imaging.lattice_turns import split_point_group, sum_moved_voxels
from cryotwin.imaging.point_groups import symmetry_matrices
from cryotwin.imaging.projection import backproject_images
from cryotwin.imaging.rotations import quaternions_to_matrices, uniform_quaternions

SPLITS = """C1 1 1   C2 1 2   C7 7 1   D2 1 4   D3 3 2   D4 1 8
            T 12 1   O 1 24   I1 5 12  I2 5 12  I3 30 2  I4 30 2"""


@pytest.mark.parametrize(
    ("symmetry", "turns", "moves"), np.reshape(SPLITS.split(), (-1, 3)).tolist()
)
def test_turns_times_moves_are_the_group_each_element_once(symmetry, turns, moves):
    c, h = split_point_group(symmetry)
    group = symmetry_matrices(symmetry)
    assert (len(c), len(h)) == (int(turns), int(moves))
    products = np.einsum("cij,hjk->chik", c, h).reshape(-1, 3, 3)
    distances = np.abs(products[:, None] - group[None]).max(axis=(2, 3))
    assert (np.sort(distances.argmin(axis=1)) == np.arange(len(group))).all()
    assert distances.min(axis=1).max() < 1e-6


@pytest.mark.parametrize("size", [11, 12])
@pytest.mark.parametrize("symmetry", ["C4", "D3", "O"])
def test_moved_voxels_are_the_back_projections_along_turned_rotations(symmetry, size):
    rng = np.random.default_rng(0)
    images = rng.standard_normal((3, size, size)).astype(np.float32)
    rotations = quaternions_to_matrices(uniform_quaternions(3, rng))
    _, moves = split_point_group(symmetry)

    found = sum_moved_voxels(backproject_images(images, rotations), moves)

    expected = sum(backproject_images(images, rotations @ move) for move in moves)
    partnered = (slice(1 - size % 2, None),) * 3
    assert np.allclose(found[partnered], expected[partnered], atol=1e-4 * np.abs(expected).max())
