"""Features and orientations of particles: the same on every runner, and as in memory."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from cryotwin.datasets.folder import load_split, open_folder
from cryotwin.datasets.image_stacks import write_stack
from cryotwin.datasets.particles import read_particles
from cryotwin.imaging.rotations import orientation_distances
from cryotwin.models.features import particle_features
from cryotwin.models.model_files import load, metadata_of
from cryotwin.models.siamese import head_of
from cryotwin.pipelines import embed_steps
from cryotwin.pipelines.command_line import main
from cryotwin.pipelines.workers import WorkerError
from cryotwin.recovery.feature_embedding import embed_features

LANDMARKS = "25"


def embed(particles, out, *more):
    return main(["embed", str(particles), "--out", str(out), *map(str, more)])


def error_line(capfd):
    """The one line on stderr."""
    err = capfd.readouterr().err
    assert err.count("\n") == 1, err
    assert err.startswith("cryotwin embed: error: ")
    return err


@pytest.fixture(scope="module")
def embedded(small_dataset, small_estimator, tmp_path_factory):
    """The test split of the small dataset, 60 particles, in this process and in one file."""
    out = tmp_path_factory.mktemp("embedded") / "features"
    assert embed(small_dataset, out, "--estimator", small_estimator, "--landmarks", LANDMARKS) == 0
    return out


@pytest.fixture(scope="module")
def in_memory(small_dataset, small_estimator):
    particles, estimator = read_particles(small_dataset), load(small_estimator)
    features = particle_features(
        estimator.get_layer("extractor"),
        particles.images,
        particles.pixel_size_angstrom,
        metadata_of(estimator),
    )
    return features, embed_features(features, head_of(estimator), landmarks=int(LANDMARKS))


def test_features_and_orientations_are_those_found_in_memory(embedded, in_memory, small_dataset):
    features, found = in_memory
    written, placed = load_split(embedded, "test"), load_split(embedded / "orientations", "test")

    assert list(written["key"]) == list(load_split(small_dataset, "test")["key"])
    assert list(placed["key"]) == list(written["key"])
    assert np.array_equal(written["feature"], features)
    assert np.allclose(placed["quaternion"], found.embedding.quaternions, atol=1e-6)
    assert np.allclose(placed["residual_rad"], found.residuals, atol=1e-6)


def test_the_datasets_hold_what_is_promised_and_no_more(embedded):
    assert set(open_folder(embedded).fields) == {"key", "feature"}
    assert set(open_folder(embedded / "orientations").fields) == {
        "key",
        "quaternion",
        "residual_rad",
    }
    names = {path.name for path in embedded.iterdir()}
    assert names == {
        "cryotwin-test.tfrecord-00000-of-00001",
        "cryotwin.json",
        "dataset_info.json",
        "features.json",
        "orientations",
    }
    metadata = open_folder(embedded).metadata
    assert metadata["landmarks"] == int(LANDMARKS)
    assert metadata["command"].endswith("--landmarks 25")
    assert isinstance(metadata["embedding_trusted"], bool)


def test_tfds_opens_both_folders_in_a_process_without_cryotwin(embedded):
    program = """
import sys, json
import tensorflow_datasets as tfds
told = []
for folder in sys.argv[1:]:
    examples = list(tfds.as_numpy(tfds.builder_from_directory(folder).as_dataset(split="test")))
    told.append([len(examples), {name: list(v.shape) if hasattr(v, "shape") else 0
                                 for name, v in examples[0].items()}])
assert not any(name.split(".")[0] == "cryotwin" for name in sys.modules)
print(json.dumps(told))
"""
    done = subprocess.run(
        [sys.executable, "-c", program, str(embedded), str(embedded / "orientations")],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "CUDA_VISIBLE_DEVICES": "-1"},
    )
    (count, features), (placed, orientations) = json.loads(done.stdout.splitlines()[-1])
    assert count == placed == 60
    assert features == {"key": 0, "feature": [16]}
    assert orientations == {"key": 0, "quaternion": [4], "residual_rad": []}


def same(out, reference):
    """Asserts that two runs have written the same numbers."""
    for name, fields in (("", ["feature"]), ("orientations", ["quaternion", "residual_rad"])):
        ours, theirs = load_split(out / name, "test"), load_split(reference / name, "test")
        assert list(ours["key"]) == list(theirs["key"])
        for field in fields:
            # Other batches and threads: the last bits of single precision.
            assert np.allclose(ours[field], theirs[field], atol=2e-5), field


def test_two_processes_find_the_same(embedded, small_dataset, small_estimator, tmp_path, capfd):
    out = tmp_path / "out"
    words = ["--estimator", small_estimator, "--landmarks", LANDMARKS, "--particles-per-shard=25"]
    words += ["--direct_running_mode=multi_processing", "--direct_num_workers=2"]
    assert embed(small_dataset, out, *words) == 0
    assert capfd.readouterr().err == ""
    assert len(list(out.glob("cryotwin-test.tfrecord-*-of-00003"))) == 3
    same(out, embedded)


def test_a_particle_file_gives_the_features_of_its_images(
    embedded, small_dataset, small_estimator, tmp_path
):
    assert main(["convert", str(small_dataset), "--out", str(tmp_path / "all.star")]) == 0
    particles = read_particles(tmp_path / "all.star")
    words = ["--estimator", small_estimator, "--features-only", "--limit", "170"]
    assert embed(tmp_path / "all.star", tmp_path / "out", *words) == 0

    written = load_split(tmp_path / "out", "test")
    assert list(written["key"]) == particles.keys[:170]  # Whatever split they are of.
    assert not (tmp_path / "out" / "orientations").exists()
    assert not (tmp_path / "out" / ".unfinished").exists()
    reference = load_split(embedded, "test")
    theirs = dict(zip(reference["key"], reference["feature"], strict=True))
    shared = [key for key in written["key"] if key in theirs]
    assert len(shared) > 40
    ours = dict(zip(written["key"], written["feature"], strict=True))
    assert np.allclose([ours[k] for k in shared], [theirs[k] for k in shared], atol=1e-5)


def test_a_run_that_failed_goes_on_where_it_stopped(
    embedded, small_dataset, small_estimator, tmp_path, monkeypatch, capfd
):
    out, made = tmp_path / "out", []
    original = embed_steps.write_features

    def fail_on_the_third(task, keys, features):
        made.append(task.shard)
        if len(made) == 3:
            raise WorkerError("the machine has gone")
        original(task, keys, features)

    monkeypatch.setattr(embed_steps, "write_features", fail_on_the_third)
    words = ["--estimator", small_estimator, "--landmarks", LANDMARKS, "--particles-per-shard=15"]
    assert embed(small_dataset, out, *words) == 2
    assert error_line(capfd) == "cryotwin embed: error: the machine has gone\n"
    assert [path.name for path in out.iterdir()] == [".unfinished"]
    assert embed(small_dataset, out, *words) == 0
    assert sorted(made) == sorted([*range(4), made[2]])  # The third was made twice.
    same(out, embedded)


def test_other_settings_start_anew_and_overwriting_leaves_nothing_of_the_old(
    small_dataset, small_estimator, tmp_path, capfd
):
    out, words = tmp_path / "out", ["--estimator", small_estimator, "--limit", "12"]
    assert embed(small_dataset, out, *words) == 0
    assert embed(small_dataset, out, *words) == 2
    assert "holds a dataset already; give another --out, or --overwrite" in error_line(capfd)
    assert embed(small_dataset, out, *words, "--overwrite", "--features-only", "--limit", "8") == 0
    assert open_folder(out).split_sizes == {"test": 8}
    assert not (out / "orientations").exists()


def test_orientations_of_a_known_estimator_are_as_far_apart_as_the_features_say(
    small_dataset, tmp_path
):
    assert embed(small_dataset, tmp_path / "out", "--estimator", "7cfn", "--limit", "40") == 0
    features = load_split(tmp_path / "out", "test")["feature"]
    placed = load_split(tmp_path / "out" / "orientations", "test")
    assert features.shape == (40, open_folder(tmp_path / "out").metadata["feature_dim"])

    head = head_of(load("7cfn"))
    wanted = np.clip(head.distances_in_numpy(features, features), 0, np.pi)
    found = orientation_distances(placed["quaternion"][:, None], placed["quaternion"][None])
    difference = (found - wanted)[~np.eye(40, dtype=bool)].reshape(40, 39)
    assert np.allclose(
        np.sqrt((difference**2).mean(axis=1)), placed["residual_rad"], rtol=1e-3, atol=1e-4
    )


def stack_of(folder: Path, images):
    write_stack(folder / "images.mrcs", images, 5.0)
    return folder / "images.mrcs"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--estimator", "7cfm"], "did you mean"),
        (["--estimator", "7cfn", "--split", "tset"], "must be one of .* not 'tset'"),
        (["--estimator", "7cfn", "--limit", "0"], "limit must be at least 1, not 0"),
        (["--estimator", "7cfn", "--landmarks", "3"], "landmarks must be at least 4, not 3"),
        (["--estimator", "7cfn", "--limit", "3"], "at least 4 particles, not 3"),
        (["--estimator", "7cfn", "--seed", "-1"], "--seed must be at least 0, not -1"),
        (["--estimator", "7cfn", "--particles-per-shard", "0"], "at least 1, not 0"),
        (["--estimator", "7cfn", "--runner", "Flunk"], "runner must be one of .* not 'Flunk'"),
        (["--estimator", "7cfn", "--direct_num_wrkers=2"], "unknown argument"),
    ],
)
def test_arguments_that_cannot_be_used_are_told_in_one_line(
    words, message, small_dataset, tmp_path, capfd
):
    import re

    assert embed(small_dataset, tmp_path / "out", *words) == 2
    assert re.search(message, error_line(capfd))
    assert not (tmp_path / "out").exists()


def test_particles_that_cannot_be_used_are_told_in_one_line(
    embedded, small_dataset, small_estimator, tmp_path, capfd
):
    words = ["--estimator", small_estimator]
    assert embed(tmp_path / "nowhere", tmp_path / "out", *words) == 2
    assert "no such file or folder" in error_line(capfd)
    assert embed(embedded, tmp_path / "out", *words) == 2
    assert "its examples have no 'image'" in error_line(capfd)
    images = load_split(small_dataset, "test")["image"]
    images[9] = 1
    assert embed(stack_of(tmp_path, images), tmp_path / "out", *words) == 2
    assert "image 000010@images.mrcs is constant" in error_line(capfd)
