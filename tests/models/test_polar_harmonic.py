import itertools

import keras
import numpy as np
import pytest

from cryotwin.models.circular_harmonics import Coefficients
from cryotwin.models.heads import find_head
from cryotwin.models.polar_harmonic import turning_features
from cryotwin.models.siamese import build_extractor

ORDERS, CHANNELS = 5, 7
HEADS = [("so3", "C1"), ("so3", "C3"), ("so3", "D2"), ("so3", "T"), ("cosine", "C1")]


def _coefficients(count, seed=0):
    values = np.random.default_rng(seed).standard_normal((2, count, ORDERS, CHANNELS))
    return values[0] + 1j * values[1]


def _reader(head, feature_dim):
    """Features of Fourier coefficients (B, M, C), on the unit sphere as an extractor gives them."""
    keras.utils.set_random_seed(1)
    parts = [keras.Input((ORDERS, CHANNELS)) for _ in range(2)]
    features = head.normalise(turning_features(Coefficients(*parts), feature_dim, head))
    model = keras.Model(parts, features)
    return lambda values: keras.ops.convert_to_numpy(
        model([part.astype(np.float32) for part in (values.real, values.imag)])
    )


def _turned_coefficients(values, angle):
    # Those of order 0 are real in a map; what is imaginary of them must not show.
    return values * np.exp(-1j * angle * np.arange(ORDERS))[:, None]


def turned_features(features, head, angle):
    """Multiplies the features (B, D) of order m of each part by exp(-i m angle)."""
    sizes = head.turning_sizes(features.shape[1])
    order = min(head.angular_order, (min(sizes) - 1) // 2)
    turned, start = features.astype(np.complex128), 0
    for size in sizes:
        width = size // (2 * order + 1)
        place = start + size - 2 * order * width
        for m in range(1, order + 1):
            real, imaginary = (slice(place + k * width, place + (k + 1) * width) for k in (0, 1))
            pairs = (features[:, real] + 1j * features[:, imaginary]) * np.exp(-1j * m * angle)
            turned[:, real], turned[:, imaginary] = pairs.real, pairs.imag
            place += 2 * width
        start += size
    return turned.real


@pytest.mark.parametrize("angle", [0.7, np.pi / 2, -2.9])
@pytest.mark.parametrize(("name", "symmetry"), HEADS)
def test_each_part_of_the_features_turns_by_its_orders(name, symmetry, angle):
    head = find_head(name, symmetry)
    features_of = _reader(head, 70)
    before = features_of(_coefficients(6))

    after = features_of(_turned_coefficients(_coefficients(6), angle))

    assert before.shape == (6, 70)
    assert np.linalg.norm(after - before, axis=1).min() > 0.2
    assert np.allclose(after, turned_features(before, head, angle), atol=1e-5)


@pytest.mark.parametrize(("name", "symmetry"), HEADS)
def test_the_distance_of_two_images_stays_when_both_are_turned(name, symmetry):
    """Also under a group: its rotations act on the object's side, turns on the image's."""
    head = find_head(name, symmetry)
    features_of = _reader(head, 70)
    before = features_of(_coefficients(8))

    after = features_of(_turned_coefficients(_coefficients(8), 1.1))

    others = np.triu_indices(8, 1)
    distances = head.distances_in_numpy(before, before)[others]
    assert distances.min() > 0.1
    assert np.allclose(head.distances_in_numpy(after, after)[others], distances, atol=1e-3)


def test_all_orders_that_a_head_needs_are_in_each_of_its_parts():
    for symmetry, orders in (("C1", 1), ("C3", 3), ("D2", 3), ("T", 1)):
        head = find_head("so3", symmetry)
        values = _coefficients(1)
        turns = np.arange(16) * 2 * np.pi / 16
        features = _reader(head, 70)(
            np.concatenate([_turned_coefficients(values, turn) for turn in turns])
        )
        ends = np.cumsum([0, *head.turning_sizes(70)])
        for first, last in itertools.pairwise(ends):
            power = np.abs(np.fft.fft(features[:, first:last], axis=0)[: ORDERS + 1]) ** 2
            strong = power.sum(axis=1) > 1e-6 * power.sum()
            assert np.flatnonzero(strong).tolist() == list(range(orders + 1)), symmetry


@pytest.mark.parametrize(
    ("symmetry", "feature_dim"), [("C1", 1), ("C1", 2), ("C1", 3), ("D2", 5), ("C3", 4), ("T", 3)]
)
def test_few_features_have_fewer_orders(symmetry, feature_dim):
    head = find_head("so3", symmetry)
    features = _reader(head, feature_dim)(_coefficients(3))

    assert features.shape == (3, feature_dim)
    assert np.isfinite(features).all()
    for block in head.split(features):
        assert np.allclose(np.linalg.norm(block, axis=1), 1, atol=1e-5)


def test_the_templates_are_as_many_numbers_as_rings_orders_and_channels():
    extractor = build_extractor("polar_harmonic", head=find_head("so3"), feature_dim=512)

    # Complex weights of 20 orders, 16 rings to 160 templates; of 14 orders, 160 to 160, twice.
    mixing = 2 * 20 * 16 * 160 + 2 * 2 * 14 * 160 * 160
    norms = 3 * 4 * 160
    # Of 512 features 170 are complex ones of order 1, without a bias.
    reading = (512 - 2 * 170) * (160 + 1) + 2 * 170 * 160
    assert extractor.count_params() == mixing + norms + reading
