import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cryotwin.imaging.errors import InputError
from cryotwin.imaging.rotations import (
    orientation_distances,
    quaternions_to_matrices,
    rotation_vectors_to_matrices,
    uniform_quaternions,
)
from cryotwin.models.heads import HEADS, find_head, head_model
from cryotwin.models.plain_heads import KERAS

every_head = pytest.mark.parametrize("head", HEADS)


def _features(head, count, dimensions=16, seed=0):
    features = np.random.default_rng(seed).standard_normal((count, dimensions)).astype(np.float32)
    return keras.ops.convert_to_numpy(find_head(head).normalise(features))


def _distances(head, first, second):
    model = head_model(find_head(head), first.shape[-1])
    return keras.ops.convert_to_numpy(model([first, second]))[:, 0]


def _exact_features(matrices):
    """Gives the 9 features of unit length whose inner products are tr(Ri^T Rj) / 3."""
    return (matrices.reshape(-1, 9) / np.sqrt(3)).astype(np.float32)


@every_head
def test_a_distance_is_the_same_both_ways(head):
    first, second = _features(head, 200, seed=1), _features(head, 200, seed=2)

    assert np.array_equal(_distances(head, first, second), _distances(head, second, first))


@every_head
def test_identical_features_are_at_no_distance(head):
    features = _features(head, 200)

    assert _distances(head, features, features).max() < 1e-4
    assert np.diag(find_head(head).distances_in_numpy(features, features)).max() < 1e-6


@pytest.mark.parametrize("head", ["so3", "cosine"])
@given(seed=st.integers(0, 10_000), dimensions=st.integers(1, 12))
def test_a_distance_of_unit_features_is_an_angle_up_to_pi(head, seed, dimensions):
    first = _features(head, 30, dimensions, seed)
    second = np.concatenate([_features(head, 15, dimensions, seed + 1), -first[:15]])
    squared = np.sum((first - second) ** 2, axis=1, keepdims=True)

    distances = keras.ops.convert_to_numpy(find_head(head).distance([squared], KERAS))

    assert np.isfinite(distances).all()
    assert (distances >= 0).all()
    assert (distances <= np.float32(np.pi)).all()


def test_the_euclidean_distance_is_the_length_between_features():
    first, second = _features("euclidean", 50, seed=1), _features("euclidean", 50, seed=2)

    distances = _distances("euclidean", first, second)

    assert np.allclose(distances, np.linalg.norm(first - second, axis=1), atol=1e-5)
    assert distances.max() > np.pi


@every_head
def test_all_pairs_in_numpy_agree_with_the_model(head):
    first, second = _features(head, 12, seed=1), _features(head, 9, seed=2)
    if head != "euclidean":
        second[:3], second[3:5] = first[:3], -first[3:5]

    table = find_head(head).distances_in_numpy(first, second)

    i, j = np.indices(table.shape).reshape(2, -1)
    assert table.shape == (12, 9)
    assert np.allclose(table[i, j], _distances(head, first[i], second[j]), atol=1e-3)


def test_the_so3_head_reads_the_orientation_distance_off_nine_features():
    rng = np.random.default_rng(0)
    first, second = uniform_quaternions(2000, rng), uniform_quaternions(2000, rng)
    expected = orientation_distances(first, second)

    distances = _distances(
        "so3",
        _exact_features(quaternions_to_matrices(first)),
        _exact_features(quaternions_to_matrices(second)),
    )

    assert np.abs(distances - expected)[expected < 3].max() < 1e-4
    assert np.abs(distances - expected).max() < 1e-3


@pytest.mark.parametrize(
    ("angle", "tolerance"),
    [
        (1e-5, 1e-5),
        (1e-4, 1e-6),
        (1e-3, 1e-6),
        (0.1, 1e-6),
        (3.0, 1e-4),
        (3.14, 1e-3),
        (np.pi, 1e-3),
    ],
)
def test_the_so3_head_is_exact_from_small_turns_to_half_turns(angle, tolerance):
    rng = np.random.default_rng(1)
    starts = quaternions_to_matrices(uniform_quaternions(100, rng))
    axes = rng.standard_normal((100, 3))
    axes /= np.linalg.norm(axes, axis=1, keepdims=True)
    # Differences of features in float32 are exact to about 1e-7: turns about the identity keep
    # small distances above that.
    turned = rotation_vectors_to_matrices(angle * axes) @ starts

    distances = _distances("so3", _exact_features(starts), _exact_features(turned))

    assert np.abs(distances - angle).max() < tolerance


def test_the_cosine_head_is_exact_on_quaternions_of_one_sign():
    rng = np.random.default_rng(2)
    first = uniform_quaternions(500, rng).astype(np.float32)
    second = uniform_quaternions(500, rng).astype(np.float32)
    same_sign = np.sum(first * second, axis=1) > 0

    distances = _distances("cosine", first, second)

    expected = orientation_distances(first, second)
    assert np.allclose(distances[same_sign], expected[same_sign], atol=1e-3)
    assert np.allclose(distances[~same_sign], np.pi, atol=1e-3)


@every_head
@pytest.mark.parametrize("pair", ["identical", "furthest", "beyond"])
def test_gradients_are_finite_at_both_ends(head, pair):
    tf = pytest.importorskip("tensorflow")
    if keras.backend.backend() != "tensorflow":
        pytest.skip("needs the TensorFlow backend")
    model = head_model(find_head(head), 9)
    half_turn = {"so3": np.diag([-1.0, -1.0, 1.0]).ravel(), "cosine": -np.eye(3).ravel()}
    start = np.eye(3).ravel() / np.sqrt(3)
    end = {
        "identical": start,
        "furthest": half_turn.get(head, -np.eye(3).ravel()) / np.sqrt(3),
        "beyond": -start,
    }[pair]
    first = tf.constant(start[None], tf.float32)
    second = tf.constant(end[None], tf.float32)

    with tf.GradientTape() as tape:
        tape.watch([first, second])
        distance = model([first, second])
    gradients = tape.gradient(distance, [first, second])

    assert all(np.isfinite(gradient).all() for gradient in gradients)


def test_gradients_of_the_so3_head_are_finite_all_the_way():
    tf = pytest.importorskip("tensorflow")
    if keras.backend.backend() != "tensorflow":
        pytest.skip("needs the TensorFlow backend")
    angles = np.concatenate([[0, 1e-7, 1e-4], np.linspace(0.01, 3.14, 50), [np.pi - 1e-5, np.pi]])
    turned = rotation_vectors_to_matrices(angles[:, None] * [0.6, 0.0, 0.8])
    first = tf.constant(_exact_features(np.broadcast_to(np.eye(3), turned.shape).copy()))
    second = tf.constant(_exact_features(turned))

    with tf.GradientTape() as tape:
        tape.watch(second)
        distances = head_model(find_head("so3"), 9)([first, second])
    gradient = np.asarray(tape.gradient(distances, second))

    assert np.isfinite(gradient).all()
    # d = 2 arcsin(u) with u = sqrt(3/8) |f - g| has the slope sqrt(3/2) / cos(d / 2).
    middle = (angles > 0.01) & (angles < 3)
    slopes = np.linalg.norm(gradient, axis=1)[middle]
    assert np.allclose(slopes, np.sqrt(1.5) / np.cos(angles[middle] / 2), rtol=1e-2)


def test_no_features_have_the_paper_s_inner_products_but_nine_have_ours():
    """A matrix of inner products has no negative eigenvalue (docs/distance-head.md)."""
    count = 600
    quaternions = uniform_quaternions(count, np.random.default_rng(0))
    matrices = quaternions_to_matrices(quaternions).reshape(count, 9)

    papers = np.linalg.eigvalsh(np.abs(quaternions @ quaternions.T))
    ours = np.linalg.eigvalsh(matrices @ matrices.T / 3)

    # On S^3 the degree 4 is 25-fold, with coefficient c_2 / 5 = -4 / (105 pi) of the kernel.
    assert papers[:25].mean() / count == pytest.approx(-4 / (105 * np.pi), rel=0.1)
    assert ours.min() > -1e-9 * count
    assert (ours > 1e-9 * count).sum() == 9


@pytest.mark.parametrize("head", ["so3", "cosine"])
def test_features_are_normalised_and_zero_features_stay_finite(head):
    features = np.array([[3.0, 4.0], [0.0, 0.0]], dtype=np.float32)

    normalised = keras.ops.convert_to_numpy(find_head(head).normalise(features))

    assert np.allclose(normalised, [[0.6, 0.8], [0, 0]], atol=1e-6)


def test_euclidean_features_keep_their_length():
    features = np.array([[3.0, 4.0]], dtype=np.float32)

    assert np.array_equal(find_head("euclidean").normalise(features), features)


def test_an_unknown_head_is_named_with_those_there_are():
    with pytest.raises(InputError, match="so3, cosine, euclidean, not 'arc'"):
        find_head("arc")
    with pytest.raises(InputError, match="not 'Q3'"):
        find_head("so3", "Q3")
