import argparse
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import mrcfile
import numpy as np
import pytest

from cryotwin.datasets.folder import load_split, open_folder
from cryotwin.datasets.splits import SPLITS, split_sizes
from cryotwin.imaging.errors import InputError
from cryotwin.imaging.maps import write_map
from cryotwin.imaging.microscope import signal_variance
from cryotwin.imaging.projection import project_volume
from cryotwin.imaging.rotations import quaternions_to_matrices
from cryotwin.imaging.stopwatch import Stopwatch
from cryotwin.pipelines import generate, generate_command, particle_shards
from cryotwin.pipelines.beam_runs import RunMetrics
from cryotwin.pipelines.generate import generate_dataset
from cryotwin.pipelines.generate_settings import GenerateSettings
from cryotwin.pipelines.structure_lists import StructureEntry
from cryotwin.pipelines.subjects import Grid

COUNT = 60
SIZE = 32
GRID = Grid(SIZE, 2.5)
NOISY = GenerateSettings(count=COUNT, seed=5, snr_db=-6, max_shift_px=2)


def entry(folder: Path, name: str = "blobs", *, flip: bool = False) -> StructureEntry:
    """A map of three Gaussians off the centre, which no rotation takes onto themselves."""
    z, y, x = np.mgrid[:SIZE, :SIZE, :SIZE] - SIZE // 2
    density = sum(
        np.exp(-((x - a) ** 2 + (y - b) ** 2 + (z - c) ** 2) / 5)
        for a, b, c in [(4, 0, 0), (0, -5, 1), (-2, 2, 5)]
    )
    write_map(folder / f"{name}.mrc", density[:, :, ::-1] if flip else density, 2.5)
    return StructureEntry(str(folder / f"{name}.mrc"), name, cluster=name)


def digests(folder: Path) -> dict[str, str]:
    """A digest of every field of every example, by key."""
    found = {}
    for split in SPLITS:
        fields = load_split(folder, split)
        for place, key in enumerate(fields["key"]):
            content = split.encode() + b"".join(
                name.encode()
                + (
                    str(values[place]).encode()
                    if values.dtype.kind == "U"
                    else values[place].tobytes()
                )
                for name, values in sorted(fields.items())
            )
            found[str(key)] = hashlib.sha256(content).hexdigest()
    return found


def run_command(*arguments: str) -> int:
    parser = argparse.ArgumentParser()
    generate_command.add_arguments(parser)
    return generate_command.run(*parser.parse_known_args(arguments))


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("generated") / "data"
    generate_dataset([entry(out.parent)], GRID, NOISY, out, command="cryotwin generate blobs")
    return out


@pytest.fixture(scope="module")
def bundled(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("bundled") / "data"
    assert run_command("7cfn", "--out", str(out), "--count", "30", "--size", "32") == 0
    return out


def test_a_test_image_is_the_shifted_projection_of_the_stored_map_plus_noise(dataset):
    fields = load_split(dataset, "test")
    with mrcfile.open(dataset / "volumes" / "blobs.mrc") as file:
        volume = file.data.copy()
    clean = project_volume(volume, quaternions_to_matrices(fields["quaternion"]))
    x, y = (fields["shift_angstrom"] / fields["pixel_size_angstrom"][:, None]).T
    frequency = np.fft.fftfreq(SIZE)
    ramp = np.exp(
        -2j * np.pi * (frequency[:, None] * y[:, None, None] + frequency * x[:, None, None])
    )
    noise = fields["image"] - np.fft.ifft2(np.fft.fft2(clean) * ramp).real
    variance = 10**0.6
    assert abs(noise.var() / variance - 1) < 5 * np.sqrt(2 / noise.size)
    # What is left is white: the shift was undone in the right direction.
    correlation = np.corrcoef(noise.ravel(), clean.ravel())[0, 1]
    assert abs(correlation) < 5 / np.sqrt(noise.size)
    np.testing.assert_allclose(fields["noise_variance"], variance, rtol=1e-6)
    assert np.abs(x).max() <= 2


def test_the_training_split_is_clean(dataset):
    fields = load_split(dataset, "train")
    with mrcfile.open(dataset / "volumes" / "blobs.mrc") as file:
        volume = file.data.copy()
    clean = project_volume(volume, quaternions_to_matrices(fields["quaternion"]))
    np.testing.assert_allclose(fields["image"], clean, atol=1e-4 * clean.max())
    assert not fields["shift_angstrom"].any()
    assert not fields["noise_variance"].any()


def test_perturb_train_stores_the_training_split_with_noise(tmp_path):
    settings = GenerateSettings(count=6, noise_variance=2.0, perturb_train=True)
    generate_dataset([entry(tmp_path)], GRID, settings, tmp_path / "data")
    assert (load_split(tmp_path / "data", "train")["noise_variance"] == 2).all()


def test_a_dataset_is_made_without_tensorflow(tmp_path):
    program = """
import sys
from cryotwin.pipelines.command_line import main
status = main(["generate", "7cfn", "--out", sys.argv[1], "--count", "6", "--size", "24"])
assert "tensorflow" not in sys.modules
sys.exit(status)
"""
    subprocess.run([sys.executable, "-c", program, str(tmp_path / "data")], check=True)


def test_the_stored_map_gives_projections_of_unit_variance(dataset):
    with mrcfile.open(dataset / "volumes" / "blobs.mrc") as file:
        assert signal_variance(file.data) == pytest.approx(1, rel=1e-4)
        assert file.voxel_size.x == pytest.approx(2.5)


def test_examples_do_not_depend_on_the_shards(dataset, tmp_path):
    again = generate_dataset(
        [entry(tmp_path)], GRID, NOISY, tmp_path / "data", particles_per_shard=7
    )
    assert len(list(again.folder.path.glob("*-train.tfrecord-*"))) == 5
    assert digests(again.folder.path) == digests(dataset)


def test_keys_are_unique_and_splits_have_their_sizes(dataset):
    assert open_folder(dataset).split_sizes == split_sizes(COUNT)
    assert sorted(digests(dataset)) == [f"blobs-{index:07d}" for index in range(COUNT)]


def test_images_and_seconds_by_stage_are_counted(tmp_path):
    entries = [entry(tmp_path, "a"), StructureEntry("nowhere.mrc", "b")]
    settings = GenerateSettings(count=20, snr_db=0)
    metrics = generate_dataset(entries, GRID, settings, tmp_path / "data").metrics
    assert metrics.counts == {"structures": 1, "failures": 1, "images": 20}
    stages = ["read", "density", "store", "load", "project", "perturb", "serialise", "write"]
    assert sorted(metrics.seconds) == sorted(stages)
    assert metrics.seconds["project"] > 0
    assert "20 images" in metrics.summary()


def test_a_seed_changes_every_particle(dataset, tmp_path):
    other = GenerateSettings(count=COUNT, seed=6, snr_db=-6, max_shift_px=2)
    generate_dataset([entry(tmp_path)], GRID, other, tmp_path / "data")
    assert not set(digests(tmp_path / "data").values()) & set(digests(dataset).values())


def test_two_structures_share_the_splits_and_keep_their_names(tmp_path):
    settings = GenerateSettings(count=6)
    entries = [entry(tmp_path, "a"), entry(tmp_path, "b")]
    folder = generate_dataset(entries, GRID, settings, tmp_path / "data").folder
    assert folder.split_sizes == {name: 2 * size for name, size in split_sizes(6).items()}
    assert list(load_split(folder, "train")["structure"]) == ["a", "a", "a", "b", "b", "b"]
    assert folder.volume_path("b") == folder.path / "volumes" / "b.mrc"


def test_tfds_opens_the_folder_in_a_process_without_cryotwin(dataset):
    program = """
import sys, json
import tensorflow_datasets as tfds
builder = tfds.builder_from_directory(sys.argv[1])
info = builder.info
example = next(iter(tfds.as_numpy(builder.as_dataset(split="test"))))
assert not any(name.split(".")[0] == "cryotwin" for name in sys.modules)
print(json.dumps({
    "sizes": {name: split.num_examples for name, split in info.splits.items()},
    "lengths": info.splits["test"].shard_lengths,
    "bytes": info.splits["test"].num_bytes,
    "documentation": info.features["quaternion"].doc.desc,
    "fields": sorted(example), "shape": example["image"].shape,
    "description": info.description, "citation": info.citation,
}))
"""
    done = subprocess.run(
        [sys.executable, "-c", program, str(dataset)],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "CUDA_VISIBLE_DEVICES": "-1"},
    )
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["sizes"] == split_sizes(COUNT)
    assert told["lengths"] == [split_sizes(COUNT)["test"]]
    assert told["bytes"] == (dataset / "cryotwin-test.tfrecord-00000-of-00001").stat().st_size
    assert "w, x, y, z" in told["documentation"]
    assert told["shape"] == [SIZE, SIZE]
    assert "ctf" in told["fields"]
    assert "orientations" in told["description"]
    assert "Banjac" in told["citation"]


def test_the_bundled_structure_goes_through_the_command(bundled, capsys):
    metadata = open_folder(bundled).metadata
    structure = metadata["structures"][0]
    assert metadata["command"].startswith("cryotwin generate 7cfn --out ")
    assert metadata["command"].endswith("--count 30 --size 32")
    assert structure["atoms"] > 8000
    share = structure["diameter_angstrom"] / (32 * metadata["pixel_size_angstrom"])
    assert share == pytest.approx(0.75, abs=0.01)
    variance = load_split(bundled, "test")["image"].var()
    assert variance == pytest.approx(1, rel=0.1)


def test_a_finished_dataset_is_not_overwritten_unless_asked(bundled, capsys):
    before = digests(bundled)
    with pytest.raises(InputError, match="holds a dataset already"):
        run_command("7cfn", "--out", str(bundled), "--count", "30", "--size", "32")
    assert digests(bundled) == before


def test_overwriting_replaces_a_dataset_and_spares_other_files(tmp_path):
    settings = GenerateSettings(count=6)
    generate_dataset([entry(tmp_path, "old")], GRID, settings, tmp_path, particles_per_shard=1)
    (tmp_path / "notes.txt").write_text("mine")
    generate_dataset([entry(tmp_path, "new")], GRID, settings, tmp_path, overwrite=True)
    assert (tmp_path / "notes.txt").exists()
    assert [path.name for path in (tmp_path / "volumes").iterdir()] == ["new.mrc"]
    assert len(list(tmp_path.glob("cryotwin-*"))) == len(SPLITS)


def test_a_failed_run_does_not_look_finished_and_the_next_one_goes_on(tmp_path, monkeypatch):
    made = []
    original = particle_shards.make_particles

    def fail_on_the_third(volume, indices, settings, **others):
        made.append(tuple(indices))
        if len(made) == 3:
            raise OSError(28, "No space left on device")
        return original(volume, indices, settings, **others)

    run = partial(generate_dataset, [entry(tmp_path)], GRID, GenerateSettings(count=60))
    out = tmp_path / "data"
    monkeypatch.setattr(particle_shards, "make_particles", fail_on_the_third)
    with pytest.raises(OSError, match=r"No space left on device: .*tfrecord"):
        run(out, particles_per_shard=10)
    with pytest.raises(InputError, match="not a dataset folder"):
        open_folder(out)
    assert not list(out.glob("*.json"))
    assert not list(out.rglob(".partial-*"))
    run(out, particles_per_shard=10)
    # The third shard was made twice, each other one once.
    assert len(made) == len(set(made)) + 1
    run(tmp_path / "fresh", particles_per_shard=10)
    assert digests(out) == digests(tmp_path / "fresh")


def write_then(last_act):
    """Stands in for the second pipeline: writes the shards here, then does something else."""

    def run(tasks, *others):
        for task in tasks:
            particle_shards.write_shard(task, Stopwatch())
        last_act(tasks)
        return RunMetrics()

    return run


def stop(tasks):
    raise OSError("stopped")


@pytest.mark.parametrize("change", ["seed", "shards", "structure"])
def test_shards_of_another_run_are_not_reused(change, tmp_path, monkeypatch):
    first, out = entry(tmp_path), tmp_path / "data"
    with monkeypatch.context() as patch:
        patch.setattr(generate, "_write", write_then(stop))
        with pytest.raises(OSError, match="stopped"):
            generate_dataset([first], GRID, GenerateSettings(count=9, seed=1), out)
    if change == "structure":  # Another file of the same name.
        shutil.copy(entry(tmp_path, "mirrored", flip=True).spec, first.spec)
    settings = GenerateSettings(count=9, seed=2 if change == "seed" else 1)
    run = partial(generate_dataset, [first], GRID, settings)
    run(out, particles_per_shard=1 if change == "shards" else None)
    run(tmp_path / "fresh")
    assert digests(out) == digests(tmp_path / "fresh")


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 5)


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("damage", [cut, flip_a_bit, os.remove])
def test_a_damaged_shard_fails_the_verification(damage, tmp_path, monkeypatch):
    monkeypatch.setattr(generate, "_write", write_then(lambda tasks: damage(tasks[0].path)))
    with pytest.raises(OSError, match="missing, incomplete or damaged: expected 3 examples"):
        generate_dataset([entry(tmp_path)], GRID, GenerateSettings(count=6), tmp_path / "data")
    assert not (tmp_path / "data" / "features.json").exists()


def command_process(out: Path, *arguments: str, limit_bytes: int = 0) -> subprocess.Popen[str]:
    """Starts `generate` as the command line does, optionally with a limit on file sizes."""
    program = """
import argparse, resource, sys
from cryotwin.pipelines import generate_command
from cryotwin.imaging.errors import InputError
from cryotwin.imaging.maps import write_map
limit = int(sys.argv.pop(1))
if limit:
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
parser = argparse.ArgumentParser()
generate_command.add_arguments(parser)
try:
    status = generate_command.run(*parser.parse_known_args())
except (InputError, OSError) as error:
    print(error, file=sys.stderr)
    status = 2
except KeyboardInterrupt:
    status = 130
sys.exit(status)
"""
    return subprocess.Popen(
        [sys.executable, "-c", program, str(limit_bytes), "7cfn", "--out", str(out), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_ctrl_c_ends_quickly_and_leaves_nothing_that_looks_finished(tmp_path):
    out = tmp_path / "data"
    process = command_process(out, "--count", "20000", "--size", "64")
    deadline = time.monotonic() + 120
    while not list(out.glob(".unfinished/.partial-*tfrecord*")):
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert errors == ""
    assert [path.name for path in out.iterdir()] == [".unfinished"]


def test_a_full_disk_is_told_in_one_line(tmp_path):
    out = tmp_path / "data"
    process = command_process(out, "--count", "500", "--size", "32", limit_bytes=400_000)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 2
    assert len(errors.splitlines()) == 1
    assert "File too large" in errors
    assert [path.name for path in out.iterdir()] == [".unfinished"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--count", "2"], "count must be at least 3, not 2"),
        (["--size", "33"], "size must be even and at least 16 pixels, not 33"),
        (["--pixel-size", "0"], "pixel size must be a positive number"),
        (["--seed", "-1"], "seed must be at least 0, not -1"),
        (["--snr-db", "nan"], "SNR must be from -100 to 100 dB, not nan"),
        (["--orientations", "unifrom"], "not 'unifrom'"),
        (["--symmetry", "K7"], "symmetry must be one of C1 to C99, .* not 'K7'"),
        (["--symmetry", "C7"], "7cfn does not have the symmetry C7 .* correlate by 0"),
        (["--noise-variance", "1e39"], "noise_variance must be at most 1e.10 .* not 1e.39"),
        (["--max-shift", "40"], "max shift must be at most half the box of 64 pixels, not 40"),
        (["--ctf", "--defocus", "1e40", "1e41"], "defocus_angstrom must rise .*within 1e.06"),
        (["--ctf", "--phase-shift", "90", "10"], "--phase-shift must rise .*, not 90 10"),
        (["--runner", "Nowhere"], "runner must be one of .* not 'Nowhere'"),
        (["--runner", "os.path"], "runner must be one of .* not 'os.path'"),
        (["--nonsense", "1"], "unknown argument '--nonsense'"),
        (["--direct_num_workers", "-1"], "--direct_num_workers must be at least 0 .*, not -1"),
        (["--direct_num_workers", "x"], "Apache Beam's flags: .*'x'"),
    ],
)
def test_a_bad_argument_is_told_before_anything_is_written(tmp_path, arguments, message):
    with pytest.raises(InputError, match=message):
        run_command("7cfn", "--out", str(tmp_path / "data"), *arguments)
    assert not (tmp_path / "data").exists()


def test_structures_must_differ_in_name(tmp_path):
    (tmp_path / "other").mkdir()
    paths = [entry(folder, "a").spec for folder in (tmp_path, tmp_path / "other")]
    with pytest.raises(InputError, match="two structures are named 'a'"):
        run_command(*paths, "--out", str(tmp_path / "data"))
    assert not (tmp_path / "data").exists()
