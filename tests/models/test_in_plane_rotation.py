"""Networks that turn with the image, whatever their weights: an untrained one passes as well."""

import keras
import numpy as np
import pytest
from scipy.ndimage import affine_transform

from cryotwin.models.architectures import ARCHITECTURES
from cryotwin.models.heads import find_head
from cryotwin.models.siamese import build_extractor

NAMES = sorted(name for name in ARCHITECTURES if name.startswith("polar"))


@pytest.fixture(scope="module", params=NAMES)
def extractor(request):
    keras.utils.set_random_seed(2)
    return build_extractor(request.param, head="so3", feature_dim=48)


@pytest.fixture(scope="module", params=[40, 49, 64])
def images(request):
    """Blobs as wide as the detail of a projection, well inside boxes of several sizes."""
    size, rng = request.param, np.random.default_rng(0)
    y, x = (np.mgrid[:size, :size] - size // 2) * 40 / size
    a, b = rng.uniform(-8, 8, (2, 6, 7, 1, 1))
    return np.exp(-((x - a) ** 2 + (y - b) ** 2) / 8).sum(axis=1).astype(np.float32)


def _features(extractor, images):
    return keras.ops.convert_to_numpy(extractor(images[..., None], training=False))


def _turned(images, degrees):
    """Turns images about their origin pixel N // 2, from x towards y."""
    cosine, sine = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    back = np.array([[cosine, -sine], [sine, cosine]])  # On (y, x).
    origin = np.full(2, images.shape[-1] // 2)
    turned = [affine_transform(one, back, origin - back @ origin, order=5) for one in images]
    return np.stack(turned).astype(np.float32)


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_an_image_and_its_quarter_turns_are_as_far_apart_as_they_were_turned(
    extractor, images, degrees
):
    distances = _to_the_turned(extractor, images, degrees)
    # The sine of half a distance loses digits near pi.
    assert np.allclose(distances, np.radians(min(degrees, 360 - degrees)), atol=3e-3)


@pytest.mark.parametrize("degrees", [5, 22.5, 37, 61, 144])
def test_an_image_turned_by_any_angle_is_that_far_from_itself(extractor, images, degrees):
    distances = _to_the_turned(extractor, images, degrees)
    assert np.allclose(distances, np.radians(degrees), atol=0.02)


def _to_the_turned(extractor, images, degrees):
    """Estimates the distance between each image and itself after a turn."""
    first, second = (_features(extractor, one) for one in (images, _turned(images, degrees)))
    return np.diag(find_head("so3").distances_in_numpy(first, second))


@pytest.mark.parametrize("degrees", [90, 37])
def test_turning_both_images_leaves_their_distance(extractor, images, degrees):
    before, after = (_features(extractor, one) for one in (images, _turned(images, degrees)))

    distances = find_head("so3").distances_in_numpy(before, before)

    assert distances[np.triu_indices(len(images), 1)].min() > 0.05
    assert np.allclose(find_head("so3").distances_in_numpy(after, after), distances, atol=0.02)
