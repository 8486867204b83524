import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation
from scipy.stats import kstest

from cryotwin.imaging import rotations
from cryotwin.imaging.errors import InputError
from cryotwin.imaging.point_groups import symmetry_matrices
from cryotwin.imaging.rotations import (
    FLIP_Y,
    MIRROR,
    canonical_quaternions,
    matrices_to_quaternions,
    matrices_to_relion_angles,
    multiply_quaternions,
    nearest_rotations,
    orientation_distances,
    pairwise_distances,
    quaternions_to_matrices,
    relion_angles_to_matrices,
    rotation_grid,
    rotation_vectors_to_matrices,
    uniform_quaternions,
)

SEEDS = st.integers(0, 2**32 - 1)


def _quaternions(count, seed=0):
    return uniform_quaternions(count, np.random.default_rng(seed))


def test_a_quaternion_and_its_negative_are_the_same_rotation_matrix():
    quaternions = _quaternions(50)

    assert np.array_equal(
        quaternions_to_matrices(quaternions), quaternions_to_matrices(-quaternions)
    )


def test_a_quaternion_turns_about_its_axis_by_twice_its_half_angle():
    half = 0.3

    matrix = quaternions_to_matrices([np.cos(half), 0, 0, np.sin(half)])

    cosine, sine = np.cos(2 * half), np.sin(2 * half)
    assert np.allclose(matrix, [[cosine, -sine, 0], [sine, cosine, 0], [0, 0, 1]], atol=1e-12)


def test_quaternions_and_matrices_lead_back_to_each_other_for_any_leading_axes():
    quaternions = _quaternions(24).reshape(2, 3, 4, 4)

    matrices = quaternions_to_matrices(quaternions)

    assert matrices.shape == (2, 3, 4, 3, 3)
    assert np.allclose(matrices_to_quaternions(matrices), quaternions, atol=1e-12)
    assert np.allclose(matrices @ np.swapaxes(matrices, -1, -2), np.eye(3), atol=1e-12)
    assert np.allclose(np.linalg.det(matrices), 1)


def test_quaternions_from_half_turns_have_no_negative_scalar_part():
    half_turns = np.stack([MIRROR, FLIP_Y, np.diag([-1.0, 1.0, -1.0])])

    quaternions = matrices_to_quaternions(half_turns)

    assert (quaternions[:, 0] >= 0).all()
    assert np.allclose(quaternions_to_matrices(quaternions), half_turns, atol=1e-12)


def test_canonical_quaternions_change_only_the_sign():
    quaternions = np.random.default_rng(1).standard_normal((5, 7, 4))

    canonical = canonical_quaternions(quaternions)

    assert (canonical[..., 0] >= 0).all()
    assert np.array_equal(np.abs(canonical), np.abs(quaternions))


def _relion_matrix(rot, tilt, psi):
    """Writes out RELION's Euler_angles2matrix."""
    ca, cb, cg = np.cos(np.radians([rot, tilt, psi]))
    sa, sb, sg = np.sin(np.radians([rot, tilt, psi]))
    return [
        [cg * cb * ca - sg * sa, cg * cb * sa + sg * ca, -cg * sb],
        [-sg * cb * ca - cg * sa, -sg * cb * sa + cg * ca, sg * sb],
        [sb * ca, sb * sa, cb],
    ]


ANGLES = st.tuples(st.floats(-180, 180), st.floats(0, 180), st.floats(-180, 180))


@given(ANGLES)
def test_relion_angles_give_relions_own_matrix(angles):
    matrices = relion_angles_to_matrices([angles])

    assert np.allclose(matrices[0], _relion_matrix(*angles), atol=1e-12)
    transposed = Rotation.from_euler("ZYZ", angles, degrees=True).as_matrix().T
    assert np.allclose(matrices[0], transposed, atol=1e-12)


def test_the_viewing_direction_has_the_azimuth_rot_and_the_polar_angle_tilt():
    view = relion_angles_to_matrices([[30, 60, 77]])[0, 2]

    tilt, rot = np.radians([60, 30])
    expected = [np.sin(tilt) * np.cos(rot), np.sin(tilt) * np.sin(rot), np.cos(tilt)]
    assert np.allclose(view, expected, atol=1e-12)


@given(ANGLES)
def test_matrices_lead_back_to_relion_angles_in_their_range(angles):
    matrices = relion_angles_to_matrices([angles])

    back = matrices_to_relion_angles(matrices)

    assert 0 <= back[0, 1] <= 180
    assert np.allclose(relion_angles_to_matrices(back), matrices, atol=1e-6)


@pytest.mark.parametrize("tilt", [0.0, 180.0])
def test_gimbal_lock_gives_angles_of_the_same_matrix_without_a_warning(tilt):
    matrices = relion_angles_to_matrices([[25, tilt, 40], [-170, tilt, 3]])

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        back = matrices_to_relion_angles(matrices)

    assert np.allclose(relion_angles_to_matrices(back), matrices, atol=1e-9)


def test_the_distance_is_equation_2_in_both_of_its_forms():
    first, second = _quaternions(200, seed=1), _quaternions(200, seed=2)
    relative = np.swapaxes(quaternions_to_matrices(first), -1, -2) @ quaternions_to_matrices(second)

    distances = orientation_distances(first, second)

    by_trace = np.arccos((np.trace(relative, axis1=1, axis2=2) - 1) / 2)
    by_quaternions = 2 * np.arccos(np.abs(np.sum(first * second, axis=1)))
    assert np.allclose(distances, by_trace, atol=1e-7)
    assert np.allclose(distances, by_quaternions, atol=1e-7)
    assert np.allclose(pairwise_distances(np.stack([first[0], second[0]]))[0, 1], distances[0])


@given(SEEDS, st.floats(0, np.pi))
def test_the_distance_of_a_turn_is_its_angle_down_to_the_smallest(seed, angle):
    rng = np.random.default_rng(seed)
    start = uniform_quaternions(1, rng)
    axis = rng.standard_normal(3)
    turn = rotation_vectors_to_matrices(angle * axis / np.linalg.norm(axis))
    turned = matrices_to_quaternions(turn @ quaternions_to_matrices(start))

    assert orientation_distances(start, turned)[0] == pytest.approx(angle, abs=1e-14, rel=1e-7)


@given(SEEDS)
def test_the_product_of_quaternions_is_that_of_their_matrices(seed):
    first, second = _quaternions(2, seed)
    product = quaternions_to_matrices(multiply_quaternions(first, second))
    assert np.allclose(product, quaternions_to_matrices(first) @ quaternions_to_matrices(second))


@pytest.mark.parametrize("symmetry", ["C1", "C7", "D2", "T", "O", "I3"])
def test_the_distance_under_a_group_is_the_least_to_a_copy(symmetry):
    first, second = _quaternions(50, seed=3), _quaternions(50, seed=4)
    copies = quaternions_to_matrices(second)[:, None] @ symmetry_matrices(symmetry)
    relative = np.swapaxes(quaternions_to_matrices(first), -1, -2)[:, None] @ copies
    traces = np.trace(relative, axis1=2, axis2=3)

    distances = orientation_distances(first, second, symmetry=symmetry)

    expected = np.arccos(np.clip((traces.max(axis=1) - 1) / 2, -1, 1))
    assert np.allclose(distances, expected, atol=1e-7)
    matrix = pairwise_distances(first, second, symmetry=symmetry)
    assert matrix.shape == (50, 50)
    assert np.allclose(np.diag(matrix), distances, atol=1e-7)
    assert np.allclose(
        matrix, orientation_distances(first[:, None], second, symmetry=symmetry), atol=1e-7
    )


@given(SEEDS, st.floats(0, 0.2), st.sampled_from(["C5", "D2", "O", "I"]), st.integers(0, 59))
def test_a_small_turn_of_any_copy_is_at_its_angle_down_to_the_smallest(
    seed, angle, symmetry, element
):
    rng = np.random.default_rng(seed)
    start, group = uniform_quaternions(1, rng), symmetry_matrices(symmetry)
    axis = rng.standard_normal(3)
    turn = rotation_vectors_to_matrices(angle * axis / np.linalg.norm(axis))
    copy = quaternions_to_matrices(start) @ group[element % len(group)]
    turned = matrices_to_quaternions(turn @ copy)

    (distance,) = orientation_distances(start, turned, symmetry=symmetry)
    assert distance == pytest.approx(angle, abs=1e-13, rel=1e-7)
    assert pairwise_distances(start, turned, symmetry=symmetry)[0, 0] == pytest.approx(
        angle, abs=1e-6
    )


def test_distances_in_blocks_are_those_at_once(monkeypatch):
    first, second = _quaternions(30, seed=5), _quaternions(20, seed=6)
    whole = pairwise_distances(first, second, symmetry="D2")
    monkeypatch.setattr(rotations, "_BLOCK_ENTRIES", 70)
    assert np.allclose(pairwise_distances(first, second, symmetry="D2"), whole, atol=1e-12)


def test_distances_under_an_unknown_group_are_refused():
    with pytest.raises(InputError, match="symmetry must be one of .* not 'K3'"):
        orientation_distances([1.0, 0, 0, 0], [1.0, 0, 0, 0], symmetry="K3")


@given(SEEDS)
def test_the_distance_does_not_change_under_isometries(seed):
    first, second, left, right = quaternions_to_matrices(_quaternions(4, seed))

    def distance(one, other):
        return orientation_distances(*matrices_to_quaternions(np.stack([one, other])))

    expected = distance(first, second)
    assert distance(left @ first @ right, left @ second @ right) == pytest.approx(
        expected, abs=1e-9
    )
    assert distance(first.T, second.T) == pytest.approx(expected, abs=1e-9)


def test_uniform_orientations_lie_at_distances_of_density_sin_squared():
    quaternions = _quaternions(4000)

    distances = orientation_distances(quaternions, [1.0, 0, 0, 0])
    views = quaternions_to_matrices(quaternions)[:, 2]

    assert kstest(distances, lambda d: (d - np.sin(d)) / np.pi).pvalue > 0.01
    assert kstest(views[:, 2], lambda height: (1 + height) / 2).pvalue > 0.01
    assert np.allclose(np.linalg.norm(quaternions, axis=1), 1)
    assert (quaternions[:, 0] >= 0).all()


@pytest.mark.parametrize("spacing", [0.5, 0.3])
def test_a_rotation_grid_comes_close_to_every_rotation(spacing):
    grid = matrices_to_quaternions(rotation_grid(spacing))
    anywhere = _quaternions(2000)

    nearest = 2 * np.arccos(np.abs(anywhere @ grid.T).max(axis=1))

    assert len(grid) == round(8 * np.pi**2 / spacing**3)
    assert nearest.max() < spacing
    assert nearest.mean() < 0.6 * spacing


def test_nearest_rotations_keep_rotations_and_forget_scale():
    rotations = quaternions_to_matrices(_quaternions(20))

    assert np.allclose(nearest_rotations(3.7 * rotations), rotations, atol=1e-12)


@given(SEEDS)
def test_nearest_rotations_maximise_the_trace_also_for_reflections(seed):
    rng = np.random.default_rng(seed)
    matrix = rng.standard_normal((3, 3))
    if seed % 2:
        matrix[0] *= -np.sign(np.linalg.det(matrix))

    nearest = nearest_rotations(matrix[None])[0]

    others = quaternions_to_matrices(uniform_quaternions(300, rng))
    others = np.concatenate([others, nearest @ rotation_vectors_to_matrices(0.01 * np.eye(3))])
    assert np.linalg.det(nearest) == pytest.approx(1)
    assert np.trace(matrix.T @ nearest) >= np.einsum("ij,pij->p", matrix, others).max()
