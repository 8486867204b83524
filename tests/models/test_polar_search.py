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


def _motions(name, images):
    """How far features move with three shifts, over how far those of two images are apart."""
    keras.utils.set_random_seed(1)
    extractor = build_extractor(name, head=find_head("so3"), feature_dim=48)
    before = extract_features(extractor, images)
    pairs = np.triu_indices(len(images), 1)
    apart = np.linalg.norm(before[pairs[0]] - before[pairs[1]], axis=1).mean()
    shifted = [shift_images(images, np.full((len(images), 2), px)) for px in (0.5, 0.9, 1.9)]
    moved = [np.linalg.norm(extract_features(extractor, one) - before, axis=1) for one in shifted]
    return np.mean(moved, axis=1) / apart


def test_features_move_less_with_a_shift_than_those_about_one_centre(images):
    """Even with templates that look for nothing; up to the step between two centres."""
    searched, plain = (_motions(name, images) for name in ("polar_search", "polar_harmonic"))

    assert (searched < 0.95 * plain).all()
    assert (searched > 0.1).all()


def test_the_templates_are_shared_by_all_centres():
    extractor = build_extractor("polar_search", head=find_head("so3"), feature_dim=512)

    # Complex weights of 16 orders, 14 rings to 128 templates; of 14 orders, 128 to 160 to 160.
    mixing = 2 * 16 * 14 * 128 + 2 * 14 * (128 * 160 + 160 * 160)
    norms = 4 * (128 + 128 + 160 + 160)
    # Of 512 features 170 are complex ones of order 1, without a bias.
    reading = (512 - 2 * 170) * (160 + 1) + 2 * 170 * 160
    assert extractor.count_params() == mixing + norms + reading
