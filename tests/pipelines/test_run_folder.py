import json

import numpy as np
import pytest

from cryotwin.datasets.particle_set import ParticleSet
from cryotwin.datasets.particles import read_particles
from cryotwin.imaging.errors import InputError
from cryotwin.imaging.maps import read_map
from cryotwin.imaging.rotations import orientation_distances, uniform_quaternions
from cryotwin.pipelines.run_folder import RunFolder

COUNT, SIZE = 7, 16


def _fill(folder, seed=0):
    """Writes what a run writes, and tells the orientations and shifts."""
    rng = np.random.default_rng(seed)
    particles = ParticleSet(
        images=rng.standard_normal((COUNT, SIZE, SIZE)).astype(np.float32),
        pixel_size_angstrom=2.5,
        keys=[f"blobs-{index:07d}" for index in range(COUNT)],
    )
    quaternions, shifts = uniform_quaternions(COUNT, rng), rng.uniform(-5, 5, (COUNT, 2))
    folder.write_orientations(
        particles, quaternions, shifts, np.linspace(0, 1, COUNT), np.arange(COUNT) % 2
    )
    volume = rng.standard_normal((SIZE,) * 3).astype(np.float32)
    folder.write_maps(volume, (volume - 1, volume + 1), abs(volume), 2.5)
    folder.write_metrics({"particles": COUNT, "seed": seed})
    return particles, quaternions, shifts, volume


def test_what_was_written_is_read_back_after_publishing(tmp_path):
    folder = RunFolder(tmp_path / "deep" / "run")
    folder.begin(overwrite=False)
    particles, quaternions, shifts, volume = _fill(folder)
    folder.publish()

    found = read_particles(folder.path / "orientations.star")

    assert found.keys == particles.keys
    assert np.array_equal(found.images, particles.images)
    assert orientation_distances(found.quaternions, quaternions).max() < 1e-5
    assert np.allclose(found.shifts_angstrom, shifts, atol=1e-4)
    for name, expected in (
        ("initial_model.mrc", volume),
        ("half_map_1.mrc", volume - 1),
        ("half_map_2.mrc", volume + 1),
        ("mask.mrc", abs(volume)),
    ):
        assert np.array_equal(read_map(folder.path / name).data, expected)
    assert json.loads((folder.path / "metrics.json").read_text())["particles"] == COUNT


def test_nothing_is_seen_before_publishing(tmp_path):
    folder = RunFolder(tmp_path / "run")
    folder.begin(overwrite=False)
    _fill(folder)
    assert [path.name for path in folder.path.iterdir()] == [".unfinished"]
    folder.publish()
    assert not folder.staging.exists()


def test_a_folder_without_the_orientations_is_no_run_and_takes_another(tmp_path):
    (tmp_path / "metrics.json").write_text("{}")
    folder = RunFolder(tmp_path)
    folder.begin(overwrite=False)
    _fill(folder)
    folder.publish()
    with pytest.raises(InputError, match="holds a run already; give another --out, or --overwrite"):
        folder.begin(overwrite=False)


def test_a_failed_run_leaves_the_finished_one_and_what_else_is_there(tmp_path):
    folder = RunFolder(tmp_path / "run")
    folder.begin(overwrite=False)
    _fill(folder)
    folder.publish()
    (folder.path / "notes.txt").write_text("mine")
    before = {path.name: path.read_bytes() for path in folder.path.iterdir()}

    folder.begin(overwrite=True)
    _fill(folder, seed=1)
    folder.discard()

    assert {path.name: path.read_bytes() for path in folder.path.iterdir()} == before


def test_a_failed_first_run_leaves_no_folder(tmp_path):
    folder = RunFolder(tmp_path / "run")
    folder.begin(overwrite=False)
    _fill(folder)
    folder.discard()
    assert list(tmp_path.iterdir()) == []


def test_a_second_run_replaces_the_first(tmp_path):
    folder = RunFolder(tmp_path)
    for seed in (0, 1):
        folder.begin(overwrite=True)
        _, quaternions, _, _ = _fill(folder, seed)
        folder.publish()
    assert json.loads((tmp_path / "metrics.json").read_text())["seed"] == 1
    found = read_particles(tmp_path / "orientations.star").quaternions
    assert orientation_distances(found, quaternions).max() < 1e-5


def test_a_run_stopped_while_it_is_published_does_not_look_finished(tmp_path, monkeypatch):
    folder = RunFolder(tmp_path)
    folder.begin(overwrite=False)
    _fill(folder)
    folder.publish()
    folder.begin(overwrite=True)
    _fill(folder, seed=1)
    path_type, moved = type(tmp_path), []
    original = path_type.replace

    def stopped(self, target):
        moved.append(self)
        if len(moved) == 2:
            raise KeyboardInterrupt
        return original(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(path_type, "replace", stopped)
        with pytest.raises(KeyboardInterrupt):
            folder.publish()
    assert not (tmp_path / "orientations.star").exists()
    folder.begin(overwrite=False)
