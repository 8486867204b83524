import json

import numpy as np
import pytest

from cryotwin.datasets.particles import ParticleSet, read_particles
from cryotwin.datasets.star_files import write_orientations_star
from cryotwin.imaging.maps import read_map, write_map
from cryotwin.imaging.point_groups import symmetry_matrices
from cryotwin.imaging.projection import project_volume
from cryotwin.imaging.rotations import (
    MIRROR,
    matrices_to_quaternions,
    quaternions_to_matrices,
    rotation_vectors_to_matrices,
    uniform_quaternions,
)
from cryotwin.pipelines.command_line import main
from cryotwin.pipelines.generate import generate_dataset
from cryotwin.pipelines.generate_settings import GenerateSettings
from cryotwin.pipelines.structure_lists import list_structures
from cryotwin.pipelines.subjects import Grid
from cryotwin.recovery.reconstruction import reconstruct

SIZE = 24
PIXEL_A = 5.0


def handed_volume():
    """Blobs without symmetry, which no rotation takes to their mirror image."""
    rng = np.random.default_rng(0)
    z, y, x = np.mgrid[:SIZE, :SIZE, :SIZE] - SIZE // 2
    return sum(
        np.exp(-((x - a) ** 2 + (y - b) ** 2 + (z - c) ** 2) / 2.2)
        for a, b, c in rng.uniform(-3.5, 3.5, (10, 3))
    ).astype(np.float32)


def particle_set(quaternions, images) -> ParticleSet:
    return ParticleSet(
        images=images,
        pixel_size_angstrom=PIXEL_A,
        keys=[f"blobs-{index:07d}" for index in range(len(quaternions))],
        quaternions=quaternions,
        source="synthesised",
    )


def write_star(path, particles, quaternions, keep=slice(None)):
    chosen = np.arange(len(particles.keys))[keep]
    part = ParticleSet(
        images=particles.images[chosen],
        pixel_size_angstrom=particles.pixel_size_angstrom,
        keys=[particles.keys[index] for index in chosen],
    )
    write_orientations_star(
        path,
        part,
        np.asarray(quaternions)[chosen],
        np.zeros((len(chosen), 2)),
        image_names=[f"{index + 1:06d}@particles.mrcs" for index in chosen],
    )


def write_run(folder, particles, left, scatter_rad=0.0):
    """A run that found the orientations in another frame, and the maps that follow."""
    rng = np.random.default_rng(3)
    count = len(particles.keys)
    turn = quaternions_to_matrices(uniform_quaternions(1, rng))[0]
    axes = rng.standard_normal((count, 3))
    axes *= scatter_rad / np.linalg.norm(axes, axis=1, keepdims=True)
    found = left.T @ quaternions_to_matrices(particles.quaternions) @ turn
    scattered = rotation_vectors_to_matrices(axes) @ found
    folder.mkdir(parents=True)
    # Backwards: truth is matched by key, not by place.
    quaternions = matrices_to_quaternions(scattered)
    write_star(folder / "orientations.star", particles, quaternions, slice(None, None, -1))
    images = np.asarray(particles.images)
    for name, part in (
        ("initial_model.mrc", slice(None)),
        ("half_map_1.mrc", slice(0, None, 2)),
        ("half_map_2.mrc", slice(1, None, 2)),
    ):
        write_map(folder / name, reconstruct(images[part], found[part]), PIXEL_A)
    metrics = {"particles": 1, "embedding_loss_rad2": 0.25, "seconds": {"embedding": 1.5}}
    (folder / "metrics.json").write_text(json.dumps(metrics))


@pytest.fixture(scope="module")
def particles() -> ParticleSet:
    quaternions = uniform_quaternions(300, np.random.default_rng(1))
    images = project_volume(handed_volume(), quaternions_to_matrices(quaternions))
    return particle_set(quaternions, images)


@pytest.fixture(scope="module")
def truth(particles, tmp_path_factory):
    """A .star file of more particles than were recovered, and a map."""
    folder = tmp_path_factory.mktemp("truth")
    write_star(folder / "truth.star", particles, particles.quaternions)
    write_map(folder / "true.mrc", handed_volume(), PIXEL_A)
    return folder


@pytest.fixture(scope="module")
def mirrored_run(particles, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "run"
    write_run(folder, particles, MIRROR, scatter_rad=0.05)
    return folder


def evaluate(*arguments):
    return main(["evaluate", *(str(argument) for argument in arguments)])


def test_the_figures_are_those_that_were_put_in(mirrored_run, truth, capsys):
    arguments = ["--truth", truth / "truth.star", "--volume", truth / "true.mrc", "--json"]
    assert evaluate(mirrored_run, *arguments) == 0
    figures = json.loads(capsys.readouterr().out)
    assert list(figures) == [
        "particles",
        "physical_error_rad",
        "o4_error_rad",
        "resolution_angstrom",
        "embedding_loss_rad2",
        "seconds",
    ]
    assert figures["particles"] == 300
    assert figures["physical_error_rad"]["mean"] == pytest.approx(0.05, abs=0.002)
    assert figures["o4_error_rad"]["median"] == pytest.approx(0.05, abs=0.005)
    resolution = figures["resolution_angstrom"]
    assert {"half_maps_0143", "against_truth_05", "mask", "particle_mask"} <= set(resolution)
    assert resolution["against_truth_05"] == pytest.approx(2 * PIXEL_A, rel=0.1)
    assert resolution["half_maps_0143"] == pytest.approx(2 * PIXEL_A, rel=0.1)
    assert figures["seconds"] == {"embedding": 1.5}


def test_the_table_says_what_each_figure_means(mirrored_run, truth, capsys):
    arguments = ["--truth", truth / "truth.star", "--volume", truth / "true.mrc"]
    assert evaluate(mirrored_run, *arguments) == 0
    table = capsys.readouterr().out
    for words in (
        "300",
        "matched by key",
        "physical error",
        "after the best rotation of the mirror image of the object",
        "O(4) error",
        "at FSC 0.143, within a wide sphere",
        "at FSC 0.5, within a wide sphere",
        "within a mask of the particle",
        "Mask: soft sphere about the middle of the box, 101 A across",
        "without a mask",
        "other hand",
    ):
        assert words in table
    assert max(len(line) for line in table.splitlines()[1:]) < 112


@pytest.fixture
def run_of_copies(particles, tmp_path):
    """A run that found of each orientation any of those that look alike under D2."""
    rng = np.random.default_rng(5)
    group = symmetry_matrices("D2")
    turns = group[rng.integers(len(group), size=len(particles.keys))]
    found = quaternions_to_matrices(particles.quaternions) @ turns
    folder = tmp_path / "copies"
    folder.mkdir()
    write_star(folder / "orientations.star", particles, matrices_to_quaternions(found))
    return folder


def errors(capsys):
    return json.loads(capsys.readouterr().out)["physical_error_rad"]["mean"]


def test_orientations_that_look_alike_are_no_errors_under_the_point_group(
    run_of_copies, truth, capsys
):
    words = (run_of_copies, "--truth", truth / "truth.star", "--json")
    assert evaluate(*words) == 0
    assert errors(capsys) > 1
    assert evaluate(*words, "--symmetry", "d2") == 0
    assert errors(capsys) < 1e-3
    (run_of_copies / "metrics.json").write_text('{"symmetry": "D2"}')
    assert evaluate(*words) == 0
    assert errors(capsys) < 1e-3
    assert evaluate(*words, "--symmetry", "C1") == 0
    assert errors(capsys) > 1


def test_a_point_group_that_is_none_or_not_the_datasets_is_told(
    run_of_copies, truth, small_dataset, capsys
):
    words = (run_of_copies, "--truth")
    assert evaluate(*words, truth / "truth.star", "--symmetry", "X3") == 2
    assert "symmetry must be one of C1 to C99" in capsys.readouterr().err
    assert evaluate(*words, small_dataset, "--symmetry", "D2") == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert "--symmetry must be 'C1', with which" in err


def test_without_a_true_map_its_row_says_what_is_needed(mirrored_run, truth, capsys):
    assert evaluate(mirrored_run, "--truth", truth / "truth.star") == 0
    assert "needs initial_model.mrc and the true map (--volume)" in capsys.readouterr().out


def test_a_dataset_folder_brings_orientations_and_map(tmp_path, capsys):
    write_map(tmp_path / "blobs.mrc", handed_volume(), PIXEL_A)
    blobs = list_structures([str(tmp_path / "blobs.mrc")])
    settings = GenerateSettings(count=400, seed=2)
    generate_dataset(blobs, Grid(SIZE, PIXEL_A), settings, tmp_path / "data")
    write_run(tmp_path / "run", read_particles(tmp_path / "data"), np.eye(3))
    assert evaluate(tmp_path / "run", "--truth", tmp_path / "data", "--json") == 0
    figures = json.loads(capsys.readouterr().out)
    assert figures["particles"] == 132
    assert figures["physical_error_rad"]["mean"] < 1e-4
    resolution = figures["resolution_angstrom"]
    assert resolution["against_truth_05"] < 2.3 * PIXEL_A
    assert resolution["true_orientations_05"] < 2.3 * PIXEL_A

    assert evaluate(tmp_path / "run", "--truth", tmp_path / "data", "--split", "train") == 2
    line = capsys.readouterr().err
    assert line.startswith("cryotwin evaluate: error: ")
    assert "132 of 132 particles are not among the" in line


def complaint(capsys, *arguments):
    """The one line on stderr of a command that fails."""
    assert evaluate(*arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("cryotwin evaluate: error: ")
    assert err.count("\n") == 1
    return err


def test_particles_without_truth_are_counted(particles, mirrored_run, tmp_path, capsys):
    write_star(tmp_path / "few.star", particles, particles.quaternions, slice(250))
    line = complaint(capsys, mirrored_run, "--truth", tmp_path / "few.star")
    assert "50 of 300 particles are not among the 250 of" in line
    assert "'blobs-0000299'" in line


def test_a_folder_that_is_no_run_is_named(truth, tmp_path, capsys):
    line = complaint(capsys, tmp_path, "--truth", truth / "truth.star")
    assert "is not the folder of a run: no orientations.star" in line


def test_a_truth_that_is_not_there_is_named(mirrored_run, tmp_path, capsys):
    assert "no such file" in complaint(capsys, mirrored_run, "--truth", tmp_path / "no.star")
    assert "no such file" in complaint(capsys, mirrored_run, "--truth", tmp_path / "no")
    assert "features.json" in complaint(capsys, mirrored_run, "--truth", tmp_path)


def test_a_true_map_that_does_not_fit_is_named(mirrored_run, truth, tmp_path, capsys):
    write_map(tmp_path / "large.mrc", handed_volume(), 8 * PIXEL_A)
    (tmp_path / "no_map.mrc").write_text("nothing")
    arguments = (mirrored_run, "--truth", truth / "truth.star", "--volume")
    assert "does not fit into a box of 24" in complaint(capsys, *arguments, tmp_path / "large.mrc")
    assert "not an MRC" in complaint(capsys, *arguments, tmp_path / "no_map.mrc")
    assert "no such file" in complaint(capsys, *arguments, tmp_path / "none.mrc")


def test_half_maps_of_two_sizes_and_broken_metrics_are_named(particles, truth, tmp_path, capsys):
    run = tmp_path / "run"
    write_run(run, particles, np.eye(3))
    volume = read_map(run / "half_map_1.mrc").data
    write_map(run / "half_map_2.mrc", volume[1:-1, 1:-1, 1:-1], PIXEL_A)
    assert "one size" in complaint(capsys, run, "--truth", truth / "truth.star")
    (run / "metrics.json").write_text("{")
    assert "metrics.json is not JSON" in complaint(capsys, run, "--truth", truth / "truth.star")


def test_a_map_to_compare_with_needs_a_map(particles, truth, tmp_path, capsys):
    run = tmp_path / "run"
    write_run(run, particles, np.eye(3))
    (run / "initial_model.mrc").unlink()
    line = complaint(capsys, run, "--truth", truth / "truth.star", "--volume", truth / "true.mrc")
    assert "has no initial_model.mrc" in line


def test_without_true_orientations_a_map_in_any_frame_is_compared(mirrored_run, truth, capsys):
    """The run's map is the mirror image of the true one, turned at random."""
    words = (mirrored_run, "--volume", truth / "true.mrc")
    assert evaluate(*words, "--json") == 0
    figures = json.loads(capsys.readouterr().out)
    assert figures["particles"] == 300
    assert "physical_error_rad" not in figures
    resolution = figures["resolution_angstrom"]
    assert resolution["against_truth_05"] == pytest.approx(2 * PIXEL_A, rel=0.1)
    assert evaluate(*words) == 0
    table = capsys.readouterr().out
    assert "brought onto the map by rotation, hand and shift" in table
    assert "other hand" in table
    assert "needs the true orientations (--truth)" in table


def test_something_to_compare_with_is_needed(mirrored_run, capsys):
    assert "expected --truth PARTICLES, --volume MAP.mrc or both" in complaint(capsys, mirrored_run)
