import errno
import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import time

import keras
import numpy as np
import pytest

from cryotwin.datasets.folder import load_split, open_folder
from cryotwin.datasets.quiet_imports import import_tensorflow
from cryotwin.imaging.rotations import pairwise_distances
from cryotwin.models.checkpoints import saved_progress
from cryotwin.models.features import extract_features
from cryotwin.models.heads import find_head
from cryotwin.models.inputs import fit_images
from cryotwin.models.model_files import load, read_metadata
from cryotwin.models.presets import check_metadata
from cryotwin.pipelines.command_line import main

SETTINGS = ["--epochs", "1", "--feature-dim", "16", "--batch-size", "32"]


def train(dataset, out, *more):
    return main(["train", str(dataset), "--model", "resnet_small", "--out", str(out), *more])


def error_line(capsys):
    """The one line on stderr."""
    err = capsys.readouterr().err
    assert err.count("\n") == 1, err
    assert err.startswith("cryotwin train: error: ")
    return err


def test_the_accuracy_in_the_file_is_that_of_the_model_in_it(small_dataset, small_estimator):
    views = load_split(small_dataset, "test")
    features = extract_features(load(small_estimator).get_layer("extractor"), views["image"])

    chord = np.linalg.norm(features[:, None] - features[None], axis=2)
    estimated = 2 * np.arcsin(np.minimum(1, np.sqrt(3 / 8) * chord))
    pairs = np.triu_indices(60, 1)
    error = (estimated - pairwise_distances(views["quaternion"]))[pairs]

    accuracy = read_metadata(small_estimator)["accuracy"]
    assert accuracy["particles"] == 60
    assert accuracy["distance_mse_rad2"] == pytest.approx(np.mean(error**2), rel=1e-3)
    assert accuracy["distance_bias_rad"] == pytest.approx(error.mean(), rel=1e-2, abs=1e-3)


def test_the_file_says_what_it_was_trained_for_and_how(small_dataset, small_estimator):
    metadata = read_metadata(small_estimator)
    dataset = open_folder(small_dataset).metadata
    assert metadata["name"] == "small"
    assert metadata["structure"] == "7cfn"
    assert metadata["symmetry"] == "C1"
    assert metadata["head"] == "so3"
    assert metadata["feature_dim"] == 16
    assert metadata["box_px"] == 32
    assert metadata["pixel_size_angstrom"] == dataset["pixel_size_angstrom"]
    assert metadata["noise_variance"] == pytest.approx(1)
    assert metadata["training_particles"] == 90
    assert metadata["training_images_seen"] == 64  # Two batches of 32.
    assert metadata["parameters"] == load(small_estimator).count_params()
    assert metadata["snr_range_db"] == pytest.approx([0, 12.04], abs=0.01)
    assert len(metadata["accuracy"]["conditions"]) == 10
    check_metadata(metadata, small_estimator)
    made, trained = metadata["commands"]
    assert made.startswith("cryotwin generate 7cfn")
    assert trained.startswith("cryotwin train dataset --model resnet_small --out small.keras")
    assert "--epochs 1" in trained
    assert "--seed 0" in trained


def test_images_are_resampled_and_cut_to_the_box_that_was_asked_for(small_dataset, tmp_path):
    stored = open_folder(small_dataset).metadata
    pixel_size = 1.5 * stored["pixel_size_angstrom"]
    box = ["--size", "18", "--pixel-size", str(pixel_size)]

    assert train(small_dataset, tmp_path / "coarse.keras", *SETTINGS, *box) == 0

    metadata = read_metadata(tmp_path / "coarse.keras")
    assert metadata["box_px"] == 18
    assert metadata["pixel_size_angstrom"] == pytest.approx(pixel_size)
    assert metadata["source_box_px"] == 32
    assert metadata["noise_variance"] == pytest.approx(1)  # of the dataset's images
    views = load_split(small_dataset, "test")
    images = fit_images(views["image"], stored["pixel_size_angstrom"], metadata)
    features = extract_features(load(tmp_path / "coarse.keras").get_layer("extractor"), images)
    estimated = find_head("so3").distances_in_numpy(features, features)
    error = (estimated - pairwise_distances(views["quaternion"]))[np.triu_indices(60, 1)]
    assert metadata["accuracy"]["distance_mse_rad2"] == pytest.approx(np.mean(error**2), rel=1e-3)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--size", "33"], "--size must be from 16 to 32 px, the dataset's, not 33"),
        (["--size", "12"], "--size must be from 16 to 32 px, the dataset's, not 12"),
        (["--size", "20", "--pixel-size", "1"], "--pixel-size must be at least"),
    ],
)
def test_a_box_that_the_images_do_not_fill_is_refused(
    small_dataset, tmp_path, capsys, flags, message
):
    assert train(small_dataset, tmp_path / "a.keras", *SETTINGS, *flags) == 2
    assert message in error_line(capsys)


def test_beside_the_estimator_lies_its_extractor_and_nothing_else(small_estimator):
    names = {path.name for path in small_estimator.parent.iterdir()}
    assert names == {"small.keras", "small.extractor.keras"}


def test_an_estimator_is_not_overwritten_unless_asked(small_dataset, small_estimator, capsys):
    before = small_estimator.read_bytes()
    assert train(small_dataset, small_estimator, *SETTINGS) == 2
    assert "small.keras: exists already; give --overwrite" in error_line(capsys)
    assert small_estimator.read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--epochs", "0"], "epochs must be at least 1, not 0"),
        (["--minutes", "-1"], "minutes must be above 0, not -1"),
        (["--epochs", "1", "--minutes", "1"], "not allowed with argument"),
        (["--epochs", "x"], "invalid int value: 'x'"),
        (["--epochs", "1", "--model", "resnet_big"], "not 'resnet_big'"),
        (["--epochs", "1", "--head", "sine"], "head must be one of so3.*not 'sine'"),
        (["--epochs", "1", "--feature-dim", "0"], "feature_dim must be at least 1, not 0"),
        (["--epochs", "1", "--batch-size", "1"], "batch_size must be at least 2, not 1"),
        (["--epochs", "1", "--noise-variance", "-1"], "noise_variance must be zero or a positive"),
        (["--epochs", "1", "--snr-db", "nan"], "SNR must be from -100 to 100 dB, not nan"),
        (["--epochs", "1", "--snr-db", "-4000"], "SNR must be .*not -4000"),
        (["--epochs", "1", "--max-shift", "inf"], "max_shift_px must be .*not inf"),
        (["--epochs", "1", "--learning-rate", "0"], "learning_rate must be above 0, not 0"),
        (["--epochs", "1", "--seed", "-1"], "seed must be .*not -1"),
        (["--epochs", "1", "--curriculum", "-1"], "curriculum must be from 0 to 1, not -1"),
        (["--epochs", "1", "--patience", "0"], "patience must be at least 1, not 0"),
        (["--epochs", "1", "--precision", "half"], "precision must be one of .*not 'half'"),
        (["--epochs", "1", "--devices", "64"], "devices must be at most .*not 64"),
        (["--epochs", "1", "--out", "est.h5"], r"est\.h5: .*must end in \.keras"),
    ],
)
def test_a_bad_argument_is_told_in_one_line(arguments, message, small_dataset, tmp_path, capsys):
    assert train(small_dataset, tmp_path / "est.keras", *arguments) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1, err
    assert re.search(message, err), err
    assert list(tmp_path.iterdir()) == []


def _altered(dataset, folder, **changes):
    """A copy of a dataset that says something else about itself."""
    shutil.copytree(dataset, folder)
    path = folder / "cryotwin.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    return folder


def test_a_folder_that_is_no_dataset_of_one_structure_is_told(small_dataset, tmp_path, capsys):
    out = tmp_path / "out" / "est.keras"
    structure = open_folder(small_dataset).metadata["structures"][0]
    two = _altered(small_dataset, tmp_path / "two", structures=[structure, structure])
    bare = _altered(small_dataset, tmp_path / "bare")
    (bare / "cryotwin.json").unlink()
    for folder, message in (
        (tmp_path, "is not a dataset folder"),
        (tmp_path / "nothing", "is not a dataset folder"),
        (two, "has 2 structures"),
        (bare, "not one of projections"),
    ):
        assert train(folder, out, *SETTINGS) == 2
        assert message in error_line(capsys)
    assert not out.parent.exists()


def test_a_dataset_without_orientations_is_told(small_dataset, tmp_path, capsys):
    bare = shutil.copytree(small_dataset, tmp_path / "bare")
    features = json.loads((bare / "features.json").read_text())
    del features["featuresDict"]["features"]["quaternion"]
    (bare / "features.json").write_text(json.dumps(features))
    assert train(bare, tmp_path / "est.keras", *SETTINGS) == 2
    assert "not one of projections" in error_line(capsys)


def test_a_network_that_is_none_is_told_before_anything_is_read(small_dataset, tmp_path, capsys):
    bare = shutil.copytree(small_dataset, tmp_path / "bare")
    for shard in bare.glob("*.tfrecord-*"):
        shard.unlink()
    assert train(bare, tmp_path / "est.keras", *SETTINGS, "--head", "sine") == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "not 'sine'" in err


def test_a_full_disk_leaves_no_estimator_and_the_next_try_need_not_train_again(
    small_dataset, tmp_path, monkeypatch, capsys
):
    def full(self, path, *args, **kwargs):
        with open(path, "wb") as file:
            file.write(b"the beginning")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    out = tmp_path / "est.keras"
    with monkeypatch.context() as patch:
        patch.setattr(keras.Model, "save", full)
        assert train(small_dataset, out, *SETTINGS) == 2
    assert error_line(capsys).endswith("keras: no space left on device\n")
    assert [path.name for path in tmp_path.iterdir()] == [".est.training"]

    def fail(*args, **kwargs):
        raise AssertionError("trained again")

    monkeypatch.setattr("cryotwin.models.training.PairTrainer.compute_loss", fail)
    assert train(small_dataset, out, *SETTINGS) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "est.extractor.keras",
        "est.keras",
    ]


def test_a_disk_that_is_full_for_a_checkpoint_ends_in_one_line_and_the_next_try_goes_on(
    small_dataset, tmp_path, capsys
):
    out = tmp_path / "est.keras"
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**20, before[1]))
    try:
        assert train(small_dataset, out, *SETTINGS) == 2
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert "checkpoint.npz: file too large" in error_line(capsys).lower()
    assert [path.name for path in tmp_path.rglob("*")] == [".est.training"]
    assert train(small_dataset, out, *SETTINGS) == 0


def test_training_that_is_killed_goes_on_to_the_same_estimator(small_dataset, tmp_path):
    # An epoch has 22 steps, and a checkpoint is written after each epoch.
    settings = ["--epochs", "4", "--feature-dim", "16", "--batch-size", "4"]
    killed, whole = tmp_path / "killed" / "est.keras", tmp_path / "whole" / "est.keras"
    words = ["train", str(small_dataset), "--model", "resnet_small", "--out", str(killed)]
    words += settings
    folder = killed.parent / ".est.training"
    with subprocess.Popen(
        [sys.executable, "-m", "cryotwin.pipelines.command_line", *words],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        deadline = time.monotonic() + 300
        while not (folder / "checkpoint.npz").exists():
            assert process.poll() is None, process.communicate()[1]
            assert time.monotonic() < deadline
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
        process.communicate()
    at_the_kill = saved_progress(folder)
    assert 22 <= at_the_kill.step < 88

    log = tmp_path / "log"
    assert train(small_dataset, killed, *settings, "--tensorboard", str(log)) == 0
    assert train(small_dataset, whole, *settings) == 0

    for found, expected in zip(load(killed).weights, load(whole).weights, strict=True):
        found, expected = np.asarray(found), np.asarray(expected)
        assert np.abs(found - expected).max() < 2e-3 * max(1, np.abs(expected).max())
    metadata = read_metadata(killed)
    assert metadata["training_images_seen"] == 4 * 22 * 4
    assert metadata["seconds"] > at_the_kill.seconds
    shown = [value.tag for event in _events(log) for value in event.summary.value]
    epochs = 4 - at_the_kill.epoch
    assert shown.count("loss/training") == shown.count("learning_rate") == epochs
    assert shown.count("loss/validation_mse_rad2") == epochs
    assert "distances" in shown


def _events(log):
    """What TensorFlow reads from the only event file of a folder."""
    (file,) = log.iterdir()
    return list(import_tensorflow().compat.v1.train.summary_iterator(str(file)))


WITHOUT_TENSORFLOW = """
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("tensorflow", "tensorflow_datasets"):
            raise ImportError(f"{name} is not installed")

sys.meta_path.insert(0, Absent())
from cryotwin.pipelines.command_line import main
sys.exit(main(sys.argv[1:]))
"""


def test_jax_trains_without_tensorflow_on_two_devices(small_dataset, tmp_path):
    pytest.importorskip("jax")
    out = tmp_path / "est.keras"
    words = ["train", str(small_dataset), "--out", str(out), *SETTINGS, "--devices", "2"]
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_TENSORFLOW, *words],
        env=os.environ
        | {
            "KERAS_BACKEND": "jax",
            "JAX_PLATFORMS": "cpu",
            "XLA_FLAGS": "--xla_force_host_platform_device_count=2",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert read_metadata(out)["backend"] == "jax"
    views = load_split(small_dataset, "test")
    features = extract_features(load(out).get_layer("extractor"), views["image"])
    error = find_head("so3").distances_in_numpy(features, features)
    error -= pairwise_distances(views["quaternion"])
    found = np.mean(error[np.triu_indices(60, 1)] ** 2)
    assert found == pytest.approx(read_metadata(out)["accuracy"]["distance_mse_rad2"], rel=1e-2)


def test_ctrl_c_ends_with_130_and_leaves_a_checkpoint_alone(small_dataset, tmp_path):
    out = tmp_path / "est.keras"
    words = ["train", str(small_dataset), "--model", "resnet_small", "--out", str(out)]
    words += ["--minutes", "10", *SETTINGS[2:]]
    # As a user's shell has it: the tests set how much TensorFlow tells.
    environment = {name: value for name, value in os.environ.items() if name[:6] != "TF_CPP"}
    environment["PYTHONFAULTHANDLER"] = "1"
    with subprocess.Popen(
        [sys.executable, "-m", "cryotwin.pipelines.command_line", *words],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        deadline = time.monotonic() + 180
        while not (tmp_path / ".est.training" / "checkpoint.npz").exists():
            assert time.monotonic() < deadline
            assert process.poll() is None, process.communicate()[1]
            time.sleep(0.2)
        process.send_signal(signal.SIGINT)
        told, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert errors == "cryotwin train: interrupted\n"
    assert "the same command goes on from" in told
    assert [path.name for path in tmp_path.iterdir()] == [".est.training"]
