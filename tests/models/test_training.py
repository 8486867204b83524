import os
import shutil
import subprocess
import sys
from dataclasses import replace

import keras
import numpy as np
import pytest

from cryotwin.datasets.perturbation import Perturbation
from cryotwin.imaging.ctf import CtfDistribution
from cryotwin.imaging.errors import InputError
from cryotwin.imaging.microscope import signal_variance
from cryotwin.imaging.projection import project_volume
from cryotwin.imaging.rotations import (
    pairwise_distances,
    quaternions_to_matrices,
    uniform_quaternions,
)
from cryotwin.models.accuracy import distance_errors
from cryotwin.models.features import extract_features
from cryotwin.models.training import (
    PairBatches,
    PairTrainer,
    TrainingSettings,
    Views,
    train,
)

SIZE = 32
SHORT = TrainingSettings(
    model="resnet_small",
    feature_dim=16,
    perturbation=Perturbation(0.1, 1.0),
    epochs=3,
    batch_size=32,
    learning_rate=3e-3,
    seed=4,
)


def _views(count, seed):
    """Projections of six blobs without symmetry, with variance 1, and their orientations."""
    z, y, x = np.mgrid[:SIZE, :SIZE, :SIZE] - SIZE // 2
    volume = sum(
        np.exp(-((x - a) ** 2 + (y - b) ** 2 + (z - c) ** 2) / 5)
        for a, b, c in np.random.default_rng(2).uniform(-7, 7, (6, 3))
    )
    volume = volume / np.sqrt(signal_variance(volume))
    quaternions = uniform_quaternions(count, np.random.default_rng(seed))
    return Views(project_volume(volume, quaternions_to_matrices(quaternions)), quaternions)


@pytest.fixture(scope="module")
def training():
    return _views(256, 0)


@pytest.fixture(scope="module")
def validation():
    return _views(64, 1)


def _weights(model):
    return [np.asarray(weight) for weight in model.get_weights()]


@pytest.fixture(scope="module")
def uninterrupted(training, validation, tmp_path_factory):
    """A model trained in one go, and the reports of its epochs."""
    reports = []
    model = train(
        training,
        validation,
        SHORT,
        checkpoints=tmp_path_factory.mktemp("whole"),
        report=reports.append,
    )
    return model, reports


def test_training_brings_the_estimated_distances_nearer_to_the_true_ones(uninterrupted, validation):
    model, reports = uninterrupted
    assert [report.epoch for report in reports] == [1, 2, 3]
    assert reports[-1].loss < 0.8 * reports[0].loss
    assert reports[-1].fraction == pytest.approx(1, abs=0.05)

    estimated, true = distance_errors(model, validation.images, validation.quaternions)

    pairs = np.triu_indices(len(validation.images), 1)
    assert np.allclose(true, pairwise_distances(validation.quaternions)[pairs])
    mse = np.mean((estimated - true) ** 2)
    assert mse == pytest.approx(reports[-1].validation_mse_rad2, rel=1e-3)


def test_the_loss_of_features_that_are_the_rotations_is_none():
    quaternions = uniform_quaternions(20, np.random.default_rng(0))
    rotations = quaternions_to_matrices(quaternions).reshape(20, 9).astype(np.float32)
    trainer = PairTrainer(keras.Sequential([keras.Input((9,))]), "so3")

    exact = trainer.compute_loss(y=rotations, y_pred=rotations / np.sqrt(np.float32(3)))
    wrong = trainer.compute_loss(y=rotations, y_pred=rotations[::-1] / np.sqrt(np.float32(3)))

    assert float(exact) < 1e-4
    assert float(wrong) > 0.3


def test_the_loss_weights_pairs_as_if_their_distances_were_uniform():
    quaternions = uniform_quaternions(30, np.random.default_rng(0))
    rotations = quaternions_to_matrices(quaternions).reshape(30, 9).astype(np.float32)
    features = np.random.default_rng(1).standard_normal((30, 8)).astype(np.float32)
    features /= np.linalg.norm(features, axis=1, keepdims=True)

    loss = PairTrainer(keras.Sequential([keras.Input((8,))]), "so3").compute_loss(
        y=rotations, y_pred=features
    )

    pairs = np.triu_indices(30, 1)
    true = pairwise_distances(quaternions)[pairs]
    chord = np.linalg.norm(features[pairs[0]] - features[pairs[1]], axis=1)
    estimated = 2 * np.arcsin(np.minimum(1, np.sqrt(3 / 8) * chord))
    weights = 1 / (np.sin(true / 2) ** 2 + 0.05)
    assert float(loss) == pytest.approx(np.average((estimated - true) ** 2, weights=weights), 1e-3)


def test_a_batch_depends_on_seed_epoch_and_index_alone(training):
    first, second = PairBatches(training, SHORT), PairBatches(training, SHORT)
    first.epoch = second.epoch = 1
    for index in (5, 0, 5, 7):
        second[index]

    assert len(first) == 8
    for expected, found in zip(first[3], second[3], strict=True):
        assert np.array_equal(expected, found)
    second.epoch = 2
    assert not np.array_equal(first[3][0], second[3][0])
    assert not np.array_equal(first[3][0], first[4][0])


def test_an_epoch_sees_every_image_once(training):
    settings = TrainingSettings(model="resnet_small", epochs=1, batch_size=32)
    batches = PairBatches(training, settings)
    # A quarter turn and a flip keep the sum of an image.
    seen = np.concatenate([batches[index][0].sum(axis=(1, 2, 3)) for index in range(8)])
    spread = np.concatenate([batches[index][0].std(axis=(1, 2, 3)) for index in range(8)])
    assert np.allclose(np.sort(seen), np.sort(training.images.sum(axis=(1, 2))), rtol=1e-3)
    assert np.allclose(np.sort(spread), np.sort(training.images.std(axis=(1, 2))), rtol=1e-3)


@pytest.fixture(scope="module")
def stopped(training, validation, tmp_path_factory):
    """What a run leaves that is stopped in the middle of its second epoch."""
    folder = tmp_path_factory.mktemp("stopped")
    original = PairBatches.__getitem__

    def interrupted(self, index):
        if (self.epoch, index) == (1, 5):
            raise KeyboardInterrupt
        return original(self, index)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(PairBatches, "__getitem__", interrupted)
        # TensorFlow may hand on an interrupt of its input as an error of its own.
        with pytest.raises((KeyboardInterrupt, Exception)):
            train(training, validation, SHORT, checkpoints=folder)
    return folder


def test_a_run_that_was_stopped_goes_on_to_the_same_weights(
    stopped, uninterrupted, training, validation, tmp_path
):
    shutil.copytree(stopped, tmp_path / "state")
    reports = []
    model = train(
        training, validation, SHORT, checkpoints=tmp_path / "state", report=reports.append
    )

    assert [report.epoch for report in reports] == [2, 3]
    for found, expected in zip(_weights(model), _weights(uninterrupted[0]), strict=True):
        assert np.abs(found - expected).max() < 1e-3 * max(1, np.abs(expected).max())


def test_a_checkpoint_of_another_run_is_refused(stopped, training, validation):
    wider = replace(SHORT, feature_dim=8)
    with pytest.raises(InputError, match=r"checkpoint of other settings.*feature_dim=16.*anew"):
        train(training, validation, wider, checkpoints=stopped)
    with pytest.raises(InputError, match=r"checkpoint of other views.*256 of 32 px"):
        train(validation, training, SHORT, checkpoints=stopped)


def test_a_run_that_ended_no_epoch_does_not_stand_in_the_way_of_one_by_the_clock(
    training, validation, tmp_path
):
    def fail(self, index):
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(PairBatches, "__getitem__", fail)
        with pytest.raises(KeyboardInterrupt):
            train(training, validation, SHORT, checkpoints=tmp_path)
    reports = []
    by_the_clock = replace(SHORT, epochs=None, minutes=1e-4, batch_size=128)
    train(training, validation, by_the_clock, checkpoints=tmp_path, report=reports.append)
    assert len(reports) == 1


def test_features_do_not_depend_on_how_images_are_batched(uninterrupted, training):
    extractor = uninterrupted[0].get_layer("extractor")
    features = extract_features(extractor, training.images)
    assert features.shape == (256, 16)
    assert np.allclose(
        features[250:], extract_features(extractor, training.images[250:]), atol=1e-5
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({}, "either epochs or minutes"),
        ({"epochs": 1, "minutes": 1.0}, "either epochs or minutes"),
        ({"epochs": 0}, "epochs must be at least 1, not 0"),
        ({"minutes": 0.0}, "minutes must be above 0, not 0.0"),
        ({"minutes": float("nan")}, "minutes must be above 0, not nan"),
        ({"epochs": 1, "batch_size": 1}, "batch_size must be at least 2, not 1"),
        ({"epochs": 1, "learning_rate": -1.0}, "learning_rate must be above 0, not -1.0"),
        ({"epochs": 1, "learning_rate": float("inf")}, "learning_rate must be above 0, not inf"),
        ({"epochs": 1, "seed": -1}, r"seed must be from 0 to 2\^32 - 1, not -1"),
    ],
)
def test_settings_that_cannot_be_are_quoted(changes, message):
    with pytest.raises(InputError, match=message):
        TrainingSettings(model="resnet_small", **changes)


@pytest.mark.parametrize("split", ["training", "validation"])
def test_one_view_makes_no_pair(split, training, tmp_path):
    views = {"training": training, "validation": training}
    views[split] = Views(training.images[:1], training.quaternions[:1])
    with pytest.raises(InputError, match=f"the {split} split has 1 images"):
        train(*views.values(), SHORT, checkpoints=tmp_path)


def test_an_unknown_model_is_named(training, validation, tmp_path):
    settings = TrainingSettings(model="resnet_larg", epochs=1)
    with pytest.raises(InputError, match="not 'resnet_larg'"):
        train(training, validation, settings, checkpoints=tmp_path)


PROGRAM = """
import sys, pathlib
import keras
import numpy as np
from cryotwin.models.training import TrainingSettings, Views, train
data = np.load(sys.argv[1])
views = Views(data["images"], data["quaternions"])
losses = []
settings = TrainingSettings(model="resnet_small", feature_dim=16, epochs=2, batch_size=16, seed=4)
train(views, Views(views.images[:32], views.quaternions[:32]), settings,
      checkpoints=pathlib.Path(sys.argv[2]), report=lambda epoch: losses.append(epoch.loss))
print(keras.backend.backend(), losses[0], losses[-1])
"""


def test_training_runs_on_jax(training, tmp_path):
    pytest.importorskip("jax")
    images, quaternions = training.images[:64], training.quaternions[:64]
    np.savez(tmp_path / "views.npz", images=images, quaternions=quaternions)

    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path / "views.npz"), str(tmp_path / "state")],
        env=os.environ | {"KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    backend, first, last = done.stdout.split()
    assert backend == "jax"
    assert float(last) < float(first)


def test_batches_go_through_a_ctf_that_is_drawn_afresh(training):
    drawn = Perturbation(ctf=CtfDistribution(amplitude_contrast=0.2))
    batches = PairBatches(training, replace(SHORT, perturbation=drawn, pixel_size_angstrom=5.0))
    first = batches[0][0]
    batches.epoch = 1
    second = batches[0][0]
    # At frequency zero the CTF is the amplitude contrast, and exact views keep the mean.
    means = np.sort(training.images.mean(axis=(1, 2)))
    seen = np.concatenate([batches[index][0].mean(axis=(1, 2, 3)) for index in range(len(batches))])
    assert np.allclose(np.sort(seen), 0.2 * means, atol=1e-5)
    assert not np.allclose(first, second)
    assert np.array_equal(second, batches[0][0])
