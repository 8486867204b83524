from functools import reduce

import keras
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from cryotwin.imaging.errors import InputError
from cryotwin.imaging.fundamental_domain import domain_radius
from cryotwin.imaging.point_groups import symmetry_matrices
from cryotwin.imaging.rotations import (
    matrices_to_quaternions,
    pairwise_distances,
    quaternions_to_matrices,
    uniform_quaternions,
)
from cryotwin.models.heads import find_head, head_model
from cryotwin.models.pair_loss import density_table, largest_cosines, weighted_pair_loss

EXACT_EVERYWHERE = ["C2", "C5", "C7", "D1", "D2", "D3", "D7", "T", "O", "I1", "I2", "I3", "I4"]
FADING = ["C3", "C4"]
"""Near pi their kernel vanishes below what its digits hold (docs/distance-head.md)."""

every_group = pytest.mark.parametrize("group", EXACT_EVERYWHERE + FADING)


def _product(*vectors):
    """The tensor product of vectors (P, d), flat: (P, d^n)."""
    return reduce(lambda a, b: np.einsum("pa,pb->pab", a, b).reshape(len(a), -1), vectors)


def _exact_features(matrices, group):
    """Features (P, D) for which the so3 head of the group gives its distance."""
    x, y, z = np.moveaxis(matrices, -1, 0)
    head = find_head("so3", group)
    if group == "D2":
        blocks = [_product(x, x), _product(y, y), _product(z, z), _product(x, y, z)]
    elif group in {"C2", "C3", "C4"}:
        turning = _product(*[(x + 1j * y) / np.sqrt(2)] * int(group[1:]))
        blocks = [z, np.concatenate([turning.real, turning.imag], axis=1)]
    else:
        return np.concatenate([x, y, z], axis=1) / np.sqrt(3)
    unit = max(
        -(-block.shape[1] // quota) for block, quota in zip(blocks, head.quotas, strict=True)
    )
    sizes = head.block_sizes(unit * sum(head.quotas))
    padded = [
        np.pad(block, ((0, 0), (0, size - block.shape[1])))
        for block, size in zip(blocks, sizes, strict=True)
    ]
    return np.concatenate(padded, axis=1)


def _orientations(seed, count=150):
    return uniform_quaternions(count, np.random.default_rng(seed))


def _table(group, seeds=(0, 1)):
    """True distances of two sets of orientations, and their exact features."""
    first, second = (_orientations(seed) for seed in seeds)
    true = pairwise_distances(first, second, symmetry=group)
    return true, *(_exact_features(quaternions_to_matrices(q), group) for q in (first, second))


@every_group
def test_features_exist_for_which_the_head_is_exact(group):
    true, first, second = _table(group)

    estimated = find_head("so3", group).distances_in_numpy(first, second)

    certain = (true < 2.9) | (group not in FADING)
    assert np.abs(estimated - true)[certain].max() < 1e-6
    assert np.abs(estimated - true).max() < 1e-2


@every_group
def test_the_model_is_exact_in_single_precision(group):
    true, first, second = _table(group)
    first, second = first.astype(np.float32), second.astype(np.float32)

    model = head_model(find_head("so3", group), first.shape[1])
    rows = keras.ops.convert_to_numpy(model([first, second]))[:, 0]

    expected = np.diag(true)
    certain = (expected < 2.9) | (group not in FADING)
    assert np.abs(rows - expected)[certain].max() < 1e-3
    assert keras.ops.convert_to_numpy(model([first, first])).max() < 1e-4


@every_group
def test_orientations_that_look_the_same_are_at_no_distance(group):
    matrices = quaternions_to_matrices(_orientations(3, 20))
    copies = (matrices[:, None] @ symmetry_matrices(group)).reshape(-1, 3, 3)

    table = find_head("so3", group).distances_in_numpy(
        _exact_features(matrices, group), _exact_features(copies, group)
    )

    own = table.reshape(20, 20, -1)[np.arange(20), np.arange(20)]
    assert own.max() < 1e-6


@every_group
def test_the_loss_of_exact_features_is_none_and_of_others_is_not(group):
    quaternions = _orientations(4, 60)
    matrices = quaternions_to_matrices(quaternions)
    rotations = matrices.reshape(-1, 9).astype(np.float32)
    features = _exact_features(matrices, group).astype(np.float32)
    head = find_head("so3", group)

    cosines = keras.ops.convert_to_numpy(largest_cosines(rotations, group))

    true = pairwise_distances(quaternions, symmetry=group)
    assert np.abs(cosines - np.cos(true)).max() < 1e-5
    assert float(weighted_pair_loss(features, rotations, head)) < 1e-5
    assert float(weighted_pair_loss(features[::-1], rotations, head)) > 0.02


def _gradient(head, first, second):
    tf = pytest.importorskip("tensorflow")
    if keras.backend.backend() != "tensorflow":
        pytest.skip("needs the TensorFlow backend")
    first, second = (tf.constant(part, tf.float32) for part in (first, second))
    with tf.GradientTape() as tape:
        tape.watch(first)
        distances = head.distances_of_rows(first, second)
    return np.asarray(tape.gradient(distances, first))


@every_group
def test_gradients_stay_finite_and_bounded_where_the_distance_is_not_smooth(group):
    start = np.eye(3)
    half_turns = [np.diag([1.0, -1, -1]), np.diag([-1.0, 1, -1]), np.diag([-1.0, -1, 1])]
    quarter = np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])
    cyclic = np.array([[0.0, 1, 0], [0, 0, 1], [1, 0, 0]])
    ends = np.stack([start, *half_turns, quarter, cyclic, quarter @ half_turns[0]])
    second = _exact_features(ends, group)
    first = np.broadcast_to(_exact_features(start[None], group), second.shape)

    gradients = _gradient(find_head("so3", group), first, second)

    assert np.isfinite(gradients).all()
    assert np.linalg.norm(gradients, axis=1).max() < 1e4


@pytest.mark.parametrize("group", ["C2", "C3", "T"])
def test_slopes_are_those_of_the_distance_where_they_need_no_bound(group):
    head = find_head("so3", group)
    near = Rotation.from_rotvec(np.random.default_rng(1).uniform(-0.4, 0.4, (20, 3))).as_matrix()
    matrices = quaternions_to_matrices(_orientations(5, 20))
    first, second = _exact_features(matrices, group), _exact_features(near @ matrices, group)
    step = 1e-5 * np.random.default_rng(0).standard_normal(first.shape)

    gradients = _gradient(head, first, second)

    ahead, behind = (
        np.diag(head.distances_in_numpy(first + sign * step, second)) for sign in (1, -1)
    )
    assert np.sum(gradients * step, axis=1) == pytest.approx((ahead - behind) / 2, rel=2e-2)


@pytest.mark.parametrize("group", ["C1", "C3", "D2"])
def test_features_that_follow_the_slopes_come_to_have_the_true_distances(group):
    tf = pytest.importorskip("tensorflow")
    head = find_head("so3", group)
    rotations = quaternions_to_matrices(_orientations(7, 40)).reshape(40, 9).astype(np.float32)
    start = np.random.default_rng(8).standard_normal((40, 60)).astype(np.float32)
    features, optimizer = tf.Variable(start), keras.optimizers.Adam(0.03)
    losses = []
    for _ in range(400):
        with tf.GradientTape() as tape:
            loss = weighted_pair_loss(head.normalise(features), rotations, head)
        optimizer.apply([tape.gradient(loss, features)], [features])
        losses.append(float(loss))

    assert losses[-1] < 0.1 * losses[0]
    assert losses[-1] < 0.02


@pytest.mark.parametrize("group", ["C2", "D2", "T"])
def test_the_density_is_that_of_distances_between_uniform_orientations(group):
    table = density_table(group)
    distances = pairwise_distances(_orientations(6, 900), symmetry=group)
    distances = distances[np.triu_indices(900, 1)]

    counts, _ = np.histogram(distances, bins=12, range=(0, domain_radius(group)))

    places = (np.arange(12 * 20) + 0.5) / (12 * 20) * (len(table) - 1)
    expected = np.interp(places, np.arange(len(table)), table).reshape(12, 20).mean(axis=1)
    assert np.abs(counts / counts.sum() - expected / expected.sum()).max() < 0.01


def test_blocks_share_all_features_and_each_is_of_unit_length():
    head = find_head("so3", "D2")
    features = np.random.default_rng(0).standard_normal((4, 23)).astype(np.float32)

    normalised = keras.ops.convert_to_numpy(head.normalise(features))

    assert head.block_sizes(23) == (4, 4, 4, 11)
    for block in np.split(normalised, [4, 8, 12], axis=1):
        assert np.allclose(np.linalg.norm(block, axis=1), 1, atol=1e-5)
    with pytest.raises(InputError, match="at least 5"):
        head.block_sizes(4)


def test_features_that_do_not_make_three_columns_are_left_out():
    head = find_head("so3", "O")
    features = np.random.default_rng(0).standard_normal((4, 11)).astype(np.float32)

    normalised = keras.ops.convert_to_numpy(head.normalise(features))

    assert np.array_equal(normalised[:, 9:], np.zeros((4, 2)))
    assert np.allclose(np.linalg.norm(normalised, axis=1), 1, atol=1e-5)


def test_copies_of_an_orientation_have_the_same_exact_features_under_d2():
    matrices = quaternions_to_matrices(_orientations(7, 5))
    for g in symmetry_matrices("D2"):
        copy = matrices_to_quaternions(matrices @ g)
        assert np.allclose(
            _exact_features(quaternions_to_matrices(copy), "D2"), _exact_features(matrices, "D2")
        )
