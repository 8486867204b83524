import errno
import json
import os
import re
import shutil
import signal
from pathlib import Path

import keras
import mrcfile
import numpy as np
import pandas as pd
import pytest
import starfile

from cryotwin.datasets.folder import load_split, open_folder
from cryotwin.datasets.image_stacks import write_stack
from cryotwin.datasets.particles import read_particles
from cryotwin.imaging.maps import read_map
from cryotwin.imaging.projection import project_volume
from cryotwin.imaging.rotations import (
    orientation_distances,
    quaternions_to_matrices,
    rotation_vectors_to_matrices,
    uniform_quaternions,
)
from cryotwin.imaging.structures import read_structure
from cryotwin.imaging.volumes import structure_volume
from cryotwin.pipelines.command_line import main
from cryotwin.recovery import first_orientations

FILES = {
    "orientations.star",
    "initial_model.mrc",
    "half_map_1.mrc",
    "half_map_2.mrc",
    "mask.mrc",
    "metrics.json",
    "report.html",
}


def recover(particles, out, *more):
    return main(["recover", str(particles), "--out", str(out), *map(str, more)])


def error_line(capsys):
    """The one line on stderr."""
    err = capsys.readouterr().err
    assert err.count("\n") == 1, err
    assert err.startswith("cryotwin recover: error: ")
    return err


def names(folder):
    return {path.name for path in folder.iterdir()}


@pytest.fixture(scope="module")
def run_folder(small_dataset, small_estimator, tmp_path_factory):
    """A run on the test split of the small dataset."""
    out = tmp_path_factory.mktemp("recovered") / "run"
    assert recover(small_dataset, out, "--estimator", small_estimator, "--limit", "60") == 0
    return out


def test_the_map_projects_to_the_images_along_the_written_orientations(run_folder):
    particles = read_particles(run_folder / "orientations.star")
    density = read_map(run_folder / "initial_model.mrc")
    assert density.voxel_size_angstrom[0] == pytest.approx(particles.pixel_size_angstrom, rel=1e-4)

    predicted = project_volume(density.data, quaternions_to_matrices(particles.quaternions))

    correlation = [
        np.corrcoef(one.ravel(), other.ravel())[0, 1]
        for one, other in zip(predicted, particles.images, strict=True)
    ]
    assert np.median(correlation) > 0.4


def test_every_particle_is_written_with_its_key_and_image(run_folder, small_dataset):
    truth = load_split(small_dataset, "test")

    particles = read_particles(run_folder / "orientations.star")

    assert particles.keys == [str(key) for key in truth["key"]]
    assert np.allclose(particles.images, truth["image"])
    assert np.allclose(np.linalg.norm(particles.quaternions, axis=1), 1)


def test_all_files_are_there_and_no_other(run_folder):
    assert names(run_folder) == FILES | {"particles.mrcs"}


def test_the_figures_bear_their_names_and_agree_with_evaluate(run_folder, small_dataset, capsys):
    metrics = json.loads((run_folder / "metrics.json").read_text())
    assert metrics["particles"] == 60
    assert {"mean", "median"} == set(metrics["physical_error_rad"]) == set(metrics["o4_error_rad"])
    assert {"half_maps_0143", "against_truth_05", "mask"} <= set(metrics["resolution_angstrom"])
    assert {"before", "after"} == set(metrics["common_line_score"])
    assert isinstance(metrics["embedding_trusted"], bool)
    assert metrics["embedding_loss_rad2"] >= 0
    assert "refinement" in metrics["seconds"]

    capsys.readouterr()
    assert main(["evaluate", str(run_folder), "--truth", str(small_dataset), "--json"]) == 0
    evaluated = json.loads(capsys.readouterr().out)
    assert set(evaluated) == set(metrics)
    assert metrics["symmetry"] == "C1"
    for name in ("physical_error_rad", "o4_error_rad"):
        assert evaluated[name] == pytest.approx(metrics[name], rel=1e-3)
    for name, value in metrics["resolution_angstrom"].items():
        assert evaluated["resolution_angstrom"][name] == (
            value if isinstance(value, str) else pytest.approx(value, rel=0.02)
        )


def test_the_report_is_one_file_that_loads_nothing_from_elsewhere(run_folder):
    page = (run_folder / "report.html").read_text()
    assert not re.search(r"""<(script|img|iframe)[^>]+src=["'](?!data:)""", page)
    assert not re.search(r"<link[^>]+href=[\"'](?!data:)", page)
    assert "cryotwin recover" in page
    assert "7cfn" in page


def test_a_particle_file_can_be_recovered_and_keeps_its_images_where_they_are(
    run_folder, small_estimator, tmp_path
):
    words = ["--estimator", small_estimator, "--no-refine", "--limit", "50", "--seed", "2"]
    assert recover(run_folder / "orientations.star", tmp_path / "run", *words) == 0
    assert names(tmp_path / "run") == FILES
    particles = read_particles(tmp_path / "run" / "orientations.star")
    before = read_particles(run_folder / "orientations.star")
    assert particles.keys == before.keys[:50]
    assert np.array_equal(particles.images, before.images[:50])
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert "physical_error_rad" not in metrics
    assert "refinement" not in metrics["seconds"]


def test_a_run_is_not_overwritten_unless_asked(run_folder, small_dataset, small_estimator, capsys):
    before = {path.name: path.read_bytes() for path in run_folder.iterdir()}
    assert recover(small_dataset, run_folder, "--estimator", small_estimator) == 2
    assert "holds a run already; give another --out, or --overwrite" in error_line(capsys)
    assert {path.name: path.read_bytes() for path in run_folder.iterdir()} == before


@pytest.fixture(scope="module")
def stack(small_dataset):
    return load_split(small_dataset, "test")["image"], open_folder(small_dataset).metadata


def _stack_of(images, pixel_size, path):
    write_stack(path, images, pixel_size)
    return path


def _bad_particles(kind, folder, images, pixel_size):
    """A file or folder that cannot be recovered, by what is wrong with it."""
    path = folder / "particles.mrcs"
    if kind == "missing":
        return folder / "nowhere.star"
    if kind == "no dataset":
        return folder
    if kind == "suffix":
        (folder / "particles.txt").write_text("images")
        return folder / "particles.txt"
    if kind == "no stack":
        path.write_text("images")
        return path
    if kind == "cut":
        path.write_bytes(_stack_of(images, pixel_size, path).read_bytes()[:-100])
        return path
    if kind == "nan":
        images = images.copy()
        images[4, 2, 2] = np.nan
    elif kind == "constant":
        images = images.copy()
        images[4] = 0.3
    elif kind == "8 px":
        images = images[:, :8, :8]
    elif kind == "small field of view":
        images = images[:, 6:26, 6:26]
    elif kind == "few":
        images = images[:20]
    elif kind == "dark":
        images = -images
    elif kind == "coarse pixels":
        pixel_size *= 2.5
    return _stack_of(images, pixel_size, path)


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("missing", r"nowhere\.star: no such file"),
        ("no dataset", "is not a dataset folder"),
        ("suffix", r"must be a dataset folder or a \.star.*'\.txt'"),
        ("no stack", "not a whole MRC stack"),
        ("cut", "not a whole MRC stack"),
        ("nan", "image 5 holds NaN"),
        ("constant", r"particles\.mrcs: image 000005@particles\.mrcs is constant"),
        ("8 px", "8 px are too small.*at least 16 px"),
        ("small field of view", r"20 px at .* A show .* A.*small was trained on .*32 px"),
        ("few", "at least 50 particles, not 20"),
        ("dark", r"particles\.mrcs: particles must be brighter .*give --invert-contrast"),
        ("coarse pixels", r"pixels of .* A, but the estimator small was trained on .* A"),
    ],
)
@pytest.mark.filterwarnings("ignore:Data array contains NaN:RuntimeWarning")
def test_particles_that_cannot_be_used_are_told_in_one_line(
    kind, message, stack, small_estimator, tmp_path, capsys
):
    images, metadata = stack
    particles = _bad_particles(kind, tmp_path, images, metadata["pixel_size_angstrom"])
    before = names(tmp_path)
    assert recover(particles, tmp_path / "run", "--estimator", small_estimator) == 2
    assert re.search(message, error_line(capsys))
    assert names(tmp_path) == before


@pytest.mark.parametrize(("turned", "message"), [(0, "nine of ten"), (np.pi, "turns in the plane")])
def test_particles_of_one_view_are_told_in_one_line(turned, message, tmp_path, capsys):
    found = structure_volume(read_structure("7cfn"), size=64)
    rng = np.random.default_rng(0)
    vectors = np.zeros((60, 3))
    vectors[:, 2] = rng.uniform(-turned, turned, 60)
    views = rotation_vectors_to_matrices(vectors)
    views = views @ quaternions_to_matrices(uniform_quaternions(1, rng))
    images = project_volume(found.volume, views)
    images = images / images.std() + 0.5 * rng.standard_normal(images.shape)
    path = _stack_of(images.astype(np.float32), found.pixel_size_angstrom, tmp_path / "one.mrcs")
    assert recover(path, tmp_path / "run", "--estimator", "7cfn") == 2
    assert re.search(
        f"all particles seem to be seen from one side: .*{message}", error_line(capsys)
    )
    assert names(tmp_path) == {"one.mrcs"}


def _star(folder, images, pixel_sizes, names):
    """A .star file with an optics group for each pixel size, its particles dealt out in turn."""
    groups = len(pixel_sizes)
    optics = pd.DataFrame(
        {"rlnOpticsGroup": np.arange(groups) + 1, "rlnImagePixelSize": pixel_sizes}
    )
    table = pd.DataFrame(
        {"rlnImageName": names, "rlnOpticsGroup": np.arange(len(names)) % groups + 1}
    )
    starfile.write({"optics": optics, "particles": table}, folder / "particles.star")
    write_stack(folder / "stack.mrcs", images, pixel_sizes[0])
    return folder / "particles.star"


def _names(count, stack="stack.mrcs"):
    return [f"{number:06d}@{stack}" for number in range(1, count + 1)]


def _bad_star(kind, folder, images, pixel_size):
    count = len(images)
    if kind == "no stack":
        path = _star(folder, images, [pixel_size], _names(count))
        (folder / "stack.mrcs").unlink()
        return path
    if kind == "short stack":
        return _star(folder, images[:55], [pixel_size], _names(count))
    if kind == "two pixel sizes":
        return _star(folder, images, [pixel_size, 2 * pixel_size], _names(count))
    if kind == "two boxes":
        write_stack(folder / "small.mrcs", images[:10, 4:28, 4:28], pixel_size)
        return _star(folder, images, [pixel_size], _names(50) + _names(10, "small.mrcs"))
    if kind == "twice":
        return _star(folder, images, [pixel_size], [*_names(count - 1), "7@stack.mrcs"])
    path = _star(folder, images, [pixel_size], _names(count))
    if kind == "no rows":
        text = path.read_text()
        path.write_text(text[: text.index("000001@")])
    elif kind == "no bytes":
        path.write_text("")
    elif kind == "empty block":
        path.write_text("data_particles\n")
    return path


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("no stack", r"particles\.star: image stack 'stack\.mrcs' not found"),
        (
            "short stack",
            r"particles\.star: image 60 of .*stack\.mrcs is listed, but that stack has 55 images",
        ),
        ("two pixel sizes", r"particles\.star: particles must have one pixel size, not"),
        ("two boxes", r"images must have one size, .*small\.mrcs has 24 px and others have 32 px"),
        ("twice", r"particle '000007@stack\.mrcs' stands in rows 7 and 60"),
        ("no rows", r"no table of particles .* tables: data_optics, data_particles"),
        ("no bytes", r"no table of particles .* tables: none"),
        ("empty block", "a block without a table .*; blocks: data_particles"),
    ],
)
def test_star_files_that_cannot_be_used_are_told_in_one_line(
    kind, message, stack, small_estimator, tmp_path, capsys
):
    images, metadata = stack
    path = _bad_star(kind, tmp_path, images, metadata["pixel_size_angstrom"])
    before = names(tmp_path)
    assert recover(path, tmp_path / "run", "--estimator", small_estimator) == 2
    assert re.search(message, error_line(capsys))
    assert names(tmp_path) == before


def test_dark_particles_are_recovered_bright_and_written_so(
    stack, run_folder, small_estimator, tmp_path, capsys
):
    images, metadata = stack
    path = _star(tmp_path, -images, [metadata["pixel_size_angstrom"]], _names(len(images)))
    words = ["--estimator", small_estimator, "--no-refine", "--invert-contrast"]
    assert recover(path, tmp_path / "run", *words) == 0
    assert names(tmp_path / "run") == FILES | {"particles.mrcs"}
    table = starfile.read(tmp_path / "run" / "orientations.star")["particles"]
    assert list(table["rlnImageOriginalName"]) == _names(len(images))
    again = read_particles(tmp_path / "run" / "orientations.star")
    assert np.array_equal(again.images, images)
    assert again.keys == _names(len(images))
    assert "--invert-contrast" in (tmp_path / "run" / "report.html").read_text()


def test_a_particle_file_of_cryosparc_gets_its_own_form_back_as_well(
    stack, small_estimator, tmp_path, capsys
):
    images, metadata = stack
    pixel_size = metadata["pixel_size_angstrom"]
    write_stack(tmp_path / "stack.mrc", images, pixel_size)
    fields = [("uid", "<u8"), ("blob/path", "S9"), ("blob/idx", "<u4"), ("blob/psize_A", "<f4")]
    table = np.zeros(len(images), fields)
    table["uid"], table["blob/idx"] = np.arange(len(images)) + 7, np.arange(len(images))
    table["blob/path"], table["blob/psize_A"] = b"stack.mrc", pixel_size
    with (tmp_path / "particles.cs").open("wb") as file:
        np.save(file, table)
    words = ["--estimator", small_estimator, "--no-refine"]
    assert recover(tmp_path / "particles.cs", tmp_path / "run", *words) == 0
    assert names(tmp_path / "run") == FILES | {"orientations.cs"}
    star = read_particles(tmp_path / "run" / "orientations.star")
    poses = read_particles(tmp_path / "run" / "orientations.cs")
    assert np.array_equal(star.images, images)
    assert np.array_equal(poses.images, images)
    assert orientation_distances(star.quaternions, poses.quaternions).max() < 1e-5
    halves = starfile.read(tmp_path / "run" / "orientations.star")["particles"]["rlnRandomSubset"]
    assert list(poses.rows["alignments3D/split"] + 1) == list(halves)
    assert list(poses.rows["uid"]) == list(table["uid"])


def test_images_that_are_resampled_for_the_estimator_are_told_with_both_sizes(
    stack, small_estimator, tmp_path, capsys
):
    images, metadata = stack
    path = _stack_of(images, 1.25 * metadata["pixel_size_angstrom"], tmp_path / "particles.mrcs")
    words = ["--estimator", small_estimator, "--no-refine"]
    assert recover(path, tmp_path / "run", *words) == 0
    wanted = metadata["pixel_size_angstrom"]
    told = rf"note: the images \(32 px of {1.25 * wanted:.3g} A\) are resampled to {wanted:.3g} A"
    assert re.search(told + rf".* trained on 32 px of {wanted:.3g} A", capsys.readouterr().out)


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs a folder where none can write")
def test_a_folder_that_cannot_be_written_is_told_before_any_work(
    small_dataset, small_estimator, capsys
):
    assert recover(small_dataset, "/proc/self/run", "--estimator", small_estimator) == 2
    assert error_line(capsys).startswith("cryotwin recover: error: /proc/self/run")


def test_a_dataset_of_another_point_group_is_told(small_dataset, small_estimator, tmp_path, capsys):
    shutil.copytree(small_dataset, tmp_path / "d2")
    path = tmp_path / "d2" / "cryotwin.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"symmetry": "D2"}))
    assert recover(tmp_path / "d2", tmp_path / "run", "--estimator", small_estimator) == 2
    assert re.search("--symmetry must be 'D2', with which .*d2 was .*not 'C1'", error_line(capsys))
    assert names(tmp_path) == {"d2"}


def _text(path):
    path.write_text("weights")


def _stranger(path):
    keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)]).save(path)


@pytest.mark.parametrize("write", [_text, _stranger])
def test_a_file_that_is_no_estimator_is_told_in_one_line(write, small_dataset, tmp_path, capsys):
    path = tmp_path / "est.keras"
    write(path)
    assert recover(small_dataset, tmp_path / "run", "--estimator", path) == 2
    assert re.search(r"est\.keras: .*is not an estimator", error_line(capsys))
    assert names(tmp_path) == {"est.keras"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "recovery needs --estimator"),
        (["--estimator", "7cf"], "'7cf' is neither a file nor a published name"),
        (["--structure", "7cfn"], "recovery needs --estimator"),
        (["--limit", "0"], "--limit must be at least 1, not 0"),
        (["--max-shift", "-1"], "--max-shift must be zero or a positive number, not -1"),
        (["--max-shift", "nan"], "--max-shift must be zero or a positive number, not nan"),
        (["--symmetry", "C7"], "symmetry must be 'C1', which the estimator small .*not 'C7'"),
        (["--symmetry", "X7"], "symmetry must be one of C1 to C99.*not 'X7'"),
        (["--split", "tset"], "split of .* must be one of .*not 'tset'"),
        (["--seed", "-1"], "seed must be .*not -1"),
    ],
)
def test_a_bad_argument_is_told_in_one_line(
    arguments, message, small_dataset, small_estimator, tmp_path, capsys
):
    if "needs --estimator" not in message and "--estimator" not in arguments:
        arguments = [*arguments, "--estimator", small_estimator]
    assert recover(small_dataset, tmp_path / "run", *arguments) == 2
    assert re.search(message, error_line(capsys))
    assert names(tmp_path) == set()


def test_a_file_is_no_folder_for_results(small_dataset, small_estimator, tmp_path, capsys):
    (tmp_path / "run").write_text("mine")
    assert recover(small_dataset, tmp_path / "run", "--estimator", small_estimator) == 2
    assert "is a file; --out must be a folder" in error_line(capsys)
    assert (tmp_path / "run").read_text() == "mine"


def test_a_full_disk_leaves_nothing_and_the_old_run_as_it_was(
    run_folder, small_dataset, small_estimator, tmp_path, monkeypatch, capsys
):
    whole, made = mrcfile.new, []

    def full_at_the_second(*args, **kwargs):
        made.append(args)
        if len(made) % 2 == 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return whole(*args, **kwargs)

    monkeypatch.setattr(mrcfile, "new", full_at_the_second)
    words = ["--estimator", small_estimator, "--no-refine"]
    assert recover(small_dataset, tmp_path / "run", *words) == 2
    assert error_line(capsys).endswith("mrc: no space left on device\n")
    assert names(tmp_path) == set()

    shutil.copytree(run_folder, tmp_path / "run")
    assert recover(small_dataset, tmp_path / "run", *words, "--overwrite") == 2
    assert names(tmp_path / "run") == names(run_folder)
    for path in run_folder.iterdir():
        assert (tmp_path / "run" / path.name).read_bytes() == path.read_bytes()


def test_ctrl_c_ends_with_130_and_leaves_nothing(
    small_dataset, small_estimator, tmp_path, monkeypatch, capsys
):
    original = first_orientations.find_gauge

    def interrupted(*args, **kwargs):
        os.kill(os.getpid(), signal.SIGINT)
        return original(*args, **kwargs)

    monkeypatch.setattr(first_orientations, "find_gauge", interrupted)
    assert recover(small_dataset, tmp_path / "run", "--estimator", small_estimator) == 130
    assert capsys.readouterr().err == "cryotwin recover: interrupted\n"
    assert names(tmp_path) == set()


def test_what_a_killed_run_left_does_not_stand_in_the_way(small_dataset, small_estimator, tmp_path):
    (tmp_path / "run" / ".unfinished").mkdir(parents=True)
    (tmp_path / "run" / ".unfinished" / "initial_model.mrc").write_text("half of it")
    (tmp_path / "run" / "notes.txt").write_text("mine")
    words = ["--estimator", small_estimator, "--no-refine", "--limit", "50"]
    assert recover(small_dataset, tmp_path / "run", *words) == 0
    assert names(tmp_path / "run") == FILES | {"particles.mrcs", "notes.txt"}
