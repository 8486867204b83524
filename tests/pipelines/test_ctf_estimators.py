"""Estimators that know the CTF of each image, from the dataset to the orientations."""

import json

import numpy as np
import pytest

from cryotwin.datasets.folder import load_split
from cryotwin.datasets.particle_ctf import particle_ctf
from cryotwin.datasets.particles import read_particles
from cryotwin.imaging.ctf import CtfParameters, flip_phases, full_contrast_transfer
from cryotwin.imaging.rotations import pairwise_distances
from cryotwin.models.features import extract_features
from cryotwin.models.heads import find_head
from cryotwin.models.model_files import load, read_metadata
from cryotwin.pipelines.command_line import main

SIZE, COUNT = 32, 53
SHORT = ["--epochs", "1", "--feature-dim", "16", "--batch-size", "32"]
KINDS = {"takes_ctf": ["--model", "ctf_polar"], "phase_flip": ["--phase-flip"]}


@pytest.fixture(scope="module")
def ctf_dataset(tmp_path_factory):
    """Projections of the bundled structure at 32 px, each with a CTF of its own."""
    out = tmp_path_factory.mktemp("ctf") / "dataset"
    words = ["generate", "7cfn", "--out", str(out), "--count", "160", "--size", str(SIZE)]
    assert main([*words, "--snr-db", "0", "--ctf", "--seed", "3"]) == 0
    return out


def train(dataset, out, *more):
    return main(["train", str(dataset), "--out", str(out), *SHORT, *more])


@pytest.fixture(scope="module")
def estimators(ctf_dataset, tmp_path_factory):
    """An estimator that takes the CTF, and one of images with their phases flipped."""
    folder = tmp_path_factory.mktemp("estimators")
    paths = {kind: folder / f"{kind}.keras" for kind in KINDS}
    for kind, path in paths.items():
        assert train(ctf_dataset, path, *KINDS[kind]) == 0
    return paths


def error_line(capsys):
    err = capsys.readouterr().err
    assert err.count("\n") == 1, err
    return err


def _test_split(dataset):
    """Images, orientations, CTF parameters and pixel size, as the dataset stores them."""
    views = load_split(dataset, "test")
    ctf = {name.removeprefix("ctf/"): views[name] for name in views if name.startswith("ctf/")}
    pixel_size = float(views["pixel_size_angstrom"][0])
    return views["image"], views["quaternion"], CtfParameters(**ctf), pixel_size


@pytest.mark.parametrize("kind", KINDS)
def test_the_accuracy_in_the_file_is_that_of_the_model_with_the_stored_ctf(
    kind, ctf_dataset, estimators
):
    images, quaternions, parameters, pixel_size = _test_split(ctf_dataset)
    extractor, ctf = load(estimators[kind]).get_layer("extractor"), None
    if kind == "takes_ctf":
        ctf = full_contrast_transfer(parameters, SIZE, pixel_size)
    else:
        images = flip_phases(images, parameters, pixel_size)

    features = extract_features(extractor, images, ctf)
    estimated = find_head("so3").distances_in_numpy(features, features)
    pairs = np.triu_indices(len(images), 1)
    error = (estimated - pairwise_distances(quaternions))[pairs]

    metadata = read_metadata(estimators[kind])
    assert metadata["accuracy"]["distance_mse_rad2"] == pytest.approx(np.mean(error**2), rel=1e-3)
    assert len(metadata["accuracy"]["conditions"]) > 0
    assert {other: metadata[other] for other in KINDS} == {other: other == kind for other in KINDS}


@pytest.mark.parametrize("kind", KINDS)
def test_recovery_takes_the_ctf_from_a_dataset_and_from_a_star_file(
    kind, ctf_dataset, estimators, tmp_path
):
    words = ["--estimator", str(estimators[kind]), "--no-refine"]
    runs = [tmp_path / "first", tmp_path / "second"]

    assert main(["recover", str(ctf_dataset), "--out", str(runs[0]), *words]) == 0
    star = runs[0] / "orientations.star"
    assert main(["recover", str(star), "--out", str(runs[1]), *words]) == 0

    expected = full_contrast_transfer(_test_split(ctf_dataset)[2], SIZE, 4.0)
    for run in runs:
        particles = read_particles(run / "orientations.star")
        assert len(particles) == COUNT
        found = full_contrast_transfer(particle_ctf(particles), SIZE, 4.0)
        assert np.allclose(found, expected, atol=2e-3)
    # Features that differed would give distances that fit another embedding.
    losses = [json.loads((run / "metrics.json").read_text())["embedding_loss_rad2"] for run in runs]
    assert losses[0] == pytest.approx(losses[1], rel=1e-2)


@pytest.mark.parametrize("kind", KINDS)
def test_particles_without_a_ctf_are_refused_in_one_line(
    kind, small_dataset, estimators, tmp_path, capsys
):
    words = ["--out", str(tmp_path / "run"), "--estimator", str(estimators[kind])]

    assert main(["recover", str(small_dataset), *words]) == 2

    assert "needs the CTF of each image, but the particles have none" in error_line(capsys)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("kind", KINDS)
def test_training_on_a_dataset_without_a_ctf_is_refused_in_one_line(
    kind, small_dataset, tmp_path, capsys
):
    assert train(small_dataset, tmp_path / "est.keras", *KINDS[kind]) == 2
    line = error_line(capsys)
    assert f"{' '.join(KINDS[kind])} needs the CTF of each image" in line
    assert "generate --ctf" in line


def test_a_model_that_takes_the_ctf_needs_no_flipped_phases(ctf_dataset, tmp_path, capsys):
    words = [*KINDS["takes_ctf"], *KINDS["phase_flip"]]
    assert train(ctf_dataset, tmp_path / "est.keras", *words) == 2
    assert "--phase-flip is for models that do not take the CTF" in error_line(capsys)
