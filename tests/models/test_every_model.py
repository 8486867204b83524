"""What every model of the zoo has to pass: each architecture, with each head.

A new architecture or head is covered as soon as `ARCHITECTURES` or `HEADS` lists it.
"""

import functools
import itertools
import json
import os
import subprocess
import sys

import keras
import numpy as np
import pytest

from cryotwin.imaging.ctf import CtfParameters, full_contrast_transfer
from cryotwin.models.architectures import ARCHITECTURES
from cryotwin.models.heads import HEADS
from cryotwin.models.model_files import list_models, load, resolve, save_estimator
from cryotwin.models.siamese import build, head_of, takes_ctf

FEATURES = 24
MODELS = list(itertools.product(sorted(ARCHITECTURES), HEADS))


@functools.cache
def _built(architecture, head):
    keras.utils.set_random_seed(0)
    return build(architecture, head=head, feature_dim=FEATURES)


@pytest.fixture(params=MODELS, ids="-".join)
def model(request):
    return _built(*request.param)


def _images(count, size=32, seed=0):
    """Blobs and noise, (count, size, size, 1)."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:size, :size] / size - 0.5
    a, b = rng.uniform(-0.25, 0.25, (2, count, 5, 1, 1))
    blobs = np.exp(-((x - a) ** 2 + (y - b) ** 2) / 0.008).sum(axis=1)
    noise = 0.3 * rng.standard_normal((count, size, size))
    return (blobs + noise)[..., None].astype(np.float32)


def _ctf(images):
    """The CTF of one defocus for all images, (count, size, size, 1)."""
    parameters = CtfParameters(12000.0, 11000.0, 0.5)
    ctf = full_contrast_transfer(parameters, images.shape[1], 3.0)
    return np.repeat(ctf[..., None], len(images), axis=0)


def _inputs(extractor, images):
    """Images, and their CTF if the extractor takes it."""
    if not takes_ctf(extractor):
        return images
    ctf = _ctf(keras.ops.convert_to_numpy(images))
    return [keras.ops.convert_to_tensor(images), keras.ops.convert_to_tensor(ctf)]


def _distances(model, first, second):
    ctf = [_ctf(images) for images in (first, second)] if len(model.inputs) == 4 else []
    return keras.ops.convert_to_numpy(model([first, second, *ctf], training=False))


def _features(model, images):
    extractor = model.get_layer("extractor")
    inputs = _inputs(extractor, images)
    return keras.ops.convert_to_numpy(extractor(inputs, training=False))


@pytest.mark.parametrize("size", [16, 45, 64, 116])
def test_two_images_of_any_size_give_one_distance_in_range(model, size):
    distances = _distances(model, _images(2, size, seed=1), _images(2, size, seed=2))

    assert distances.shape == (2, 1)
    assert np.isfinite(distances).all()
    assert (distances > 0).all()
    assert head_of(model).name == "euclidean" or (distances <= np.float32(np.pi)).all()


def test_the_distance_is_the_same_both_ways_and_none_to_itself(model):
    first, second = _images(4, seed=1), _images(4, seed=2)

    assert np.array_equal(_distances(model, first, second), _distances(model, second, first))
    assert _distances(model, first, first).max() < 1e-4


@pytest.mark.parametrize(("scale", "offset"), [(1e-3, 0.0), (1e3, -5.0), (1.0, 40.0)])
def test_scale_and_offset_of_grey_do_not_matter(model, scale, offset):
    first, second = _images(4, seed=1), _images(4, seed=2)

    changed = _distances(model, scale * (first + offset), second)

    assert np.allclose(changed, _distances(model, first, second), atol=1e-3)


def test_a_constant_image_gives_a_finite_distance(model):
    blank = np.full((1, 32, 32, 1), 7.0, np.float32)

    assert np.isfinite(_distances(model, blank, _images(1))).all()
    assert _distances(model, blank, 0 * blank) < 1e-4


def test_gradients_are_finite_from_no_distance_to_the_largest(model):
    tf = pytest.importorskip("tensorflow")
    extractor, head = model.get_layer("extractor"), model.get_layer(head_of(model).layer_name)
    images = tf.constant(np.repeat(_images(1), 34, axis=0))
    features = _features(model, images)
    # On a great circle from the features of the image to their opposite: 0, pi, and beyond.
    aside = np.linalg.qr(np.stack([features[0], np.eye(FEATURES)[0]], axis=1))[0][:, 1]
    aside *= np.linalg.norm(features[0])
    angles = np.append(np.linspace(0, np.pi, 33), np.arccos(-1 / 3))[:, None]
    others = tf.constant(features * np.cos(angles) + aside * np.sin(angles), tf.float32)

    with tf.GradientTape() as tape:
        tape.watch(images)
        distances = head([extractor(_inputs(extractor, images), training=False), others])
    gradients = tape.gradient(distances, [images, *extractor.trainable_variables])

    assert distances[0, 0] < 1e-3
    assert head_of(model).name == "euclidean" or distances[-1, 0] > 3.1
    assert all(np.isfinite(gradient).all() for gradient in gradients)
    assert np.abs(gradients[0][1:-1]).max() > 0


def test_the_extractor_gives_the_features_that_the_distance_is_read_off(model):
    head = head_of(model)
    first, second = _images(3, seed=1), _images(3, seed=2)

    features = [_features(model, images) for images in (first, second)]

    assert features[0].shape == (3, FEATURES)
    assert head.name == "euclidean" or np.allclose(
        np.linalg.norm(features[0], axis=1), 1, atol=1e-5
    )
    expected = np.diag(head.distances_in_numpy(*features))
    assert np.allclose(_distances(model, first, second)[:, 0], expected, atol=1e-3)


def test_an_image_has_the_same_features_in_any_batch(model):
    images = _images(5)

    together = _features(model, images)

    alone = _features(model, images[2:3])
    assert np.allclose(together[2:3], alone, atol=1e-5)


def _objects(config):
    """All that a saved configuration will have Keras import, at any depth."""
    if isinstance(config, dict):
        if "class_name" in config and "module" in config:
            yield config
        config = list(config.values())
    if isinstance(config, list):
        for part in config:
            yield from _objects(part)


def test_the_model_is_functional_of_stock_layers_and_operations_alone(model):
    objects = list(_objects(json.loads(model.to_json())))

    assert objects[0]["class_name"] == "Functional"
    assert {part["module"].split(".")[0] for part in objects} <= {"keras", "builtins"}
    assert not any(">" in (part.get("registered_name") or "") for part in objects)
    assert "Lambda" not in {part["class_name"] for part in objects}
    assert [tuple(tensor.shape) for tensor in model.inputs] == [(None, None, None, 1)] * (
        4 if takes_ctf(model.get_layer("extractor")) else 2
    )


PROGRAM = """
import sys

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "cryotwin":
            raise ImportError("cryotwin must not be needed")

sys.meta_path.insert(0, Refuse())
import keras
import numpy as np
images, ctf = np.load(sys.argv[1])
distances = []
for file in sys.argv[3:]:
    model = keras.models.load_model(file)
    given = [images[:3], images[3:], ctf[:3], ctf[3:]][: len(model.inputs)]
    distances.append(keras.ops.convert_to_numpy(model(given, training=False)))
np.save(sys.argv[2], distances)
print(keras.backend.backend(), "cryotwin" in sys.modules)
"""


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A file of each architecture and of each head, and each that is published.

    Not of all their pairs: extractor and head are two graphs, and a file is the sum of both.
    """
    folder = tmp_path_factory.mktemp("models")
    some = [(name, architecture.own_head) for name, architecture in ARCHITECTURES.items()]
    some += [("resnet_small", head) for head in HEADS]
    paths = {
        folder / f"{architecture}-{head}.keras": (architecture, head) for architecture, head in some
    }
    for path, (architecture, head) in paths.items():
        save_estimator(_built(architecture, head), path, {"name": path.stem})
    return [*paths, *(resolve(entry["name"]) for entry in list_models())]


@pytest.mark.parametrize("backend", ["tensorflow", "jax"])
def test_a_process_without_this_package_gets_the_same_distances(files, backend, tmp_path):
    pytest.importorskip(backend)
    images = _images(6, size=40)
    np.save(tmp_path / "images.npy", [images, _ctf(images)])

    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, tmp_path / "images.npy", tmp_path / "d.npy", *files],
        env=os.environ | {"KERAS_BACKEND": backend, "CUDA_VISIBLE_DEVICES": "-1"},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[-2:] == [backend, "False"]
    here = [_distances(load(file), images[:3], images[3:]) for file in files]
    found = np.load(tmp_path / "d.npy")
    assert found.shape == (len(files), 3, 1)
    assert np.abs(found - here).max(axis=(1, 2)).tolist() == pytest.approx(
        [0] * len(files), abs=1e-3
    )
