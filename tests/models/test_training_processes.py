"""Training in processes of their own, which are killed, lack TensorFlow, or have two devices."""

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from cryotwin.imaging.rotations import uniform_quaternions

PROGRAM = """
import sys, pathlib
mode, folder = sys.argv[1], pathlib.Path(sys.argv[2])
devices = int(sys.argv[3])
if mode == "no_tensorflow":
    class Absent:
        def find_spec(self, name, path=None, target=None):
            if name.partition(".")[0] in ("tensorflow", "tensorflow_datasets"):
                raise ImportError(f"{name} is not installed")
    sys.meta_path.insert(0, Absent())
if mode == "two_processors":
    import tensorflow as tf
    processor = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(
        processor, [tf.config.LogicalDeviceConfiguration()] * 2
    )
import numpy as np
from cryotwin.datasets.perturbation import Perturbation
from cryotwin.models.pair_batches import Views
from cryotwin.models.training import train
from cryotwin.models.training_settings import TrainingSettings
data = np.load(folder.parent / "views.npz")
views = Views(data["images"], data["quaternions"])
settings = TrainingSettings(
    model="resnet_small", feature_dim=16, epochs=2, batch_size=16, seed=4, curriculum=0.5,
    patience=5, perturbation=Perturbation(noise_variance=0.5, max_shift_px=1), devices=devices,
    auxiliary_weight=0.1,
)
def report(epoch):
    print(epoch.epoch, f"{epoch.loss:.9g} {epoch.validation_mse_rad2:.9g}", flush=True)
model = train(views, Views(views.images[:32], views.quaternions[:32]), settings,
              checkpoints=folder, report=report, checkpoint_seconds=0.0)
np.savez(folder / "weights.npz", *model.get_weights())
"""


@pytest.fixture(scope="module")
def views(tmp_path_factory):
    """A folder with 96 views of random smooth images."""
    folder = tmp_path_factory.mktemp("training")
    rng = np.random.default_rng(0)
    quaternions = uniform_quaternions(96, rng)
    basis = rng.standard_normal((4, 16, 16))
    images = np.einsum("pk,kyx->pyx", quaternions, basis).astype(np.float32)
    np.savez(folder / "views.npz", images=images, quaternions=quaternions)
    return folder


def _start(folder, mode="plain", devices=1, **environment):
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, mode, str(folder), str(devices)],
        env=os.environ | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def _finish(folder, *arguments, **environment):
    """Gives the losses and validation errors (epochs, 2), and the weights."""
    with _start(folder, *arguments, **environment) as process:
        told, errors = process.communicate(timeout=600)
    assert process.returncode == 0, errors[-2000:]
    curve = np.array([line.split()[1:] for line in told.splitlines()], dtype=float)
    with np.load(folder / "weights.npz") as weights:
        return curve, list(weights.values())


def _assert_same(found, expected, tolerance):
    for one, other in zip(found, expected, strict=True):
        assert np.abs(one - other).max() < tolerance * max(1, np.abs(other).max())


@pytest.fixture(scope="module")
def one_go(views):
    return _finish(views / "one_go", KERAS_BACKEND="tensorflow")


def test_training_that_is_killed_within_an_epoch_ends_with_the_same_weights(views, one_go):
    folder = views / "killed"
    checkpoint = folder / "checkpoint.npz"
    with _start(folder, KERAS_BACKEND="tensorflow") as process:
        deadline = time.monotonic() + 300
        while not _steps(checkpoint) >= 8:  # Of six steps in each of two epochs.
            assert process.poll() is None, process.communicate()[1][-2000:]
            assert time.monotonic() < deadline
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert 8 <= _steps(checkpoint) < 12

    curve, weights = _finish(folder, KERAS_BACKEND="tensorflow")

    assert len(curve) == 1
    assert np.allclose(curve, one_go[0][1:], rtol=1e-3)
    _assert_same(weights, one_go[1], 1e-3)


def _steps(checkpoint):
    """Steps that a checkpoint has behind it; 0 without one."""
    import json

    if not checkpoint.exists():
        return 0
    with np.load(checkpoint) as saved:
        return json.loads(str(saved["note"]))["progress"]["step"]


@pytest.mark.slow
def test_two_replicas_on_tensorflow_have_the_loss_of_one_device(views, one_go):
    curve, weights = _finish(views / "replicas", "two_processors", 2, KERAS_BACKEND="tensorflow")
    assert np.allclose(curve, one_go[0], rtol=5e-3)
    _assert_same(weights, one_go[1], 1e-3)


@pytest.mark.slow
def test_jax_needs_no_tensorflow_and_two_devices_have_the_loss_of_one(views, one_go):
    pytest.importorskip("jax")
    jax = {"KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu"}
    two = {"XLA_FLAGS": "--xla_force_host_platform_device_count=2"}
    alone = _finish(views / "jax", "no_tensorflow", 1, **jax)
    shared = _finish(views / "jax_devices", "no_tensorflow", 2, **jax, **two)
    assert np.allclose(shared[0], alone[0], rtol=5e-3)
    _assert_same(shared[1], alone[1], 1e-3)
