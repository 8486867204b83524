import os
import shutil
import subprocess
from pathlib import Path

import mrcfile
import numpy as np
import pytest

from cryotwin.datasets.folder import load_split, open_folder
from cryotwin.datasets.image_stacks import write_stack
from cryotwin.datasets.particles import read_particles
from cryotwin.pipelines.command_line import main


def convert(*words):
    return main(["convert", *map(str, words)])


def test_a_generated_dataset_goes_to_relion_and_back(small_dataset, tmp_path, capsys):
    star, again = tmp_path / "p.star", tmp_path / "again"
    assert convert(small_dataset, "--out", star, "--particles-per-file", 50) == 0
    assert "90 train, 30 validation, 60 test" in capsys.readouterr().out
    assert convert(star, "--out", again, "--particles-per-file", 50) == 0
    assert open_folder(again).metadata == open_folder(small_dataset).metadata
    assert open_folder(again).volume_path().is_file()
    for split in ("train", "validation", "test"):
        before, after = load_split(small_dataset, split), load_split(again, split)
        for name, values in before.items():
            if name == "quaternion":
                np.testing.assert_allclose(after[name], values, atol=1e-7)
            else:
                np.testing.assert_array_equal(after[name], values)
    assert {path.name for path in again.glob("*.tfrecord*")} == {
        "cryotwin-test.tfrecord-00000-of-00002",
        "cryotwin-test.tfrecord-00001-of-00002",
        "cryotwin-train.tfrecord-00000-of-00002",
        "cryotwin-train.tfrecord-00001-of-00002",
        "cryotwin-validation.tfrecord-00000-of-00001",
    }
    assert not (again / ".unfinished").exists()


@pytest.fixture(scope="module", params=[[], ["--ctf"]], ids=["plain", "ctf"])
def two_structures(request, blob_list, tmp_path_factory) -> Path:
    """Two structures, each with the pixel size that suits it."""
    out = tmp_path_factory.mktemp("two") / "dataset"
    words = ["generate", "7cfn", str(blob_list.with_name("m0.mrc")), "--out", str(out)]
    words += ["--count", "30", "--size", "24", "--snr-db", "0", "--max-shift", "2"]
    assert main([*words, *request.param]) == 0
    return out


def test_structures_of_different_pixel_sizes_go_to_relion_and_back(two_structures, tmp_path):
    star, again = tmp_path / "p.star", tmp_path / "again"
    assert convert(two_structures, "--out", star) == 0
    assert convert(star, "--out", again) == 0
    before, after = open_folder(two_structures), open_folder(again)
    assert after.metadata == before.metadata
    assert after.metadata["pixel_size_angstrom"] is None
    assert after.split_sizes == before.split_sizes
    for name in ("7cfn", "m0"):
        assert after.volume_path(name).read_bytes() == before.volume_path(name).read_bytes()
    for split in before.split_sizes:
        ours, theirs = load_split(before, split), load_split(after, split)
        assert len(set(ours["pixel_size_angstrom"])) == 2
        assert set(ours) == set(theirs)
        for name, values in ours.items():
            if name == "quaternion":
                np.testing.assert_allclose(theirs[name], values, atol=1e-7)
            else:
                np.testing.assert_array_equal(theirs[name], values, err_msg=name)


@pytest.mark.relion
def test_relion_reads_the_pixel_size_of_each_structure(two_structures, tmp_path):
    assert convert(two_structures, "--out", tmp_path / "p.star") == 0
    told = relion("relion_image_handler", "--i", "p.star", "--stats", folder=tmp_path)
    lines = [line for line in told.splitlines() if "@p_" in line]
    found = [float(line.rpartition("angpix = ")[2]) for line in lines]
    splits = open_folder(two_structures).split_sizes
    sizes = [load_split(two_structures, split)["pixel_size_angstrom"] for split in splits]
    np.testing.assert_allclose(sorted(found), np.sort(np.concatenate(sizes)), atol=1e-3)


def test_a_split_is_named_for_particles_that_have_none(tmp_path):
    write_stack(tmp_path / "a.mrcs", np.ones((3, 16, 16), np.float32), 2.0)
    assert convert(tmp_path / "a.mrcs", "--out", tmp_path / "mine", "--split", "validation") == 0
    folder = open_folder(tmp_path / "mine")
    assert folder.split_sizes == {"validation": 3}
    assert folder.fields == ("image", "key", "pixel_size_angstrom")
    assert folder.metadata["command"] == "cryotwin convert a.mrcs --out mine --split validation"


def one_line(capsys):
    told = capsys.readouterr().err.strip()
    assert told.startswith("cryotwin convert: error: ")
    assert "\n" not in told
    return told


@pytest.mark.parametrize(
    ("source", "out", "more", "message"),
    [
        ("data", "out", [], "--out must be a .star file"),
        ("data", "p.mrcs", [], "--out must be a .star file"),
        ("data", "p.star", ["--split", "tset"], "'train', 'validation', 'test', not 'tset'"),
        ("data", "p.star", ["--particles-per-file", 0], "at least 1, not 0"),
        ("data", "there.star", [], "exists already"),
        ("data", "folder.star", [], "is a folder"),
        ("empty", "p.star", [], "is not a dataset folder"),
        ("a.mrcs", "p.star", [], "is not a dataset folder: --out must be a folder"),
        ("a.mrcs", "data", [], "holds a dataset already"),
        ("a.mrcs", "a.mrcs", [], "--out must be a folder"),
        ("a.mrcs", "text.txt", [], "is a file"),
        ("a.mrcs", "new", ["--split", "all"], "not 'all'"),
        ("nothing.star", "new", [], "no such file or folder"),
        ("nothing", "p.star", [], "nothing: no such file or folder"),
        ("data", "text.txt/p.star", [], "text.txt is a file, a folder was expected"),
        ("a.mrcs", "text.txt/deep/new", [], "text.txt is a file, a folder was expected"),
        ("text.txt", "new", [], "must be a dataset folder or a .star"),
    ],
)
def test_wrong_arguments_are_one_line_and_change_nothing(
    small_dataset, tmp_path, capsys, source, out, more, message
):
    (tmp_path / "data").symlink_to(small_dataset)
    (tmp_path / "empty").mkdir()
    (tmp_path / "folder.star").mkdir()
    (tmp_path / "there.star").write_text("mine")
    (tmp_path / "text.txt").write_text("mine")
    write_stack(tmp_path / "a.mrcs", np.ones((3, 16, 16), np.float32), 2.0)
    before = sorted(tmp_path.rglob("*"))
    assert convert(tmp_path / source, "--out", tmp_path / out, *more) == 2
    assert message in one_line(capsys)
    assert sorted(tmp_path.rglob("*")) == before


def test_addresses_and_empty_names_are_one_line(small_dataset, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_stack(tmp_path / "a.mrcs", np.ones((3, 16, 16), np.float32), 2.0)
    for source, out in ((small_dataset, "gs://bucket/p.star"), ("a.mrcs", "gs://bucket/new")):
        assert convert(source, "--out", out) == 2
        assert f"not '{out}': gs:// is not supported" in one_line(capsys)
    assert convert("", "--out", "new") == 2
    assert "SOURCE is empty" in one_line(capsys)
    assert convert("a.mrcs", "--out", "") == 2
    assert "--out: a path was expected, not ''" in one_line(capsys)
    assert main(["generate", "7cfn", "--out", "", "--count", "12", "--size", "16"]) == 2
    assert "--out: a path was expected, not ''" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["a.mrcs"]


def test_one_split_is_taken_of_a_file_that_names_splits(exported, tmp_path, capsys):
    assert convert(exported, "--out", tmp_path / "out", "--split", "foo") == 2
    told = one_line(capsys)
    assert told.endswith("must be one of 'train', 'validation', 'test', not 'foo'")
    assert not (tmp_path / "out").exists()
    assert convert(exported, "--out", tmp_path / "out", "--split", "validation") == 0
    assert open_folder(tmp_path / "out").split_sizes == {"validation": 30}


def test_a_damaged_shard_leaves_no_folder(small_dataset, tmp_path, capsys):
    data = tmp_path / "data"
    shutil.copytree(small_dataset, data)
    shard = next(data.glob("*-test.tfrecord-*"))
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 0xFF
    shard.write_bytes(content)
    assert convert(data, "--out", tmp_path / "new" / "deep" / "p.star") == 2
    assert "cannot be read: a shard is missing, truncated or damaged" in one_line(capsys)
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


def test_a_failed_conversion_leaves_the_folders_that_were_there(tmp_path):
    write_stack(tmp_path / "a.mrcs", np.ones((3, 16, 16), np.float32), 2.0)
    (tmp_path / "mine").mkdir()
    out = tmp_path / "mine" / "new" / "deep"
    assert convert(tmp_path / "a.mrcs", "--out", out, "--split", "all") == 2
    assert (tmp_path / "mine").is_dir()
    assert not (tmp_path / "mine" / "new").exists()


def test_what_is_there_is_replaced_when_asked(small_dataset, tmp_path):
    star = tmp_path / "p.star"
    star.write_text("old")
    assert convert(small_dataset, "--out", star, "--overwrite", "--split", "test") == 0
    out = tmp_path / "out"
    assert convert(star, "--out", out) == 0
    (out / "mine.txt").write_text("kept")
    assert convert(star, "--out", out, "--overwrite") == 0
    assert open_folder(out).split_sizes == {"test": 60}
    assert (out / "mine.txt").read_text() == "kept"


def relion(program, *words, folder):
    path = shutil.which(program)
    if path is None:
        pytest.skip(f"{program} is not installed")
    done = subprocess.run(
        [path, *words],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def exported(small_dataset, tmp_path_factory) -> Path:
    star = tmp_path_factory.mktemp("relion") / "p.star"
    assert convert(small_dataset, "--out", star) == 0
    return star


@pytest.mark.relion
def test_relion_reads_every_image_and_its_pixel_size(exported):
    told = relion("relion_image_handler", "--i", "p.star", "--stats", folder=exported.parent)
    lines = [line for line in told.splitlines() if "@p_" in line]
    assert len(lines) == 180
    assert all("32 x 32 x 1" in line for line in lines)
    pixel = read_particles(exported).pixel_size_angstrom
    assert float(lines[0].rpartition("angpix = ")[2]) == pytest.approx(pixel, abs=1e-3)


@pytest.mark.relion
def test_relions_own_selection_keeps_our_columns(exported):
    words = ["--i", "p.star", "--o", "q.star", "--select", "rlnAngleTilt", "--minval", "90"]
    relion("relion_star_handler", *words, folder=exported.parent)
    out = exported.parent / "selected"
    assert convert(exported.parent / "q.star", "--out", out) == 0
    folder = open_folder(out)
    assert 0 < sum(folder.split_sizes.values()) < 180
    assert set(load_split(folder, "train")["structure"]) == {"7cfn"}


@pytest.fixture(scope="module")
def shifted(tmp_path_factory):
    """300 particles without noise, off the centre by up to 3 pixels."""
    out = tmp_path_factory.mktemp("shifted") / "dataset"
    words = ["generate", "7cfn", "--out", str(out), "--count", "300", "--size", "32"]
    assert main([*words, "--max-shift", "3", "--perturb-train"]) == 0
    return out


@pytest.mark.relion
@pytest.mark.parametrize("ctf", [[], ["--ctf"]], ids=["plain", "ctf"])
def test_relion_reconstructs_the_true_map_from_an_exported_dataset(shifted, tmp_path, ctf):
    assert convert(shifted, "--out", tmp_path / "p.star") == 0
    relion("relion_reconstruct", "--i", "p.star", "--o", "rec.mrc", *ctf, folder=tmp_path)
    with mrcfile.open(tmp_path / "rec.mrc") as found:
        reconstruction = np.array(found.data)
    with mrcfile.open(open_folder(shifted).volume_path()) as true:
        volume = np.array(true.data)
    correlation = np.corrcoef(reconstruction.ravel(), volume.ravel())[0, 1]
    assert correlation > 0.99
