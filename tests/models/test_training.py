import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace

import keras
import numpy as np
import pytest

from cryotwin.datasets.folder import load_split
from cryotwin.datasets.loading import PairLoader
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
from cryotwin.models.devices import Devices
from cryotwin.models.features import extract_features
from cryotwin.models.heads import find_head
from cryotwin.models.pair_batches import PairBatches, Views
from cryotwin.models.pair_trainer import PairTrainer
from cryotwin.models.schedule import highest_noise_level, learning_rate_factor
from cryotwin.models.training import train
from cryotwin.models.training_settings import TrainingSettings

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
    trainer = PairTrainer(keras.Sequential([keras.Input((9,))]), find_head("so3"))

    exact = trainer.compute_loss(y=rotations, y_pred=rotations / np.sqrt(np.float32(3)))
    wrong = trainer.compute_loss(y=rotations, y_pred=rotations[::-1] / np.sqrt(np.float32(3)))

    assert float(exact) < 1e-4
    assert float(wrong) > 0.3


def test_the_loss_weights_pairs_as_if_their_distances_were_uniform():
    quaternions = uniform_quaternions(30, np.random.default_rng(0))
    rotations = quaternions_to_matrices(quaternions).reshape(30, 9).astype(np.float32)
    features = np.random.default_rng(1).standard_normal((30, 8)).astype(np.float32)
    features /= np.linalg.norm(features, axis=1, keepdims=True)

    loss = PairTrainer(keras.Sequential([keras.Input((8,))]), find_head("so3")).compute_loss(
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
    for index in (5, 0, 5, 7):
        second.draw(1, index)

    assert len(first) == 8
    for expected, found in zip(first.draw(1, 3), second.draw(1, 3), strict=True):
        assert np.array_equal(expected, found)
    assert not np.array_equal(first.draw(1, 3)[0], second.draw(2, 3)[0])
    assert not np.array_equal(first.draw(1, 3)[0], first.draw(1, 4)[0])


def test_an_epoch_sees_every_image_once(training):
    settings = TrainingSettings(model="resnet_small", epochs=1, batch_size=32)
    batches = PairBatches(training, settings)
    # A quarter turn and a flip keep the sum of an image.
    drawn = np.concatenate([batches.draw(0, index)[0] for index in range(8)])
    for figure in (np.sum, np.std):
        seen, there = figure(drawn, axis=(1, 2, 3)), figure(training.images, axis=(1, 2))
        assert np.allclose(np.sort(seen), np.sort(there), rtol=1e-3)


def test_the_noise_that_is_drawn_rises_to_all_of_it(training):
    noise = replace(SHORT, perturbation=Perturbation(noise_variance=4.0), batch_size=256)
    batches = PairBatches(training, noise)

    def added(level):
        clean = PairBatches(training, replace(noise, perturbation=Perturbation()))
        difference = batches.draw(0, 0, level)[0] - clean.draw(0, 0)[0]
        return difference.std(axis=(1, 2, 3))

    least = added(highest_noise_level(0.0, 0.5))
    half = added(highest_noise_level(0.25, 0.5))
    assert np.allclose(least, 0.5, rtol=0.1)  # A quarter of the deviation of 2.
    assert half.max() == pytest.approx(1.25, rel=0.1)
    assert half.min() == pytest.approx(0.5, rel=0.1)
    assert added(highest_noise_level(0.5, 0.5)).max() == pytest.approx(2, rel=0.1)
    assert highest_noise_level(0.0, 0.0) == 1


def test_the_learning_rate_rises_shortly_and_falls_to_nearly_nothing():
    rates = [learning_rate_factor(fraction) for fraction in np.linspace(0, 1, 1001)]
    assert 0 < rates[0] < 0.1
    assert max(rates) == pytest.approx(1, abs=0.01)
    assert np.argmax(rates) == pytest.approx(20, abs=2)
    assert rates[500] == pytest.approx(0.5, abs=1e-6)
    assert rates[-1] == pytest.approx(1e-3)


@pytest.fixture(scope="module")
def stopped(training, validation, tmp_path_factory):
    """What a run leaves that is stopped in the middle of its second epoch."""
    folder = tmp_path_factory.mktemp("stopped")
    original = PairBatches.draw

    def interrupted(self, epoch, index, *level):
        if (epoch, index) == (1, 5):
            raise KeyboardInterrupt
        return original(self, epoch, index, *level)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(PairBatches, "draw", interrupted)
        with pytest.raises(KeyboardInterrupt):
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


def test_an_interrupt_waits_for_the_end_of_a_step(training, validation, tmp_path, monkeypatch):
    ended, step = [], Devices.step

    def pressed(self, trainer, batch):
        if len(ended) == 3:
            os.kill(os.getpid(), signal.SIGINT)
        losses = step(self, trainer, batch)
        ended.append(losses)
        return losses

    monkeypatch.setattr(Devices, "step", pressed)
    with pytest.raises(KeyboardInterrupt):
        train(training, validation, SHORT, checkpoints=tmp_path)
    assert len(ended) == 4


def test_a_checkpoint_of_another_run_is_refused(stopped, training, validation):
    wider = replace(SHORT, feature_dim=8)
    with pytest.raises(InputError, match=r"checkpoint of other settings.*feature_dim=16.*anew"):
        train(training, validation, wider, checkpoints=stopped)
    with pytest.raises(InputError, match=r"checkpoint of other views.*256 of 32 px"):
        train(validation, training, SHORT, checkpoints=stopped)


def test_a_run_that_ended_no_epoch_does_not_stand_in_the_way_of_one_by_the_clock(
    training, validation, tmp_path
):
    def fail(self, *which):
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(PairBatches, "draw", fail)
        with pytest.raises(KeyboardInterrupt):
            train(training, validation, SHORT, checkpoints=tmp_path)
    reports = []
    by_the_clock = replace(SHORT, epochs=None, minutes=1e-4, batch_size=128)
    train(training, validation, by_the_clock, checkpoints=tmp_path, report=reports.append)
    assert len(reports) == 1


@pytest.mark.parametrize("precision", ["mixed_bfloat16", "mixed_float16"])
def test_a_model_trained_in_16_bits_is_one_of_float32(precision, training, validation, tmp_path):
    settings = replace(SHORT, precision=precision, epochs=2)
    reports = []
    model = train(
        training, validation, settings, checkpoints=tmp_path / "state", report=reports.append
    )
    assert reports[1].loss < reports[0].loss
    assert {weight.dtype for weight in model.weights} == {"float32"}
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    assert {layer.compute_dtype for layer in again._flatten_layers()} == {"float32"}
    pair = [validation.images[:4, ..., None], validation.images[4:8, ..., None]]
    assert np.allclose(again(pair), model(pair), atol=1e-5)


def test_patience_ends_training_and_gives_the_best_weights(training, validation, tmp_path):
    # Of orientations that are not its own it can learn nothing that lasts.
    foreign = Views(validation.images, validation.quaternions[::-1].copy())
    settings = replace(SHORT, epochs=40, patience=2, batch_size=128)
    reports = []
    model = train(training, foreign, settings, checkpoints=tmp_path, report=reports.append)

    errors = [report.validation_mse_rad2 for report in reports]
    best = int(np.argmin(errors))
    assert len(errors) == best + 3 < 40
    assert reports[-1].fraction == 1
    estimated, true = distance_errors(model, foreign.images, foreign.quaternions)
    assert np.mean((estimated - true) ** 2) == pytest.approx(errors[best], rel=1e-4)


def test_patience_waits_for_the_end_of_the_curriculum(training, validation, tmp_path):
    foreign = Views(validation.images, validation.quaternions[::-1].copy())
    settings = replace(SHORT, epochs=12, patience=1, batch_size=128, curriculum=0.75)
    reports = []
    train(training, foreign, settings, checkpoints=tmp_path, report=reports.append)
    assert len(reports) >= 9


def test_batches_of_a_loader_and_of_a_generator_train_alike(small_dataset, tmp_path):
    loader = PairLoader(
        small_dataset, perturbation=Perturbation(0.1, 1.0), particles_per_structure=32
    )
    stored = load_split(small_dataset, "validation")
    views = Views(stored["image"], stored["quaternion"])
    settings = replace(SHORT, epochs=2, batch_size=32)
    steps = len(loader)
    batches = list(loader.dataset(epochs=2).as_numpy_iterator())
    sources = {"loader": loader.dataset(), "generator": (batch for batch in batches)}
    models, reports = [], []
    for name, source in sources.items():
        models.append(
            train(
                None,
                views,
                settings,
                checkpoints=tmp_path / name,
                batches=source,
                steps_per_epoch=steps,
                report=reports.append,
            )
        )
    assert [report.epoch for report in reports] == [1, 2, 1, 2]
    for found, expected in zip(*map(_weights, models), strict=True):
        assert np.abs(found - expected).max() < 1e-3 * max(1, np.abs(expected).max())


def test_batches_have_no_curriculum(validation, tmp_path):
    with pytest.raises(InputError, match="curriculum is for views"):
        train(
            None, validation, replace(SHORT, curriculum=0.5), checkpoints=tmp_path, batches=[None]
        )


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
        ({"epochs": 1, "curriculum": 1.5}, "curriculum must be from 0 to 1, not 1.5"),
        ({"epochs": 1, "curriculum": float("nan")}, "curriculum must be from 0 to 1, not nan"),
        ({"epochs": 1, "patience": 0}, "patience must be at least 1, not 0"),
        ({"epochs": 1, "precision": "float8"}, "precision must be one of float32, .*not 'float8'"),
        ({"epochs": 1, "devices": 0}, "devices must be at least 1, not 0"),
        ({"epochs": 1, "devices": 3}, "batch_size must be a multiple of the 3 devices, not 64"),
        ({"epochs": 1, "auxiliary_weight": -0.1}, "auxiliary_weight must be 0 or above, not -0.1"),
        (
            {"epochs": 1, "auxiliary_weight": 0.1, "symmetry": "D2"},
            "0 for a particle of symmetry D2",
        ),
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
from cryotwin.models.pair_batches import Views
from cryotwin.models.training import train
from cryotwin.models.training_settings import TrainingSettings
data = np.load(sys.argv[1])
views = Views(data["images"], data["quaternions"])
losses = []
settings = TrainingSettings(
    model="polar_search", feature_dim=16, epochs=2, batch_size=16, seed=4,
    precision="mixed_bfloat16",
)
model = train(views, Views(views.images[:32], views.quaternions[:32]), settings,
      checkpoints=pathlib.Path(sys.argv[2]), report=lambda epoch: losses.append(epoch.loss))
print(keras.backend.backend(), losses[0], losses[-1])
assert {weight.dtype for weight in model.weights} == {"float32"}
"""


def test_training_runs_on_jax_in_16_bits(training, tmp_path):
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

    assert done.returncode == 0, done.stderr[-2000:]
    backend, first, last = done.stdout.split()
    assert backend == "jax"
    assert float(last) < float(first)


def test_batches_go_through_a_ctf_that_is_drawn_afresh(training):
    drawn = Perturbation(ctf=CtfDistribution(amplitude_contrast=0.2))
    batches = PairBatches(training, replace(SHORT, perturbation=drawn, pixel_size_angstrom=5.0))
    # At frequency zero the CTF is the amplitude contrast, and exact views keep the mean.
    means = np.sort(training.images.mean(axis=(1, 2)))
    seen = np.concatenate(
        [batches.draw(0, index)[0].mean(axis=(1, 2, 3)) for index in range(len(batches))]
    )
    assert np.allclose(np.sort(seen), 0.2 * means, atol=1e-5)
    assert not np.allclose(batches.draw(0, 0)[0], batches.draw(1, 0)[0])
    assert np.array_equal(batches.draw(1, 0)[0], batches.draw(1, 0)[0])
