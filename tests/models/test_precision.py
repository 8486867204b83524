import keras
import numpy as np
import pytest

from cryotwin.models.architectures import ARCHITECTURES, find_architecture
from cryotwin.models.heads import find_head
from cryotwin.models.precision import computing_in, layers_of_the_end
from cryotwin.models.siamese import build_extractor


@pytest.mark.parametrize("name", sorted(ARCHITECTURES))
def test_the_network_computes_in_16_bits_and_its_end_in_32(name):
    extractor = build_extractor(name, head=find_head("so3"), feature_dim=30)
    images = np.random.default_rng(0).standard_normal((4, 20, 20, 1)).astype(np.float32)
    inputs = [images, images] if find_architecture(name).takes_ctf else images
    exact = np.asarray(extractor(inputs))

    with computing_in(extractor, "mixed_bfloat16"):
        types = {layer.name: layer.compute_dtype for layer in extractor.layers}
        features = extractor(inputs)
        assert "bfloat16" in types.values()
        assert {types[layer.name] for layer in layers_of_the_end(extractor)} == {"float32"}
        assert keras.backend.standardize_dtype(features.dtype) == "float32"

    assert 0 < np.abs(np.asarray(features) - exact).max() < 0.1
    assert {layer.compute_dtype for layer in extractor.layers} == {"float32"}
    assert np.array_equal(np.asarray(extractor(inputs)), exact)


def test_the_end_is_what_features_are_made_by_whatever_it_is_called():
    ends = {}
    for name in ("resnet_small", "polar_harmonic", "banjac2021"):
        extractor = build_extractor(name, head=find_head("so3"), feature_dim=30)
        ends[name] = {layer.name for layer in layers_of_the_end(extractor) if layer.weights}
    assert ends["resnet_small"] == {"features"}
    assert ends["polar_harmonic"] == {"features_0", "features_1_real", "features_1_imaginary"}
    assert len(ends["banjac2021"]) == 1  # The last convolution: it has no dense layer.
