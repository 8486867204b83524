"""Networks that turn with the image, whatever their weights: an untrained one passes as well."""

import functools

import keras
import numpy as np
import pytest
from scipy.ndimage import affine_transform

from cryotwin.imaging.ctf import CtfParameters, full_contrast_transfer
from cryotwin.models.features import extract_features
from cryotwin.models.heads import find_head
from cryotwin.models.siamese import build_extractor, takes_ctf

NAMES = ["polar_harmonic", "polar_search", "ctf_polar"]
FEATURES = 48
WIDTH = FEATURES // 3
"""Of the parts of the features: of order 0, then real and imaginary of order 1."""


@functools.cache
def _extractor(name):
    keras.utils.set_random_seed(2)
    return build_extractor(name, head=find_head("so3"), feature_dim=FEATURES)


@functools.cache
def _images(size):
    """Blobs as wide as the detail of a projection, well inside the box."""
    rng = np.random.default_rng(0)
    y, x = (np.mgrid[:size, :size] - size // 2) * 40 / size
    a, b = rng.uniform(-8, 8, (2, 6, 7, 1, 1))
    return np.exp(-((x - a) ** 2 + (y - b) ** 2) / 8).sum(axis=1).astype(np.float32)


def _features(name, images):
    """Features (B, D), of images with a CTF without astigmatism where one is asked for."""
    extractor, ctf = _extractor(name), None
    if takes_ctf(extractor):
        size = images.shape[-1]
        one = full_contrast_transfer(CtfParameters(15000.0, 15000.0), size, 4.0 * 40 / size)
        ctf = np.repeat(one, len(images), axis=0)
    return extract_features(extractor, images, ctf)


def _turned(images, degrees):
    """Turns images about their origin pixel N // 2, from x towards y."""
    cosine, sine = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    back = np.array([[cosine, -sine], [sine, cosine]])  # On (y, x).
    origin = np.full(2, images.shape[-1] // 2)
    turned = [affine_transform(one, back, origin - back @ origin, order=5) for one in images]
    return np.stack(turned).astype(np.float32)


def _turned_features(features, degrees):
    pairs = features[:, WIDTH : 2 * WIDTH] + 1j * features[:, 2 * WIDTH :]
    pairs = pairs * np.exp(-1j * np.radians(degrees))
    return np.concatenate([features[:, :WIDTH], pairs.real, pairs.imag], axis=1)


def _miss(name, size, degrees):
    """How far features of turned images are from turned features, of a unit, at most."""
    images = _images(size)
    before, after = (_features(name, one) for one in (images, _turned(images, degrees)))
    expected = _turned_features(before, degrees)
    assert np.linalg.norm(expected - before, axis=1).min() > 0.05
    return np.linalg.norm(after - expected, axis=1).max()


@pytest.mark.parametrize("degrees", [90, 180, 270])
@pytest.mark.parametrize(
    ("name", "size"),
    [("polar_harmonic", 40), ("polar_search", 40), *((name, 49) for name in NAMES)],
)
def test_features_turn_with_a_quarter_turn_exactly(name, size, degrees):
    # The origin is a centre of symmetry of the grid of 40 px. At an even size one row has no
    # counterpart, which shows where a CTF spreads the particle to the edge.
    assert _miss(name, size, degrees) < 1e-4


@pytest.mark.parametrize("degrees", [37, 90, 144, 270])
@pytest.mark.parametrize("size", [40, 49, 64])
@pytest.mark.parametrize("name", NAMES)
def test_features_of_smooth_images_turn_with_any_turn(name, size, degrees):
    assert _miss(name, size, degrees) < 0.02


@pytest.mark.parametrize("name", NAMES)
def test_turning_both_images_leaves_their_distance(name):
    head, images = find_head("so3"), _images(64)
    before, after = (_features(name, one) for one in (images, _turned(images, 37)))

    others = np.triu_indices(len(images), 1)
    distances = head.distances_in_numpy(before, before)[others]

    assert distances.min() > 0.05
    assert np.allclose(head.distances_in_numpy(after, after)[others], distances, atol=0.02)


def test_a_network_that_is_not_made_for_it_does_not_turn():
    """The test can fail: the same figure of a residual network is of the order of 1."""
    images = _images(40)
    keras.utils.set_random_seed(2)
    extractor = build_extractor("resnet_small", head=find_head("so3"), feature_dim=FEATURES)
    before, after = (extract_features(extractor, one) for one in (images, _turned(images, 37)))

    miss = np.linalg.norm(after - _turned_features(before, 37), axis=1)

    assert miss.min() > 0.1
