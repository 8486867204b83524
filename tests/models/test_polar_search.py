import keras
import numpy as np
import pytest

from cryotwin.imaging.microscope import shift_images
from cryotwin.models.features import extract_features
from cryotwin.models.heads import find_head
from cryotwin.models.siamese import build_extractor


@pytest.fixture(scope="module")
def images():
    """Blobs in the middle of an empty box of the grid's 40 px."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:40, :40] - 20
    a, b = rng.uniform(-6, 6, (2, 8, 7, 1, 1))
    return np.exp(-((x - a) ** 2 + (y - b) ** 2) / 8).sum(axis=1).astype(np.float32)


def _motion(name, images, shift):
    """How far features move with a shift, over how far those of two images are apart."""
    keras.utils.set_random_seed(1)
    extractor = build_extractor(name, head=find_head("so3"), feature_dim=48)
    moved = shift_images(images, np.full((len(images), 2), shift))
    before, after = (extract_features(extractor, one) for one in (images, moved))
    pairs = np.triu_indices(len(images), 1)
    apart = np.linalg.norm(before[pairs[0]] - before[pairs[1]], axis=1).mean()
    return np.linalg.norm(after - before, axis=1).mean() / apart


def test_features_move_less_with_a_shift_than_those_about_one_centre(images):
    for shift in (0.9, 1.9):
        searched, plain = (_motion(n, images, shift) for n in ("polar_search", "polar_harmonic"))
        assert searched < 0.8 * plain
