"""A published file opens for whoever has Keras and has never heard of this package."""

import os
import subprocess
import sys

import keras
import numpy as np
import pytest

from cryotwin.models.model_files import list_models, load, resolve, save_estimator
from cryotwin.models.siamese import build

PROGRAM = """
import sys

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "cryotwin":
            raise ImportError("cryotwin must not be needed")

sys.meta_path.insert(0, Refuse())
import keras
import numpy as np
images = np.load(sys.argv[1])
for file in sys.argv[3:]:
    model = keras.models.load_model(file)
    distances = model.predict([images[:8], images[8:]], verbose=0)
    np.save(sys.argv[2] + "/" + file.replace("/", "-") + ".npy", distances)
print(keras.backend.backend(), "cryotwin" in sys.modules)
"""


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Estimator files: one just built, and each that is published."""
    path = tmp_path_factory.mktemp("bare") / "fresh.keras"
    keras.utils.set_random_seed(3)
    save_estimator(build("resnet_small", feature_dim=16), path, {"name": "fresh"})
    return [path, *(resolve(entry["name"]) for entry in list_models())]


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """Sixteen images with structure and noise, of a size that no estimator was trained on."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:40, :40] - 20
    centres = rng.uniform(-9, 9, (16, 5, 2))
    blobs = [
        sum(np.exp(-((x - a) ** 2 + (y - b) ** 2) / 12) for a, b in centre) for centre in centres
    ]
    stack = np.array(blobs) + 0.3 * rng.standard_normal((16, 40, 40))
    path = tmp_path_factory.mktemp("images") / "images.npy"
    np.save(path, stack[..., None].astype(np.float32))
    return path


@pytest.mark.parametrize("backend", ["tensorflow", "jax"])
def test_a_process_without_this_package_gets_the_same_distances(files, images, backend, tmp_path):
    if backend == "jax":
        pytest.importorskip("jax")

    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(images), str(tmp_path), *map(str, files)],
        env=os.environ | {"KERAS_BACKEND": backend, "CUDA_VISIBLE_DEVICES": "-1"},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[-2:] == [backend, "False"]
    stack = np.load(images)
    for file in files:
        here = keras.ops.convert_to_numpy(load(file)([stack[:8], stack[8:]], training=False))
        found = np.load(tmp_path / (str(file).replace("/", "-") + ".npy"))
        assert found.shape == (8, 1)
        assert np.abs(found - here).max() < 1e-3, file
