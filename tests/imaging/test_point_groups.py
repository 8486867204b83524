import re
import shutil
import subprocess

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from cryotwin.imaging.errors import InputError
from cryotwin.imaging.point_groups import (
    parse_point_group,
    symmetry_generators,
    symmetry_matrices,
    symmetry_quaternions,
)
from cryotwin.imaging.projection import project_volume
from cryotwin.imaging.rotations import (
    matrices_to_quaternions,
    quaternions_to_matrices,
    uniform_quaternions,
)
from cryotwin.imaging.volume_rotation import rotate_volume

ORDERS = {"C1": 1, "C2": 2, "C7": 7, "C12": 12, "D1": 2, "D2": 4, "D3": 6, "D7": 14, "T": 12}
ORDERS |= {"O": 24, "I": 60, "I1": 60, "I2": 60, "I3": 60, "I4": 60}

_GOLDEN = (1 + np.sqrt(5)) / 2


def same_group(first: np.ndarray, second: np.ndarray, atol: float) -> bool:
    """Whether two sets of matrices (G, 3, 3) have the same members, in any order."""
    apart = np.abs(first[:, None] - second[None]).max(axis=(2, 3))
    return len(first) == len(second) and apart.min(0).max() < atol and apart.min(1).max() < atol


def has_axis(group: str, axis, order: int) -> bool:
    """Whether turning by 2 pi / order about the axis belongs to the group."""
    turn = Rotation.from_rotvec(2 * np.pi / order * np.array(axis) / np.linalg.norm(axis))
    return bool(np.abs(symmetry_matrices(group) - turn.as_matrix()).max(axis=(1, 2)).min() < 1e-9)


@pytest.mark.parametrize(("name", "order"), ORDERS.items())
def test_a_point_group_is_a_group_of_rotations_of_its_order(name, order):
    matrices = symmetry_matrices(name)

    assert matrices.shape == (order, 3, 3)
    assert np.array_equal(matrices[0], np.eye(3))
    assert np.allclose(matrices @ np.swapaxes(matrices, 1, 2), np.eye(3), atol=1e-12)
    assert np.allclose(np.linalg.det(matrices), 1)
    products = (matrices[:, None] @ matrices).reshape(-1, 3, 3)
    apart = np.abs(products[:, None] - matrices).max(axis=(2, 3)).min(axis=1)
    assert apart.max() < 1e-9  # closed; finite and closed, so with all inverses
    distinct = np.unique(matrices.round(6).reshape(order, 9), axis=0)
    assert len(distinct) == order


@pytest.mark.parametrize("name", ORDERS)
def test_quaternions_and_matrices_of_a_group_are_the_same_rotations(name):
    assert np.allclose(quaternions_to_matrices(symmetry_quaternions(name)), symmetry_matrices(name))
    assert (symmetry_quaternions(name)[:, 0] >= 0).all()


def test_the_axes_are_where_relion_has_them():
    z, x, y = (0, 0, 1), (1, 0, 0), (0, 1, 0)
    assert has_axis("C7", z, 7)
    assert has_axis("D3", z, 3)
    assert has_axis("D3", x, 2)
    assert not has_axis("D3", y, 2)
    assert has_axis("T", z, 3)
    assert has_axis("T", (0, np.sqrt(2), 1), 2)
    assert not has_axis("T", (0, -np.sqrt(2), 1), 2)
    assert has_axis("O", z, 4)
    assert has_axis("O", x, 4)
    assert has_axis("O", (1, 1, 1), 3)


def test_the_four_icosahedral_groups_differ_in_where_their_fivefolds_are():
    for name in ("I1", "I2"):
        assert all(has_axis(name, axis, 2) for axis in np.eye(3))
    assert has_axis("I1", (0, 1, _GOLDEN), 5)
    assert not has_axis("I1", (1, 0, _GOLDEN), 5)
    assert has_axis("I2", (1, 0, _GOLDEN), 5)
    assert not has_axis("I2", (0, 1, _GOLDEN), 5)
    for name, side in (("I3", -1), ("I4", 1)):
        assert has_axis(name, (0, 0, 1), 5)
        assert has_axis(name, (0, 1, 0), 2)
        assert has_axis(name, (side, 0, _GOLDEN), 2)
        assert not has_axis(name, (-side, 0, _GOLDEN), 2)
    assert same_group(symmetry_matrices("I"), symmetry_matrices("I2"), 1e-12)


def test_the_four_icosahedral_groups_are_one_group_turned():
    about_z = Rotation.from_euler("z", 90, degrees=True).as_matrix()
    to_fivefold = Rotation.from_euler("y", np.arctan2(1, _GOLDEN)).as_matrix().T
    reference = symmetry_matrices("I2")

    assert same_group(about_z @ reference @ about_z.T, symmetry_matrices("I1"), 1e-9)
    turned = to_fivefold @ reference @ to_fivefold.T  # The fivefold (1, 0, golden) goes to z.
    name = "I3" if has_axis("I3", to_fivefold @ [0, 0, 1], 2) else "I4"
    assert same_group(turned, symmetry_matrices(name), 1e-9)
    half = np.diag([-1.0, -1.0, 1.0])
    assert same_group(half @ symmetry_matrices("I3") @ half, symmetry_matrices("I4"), 1e-9)


def test_generators_belong_to_their_group_and_c1_has_the_identity_alone():
    assert np.allclose(symmetry_generators("C1"), np.eye(3)[None])
    for name in ORDERS:
        apart = np.abs(symmetry_generators(name)[:, None] - symmetry_matrices(name))
        assert apart.max(axis=(2, 3)).min(axis=1).max() < 1e-9


def test_names_are_taken_as_relion_takes_them():
    assert parse_point_group("d2") == "D2"
    assert parse_point_group(" c12 ") == "C12"
    assert parse_point_group("i") == "I2"
    assert np.array_equal(symmetry_matrices("o"), symmetry_matrices("O"))


@pytest.mark.parametrize("name", ["", "C", "C0", "C100", "D0", "K7", "I5", "TH", "C2V", "C-1", "²"])
def test_an_unknown_group_is_quoted_with_the_known_ones(name):
    with pytest.raises(InputError, match=r"one of C1 to C99, .* not '" + re.escape(name)):
        parse_point_group(name)


def test_a_caller_cannot_change_the_group_of_the_next():
    with pytest.raises(ValueError, match="read-only"):
        symmetry_matrices("D2")[0, 0, 0] = 2


@pytest.mark.parametrize("name", ["C3", "D2", "T", "I3"])
def test_a_symmetric_object_looks_the_same_under_r_and_r_g(name):
    z, y, x = np.mgrid[:24, :24, :24] - 12
    blob = np.exp(-((x - 4) ** 2 + (y - 2) ** 2 + (z + 3) ** 2) / 8).astype(np.float32)
    group = symmetry_matrices(name)
    volume = np.sum([rotate_volume(blob, g) for g in group], axis=0)
    rotations = quaternions_to_matrices(uniform_quaternions(4, np.random.default_rng(0)))

    images = project_volume(volume, rotations)

    for g in group[:: max(1, len(group) // 6)]:
        assert np.allclose(project_volume(volume, rotations @ g), images, atol=1e-3 * images.max())
    turned = project_volume(volume, group[1] @ rotations)  # On the wrong side: another view.
    assert np.abs(turned - images).max() > 0.02 * images.max()


@pytest.mark.relion
@pytest.mark.skipif(shutil.which("relion_refine") is None, reason="RELION is not installed")
@pytest.mark.parametrize("name", ORDERS)
def test_relion_prints_the_same_operators(name):
    printed = subprocess.run(
        ["relion_refine", "--sym", name, "--print_symmetry_ops"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    blocks = re.split(r"R\(\d+\)=", printed)[1:]
    operators = [[line.split() for line in block.strip().splitlines()[:3]] for block in blocks]
    # RELION prints five digits.
    assert same_group(np.array(operators, dtype=float), symmetry_matrices(name), 2e-5)


def test_a_group_and_its_quaternions_multiply_alike():
    first, second = symmetry_matrices("O")[3], symmetry_matrices("O")[7]
    product = matrices_to_quaternions((first @ second)[None])[0]
    dots = np.abs(symmetry_quaternions("O") @ product)
    assert dots.max() == pytest.approx(1, abs=1e-12)
