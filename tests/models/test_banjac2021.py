import keras
import numpy as np
import pytest

from cryotwin.models.heads import find_head
from cryotwin.models.siamese import build, build_extractor

# The paper's Appendix E: filters in, filters out, edge of the kernel.
LAYERS = [(1, 32, 7), (32, 64, 5), (64, 128, 3), (128, 256, 3), (256, 256, 3), (256, 512, 3)]


@pytest.mark.parametrize("head", ["so3", "cosine", "euclidean"])
@pytest.mark.parametrize("feature_dim", [4, 512])
def test_it_has_the_parameters_of_seven_convolutions_and_no_others(head, feature_dim):
    layers = [*LAYERS, (512, feature_dim, 3)]

    model = build("banjac2021", head=head, feature_dim=feature_dim)

    weights = sum(kernel**2 * before * after + after for before, after, kernel in layers)
    assert model.count_params() == weights
    assert model.output_shape == (None, 1)


def test_a_116_px_image_is_halved_seven_times_to_one_pixel():
    extractor = build_extractor("banjac2021", head=find_head("cosine"), feature_dim=512)
    pooled = keras.Model(extractor.inputs, extractor.get_layer("pool7").output)

    assert keras.ops.shape(pooled([np.zeros((1, 116, 116, 1), np.float32)])) == (1, 1, 1, 512)


def test_its_features_have_signs_for_the_head_that_needs_them():
    images = np.random.default_rng(0).standard_normal((4, 32, 32, 1)).astype(np.float32)

    lowest = {
        head: float(keras.ops.min(_extractor(head)(images)))
        for head in ("so3", "cosine", "euclidean")
    }

    assert lowest["so3"] < -0.1
    assert lowest["cosine"] >= 0
    assert lowest["euclidean"] >= 0


def _extractor(head):
    return build_extractor("banjac2021", head=find_head(head), feature_dim=16)
