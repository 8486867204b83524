import keras
import numpy as np
import pytest

from cryotwin.imaging.ctf import CtfParameters, full_contrast_transfer
from cryotwin.imaging.errors import InputError
from cryotwin.models.architectures import ARCHITECTURES
from cryotwin.models.heads import HEADS, pairwise_feature_distances
from cryotwin.models.siamese import build, build_extractor, head_of

FEATURES = 24


@pytest.fixture(scope="module", params=sorted(ARCHITECTURES))
def model(request):
    keras.utils.set_random_seed(0)
    return build(request.param, feature_dim=FEATURES)


def _images(count, size=32, seed=0):
    return np.random.default_rng(seed).standard_normal((count, size, size, 1)).astype(np.float32)


def _distances(model, first, second):
    ctf = [_ctf(images) for images in (first, second)] if len(model.inputs) == 4 else []
    return keras.ops.convert_to_numpy(model([first, second, *ctf], training=False))


def _ctf(images):
    """One CTF for all images."""
    parameters = CtfParameters(12000.0, 11000.0, 0.5)
    ctf = full_contrast_transfer(parameters, images.shape[1], 3.0)
    return np.broadcast_to(ctf, images.shape[:3])[..., None]


def _features(model, images):
    inputs = [images, _ctf(images)] if len(model.inputs) == 4 else images
    return keras.ops.convert_to_numpy(model.get_layer("extractor")(inputs, training=False))


@pytest.mark.parametrize("size", [16, 32, 45])
def test_two_images_of_any_size_give_one_distance_in_rad(model, size):
    distances = _distances(model, _images(3, size, seed=1), _images(3, size, seed=2))

    assert distances.shape == (3, 1)
    assert (distances > 0).all()
    assert (distances <= np.pi).all()


def test_the_distance_is_the_same_both_ways_and_none_to_itself(model):
    first, second = _images(4, seed=1), _images(4, seed=2)

    assert np.array_equal(_distances(model, first, second), _distances(model, second, first))
    assert _distances(model, first, first).max() < 1e-4


@pytest.mark.parametrize("scale", [1e-3, 0.1, 1e3])
@pytest.mark.parametrize("offset", [0.0, -5.0])
def test_scale_and_offset_of_grey_do_not_matter(model, scale, offset):
    first, second = _images(4, seed=1), _images(4, seed=2)

    changed = _distances(model, scale * (first + offset), second)

    assert np.allclose(changed, _distances(model, first, second), atol=1e-4)


def test_a_constant_image_gives_a_finite_distance(model):
    blank = np.full((1, 32, 32, 1), 7.0, np.float32)

    assert np.isfinite(_distances(model, blank, _images(1))).all()
    assert _distances(model, blank, 0 * blank) < 1e-4


def test_the_extractor_gives_the_features_that_the_distance_is_read_off(model):
    first, second = _images(3, seed=1), _images(3, seed=2)

    features = [_features(model, images) for images in (first, second)]

    assert features[0].shape == (3, FEATURES)
    assert np.allclose(np.linalg.norm(features[0], axis=1), 1, atol=1e-5)
    expected = np.diag(pairwise_feature_distances(*features, "so3"))
    assert np.allclose(_distances(model, first, second)[:, 0], expected, atol=1e-4)


def test_an_image_has_the_same_features_in_any_batch(model):
    images = _images(5)

    together = _features(model, images)

    alone = _features(model, images[2:3])
    assert np.allclose(together[2:3], alone, atol=1e-5)


def test_the_model_is_functional_of_stock_layers_alone(model):
    def layers_of(part):
        for layer in part.layers:
            yield layer
            if isinstance(layer, keras.Model):
                yield from layers_of(layer)

    assert type(model) is keras.src.models.functional.Functional
    assert {type(layer).__module__.split(".")[0] for layer in layers_of(model)} == {"keras"}
    assert [tuple(tensor.shape) for tensor in model.inputs] == [(None, None, None, 1)] * len(
        model.inputs
    )


def test_a_saved_model_gives_the_same_distances(model, tmp_path):
    model.save(tmp_path / "estimator.keras")
    first, second = _images(3, seed=1), _images(3, seed=2)

    loaded = keras.models.load_model(tmp_path / "estimator.keras")

    assert np.allclose(
        _distances(loaded, first, second), _distances(model, first, second), atol=1e-6
    )


@pytest.mark.parametrize("head", HEADS)
def test_each_head_can_be_built_and_told_from_its_model(head):
    model = build("resnet_small", head=head, feature_dim=4)

    assert head_of(model) == head
    assert model.get_layer("extractor").output.shape == (None, 4)
    assert np.isfinite(_distances(model, _images(2, seed=1), _images(2, seed=2))).all()


def test_a_model_that_is_no_estimator_is_named():
    stranger = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)], name="stranger")

    with pytest.raises(InputError, match="'stranger' is not an estimator"):
        head_of(stranger)


def test_what_cannot_be_built_is_named():
    with pytest.raises(InputError, match="resnet_small.*not 'resnet_smal'"):
        build("resnet_smal")
    with pytest.raises(InputError, match="not 'resnet_smal'"):
        build_extractor("resnet_smal", head="so3", feature_dim=4)
    with pytest.raises(InputError, match="not 'sine'"):
        build("resnet_small", head="sine")
    with pytest.raises(InputError, match="at least 1, not 0"):
        build("resnet_small", feature_dim=0)
