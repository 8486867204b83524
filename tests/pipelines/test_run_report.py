import shutil
import subprocess

import numpy as np
import pytest
import starfile

from cryotwin.datasets.particle_set import ParticleSet
from cryotwin.imaging.ctf import CtfDistribution
from cryotwin.pipelines.run_folder import RunFolder
from cryotwin.pipelines.run_report import (
    DOUBTFUL_BELOW,
    RunDescription,
    describe_microscope,
    likely_junk,
    next_steps,
)

COUNT, SIZE, PIXEL_A = 40, 16, 3.0
METRICS = {"resolution_angstrom": {"half_maps_0143": 8.0}}


def particles(**more):
    rng = np.random.default_rng(0)
    images = rng.standard_normal((COUNT, SIZE, SIZE)).astype(np.float32)
    return ParticleSet(images, PIXEL_A, [f"p-{index:07d}" for index in range(COUNT)], **more)


@pytest.mark.parametrize("junk", [0, 50, 200])
def test_junk_is_what_lies_low_beyond_chance(junk):
    rng = np.random.default_rng(1)
    confidence = np.concatenate([rng.uniform(0, 1, 10_000), rng.uniform(0, 1e-4, junk)])
    assert likely_junk(confidence) == pytest.approx(junk, abs=25)


def test_the_microscope_is_told_with_its_ranges():
    ctf = CtfDistribution(voltage_kv=200.0, defocus_angstrom=(1e4, 2.5e4)).parameters(
        np.random.default_rng(2).random((500, 4))
    )
    told = describe_microscope(ctf)
    assert told["microscope"]["voltage"] == "200 kV"
    low, high = told["defocus_angstrom"].min(), told["defocus_angstrom"].max()
    assert told["microscope"]["defocus"] == f"{low / 1e4:.3g} to {high / 1e4:.3g} µm"
    assert describe_microscope(None) == {}


def test_the_commands_name_the_files_from_where_the_stacks_are_found(tmp_path):
    run = RunDescription("cryotwin recover", "some/run")
    of_a_dataset = dict(next_steps(particles(), run, METRICS))
    assert all("some/run" not in command for command in of_a_dataset.values())
    stacks = {"a.mrcs": tmp_path / "a.mrcs"}
    names = [f"{index + 1:06d}@a.mrcs" for index in range(COUNT)]
    of_a_star = dict(next_steps(particles(image_names=names, stacks=stacks), run, METRICS))
    assert all("some/run/" in command for command in of_a_star.values())
    refine = of_a_star["Refine from this map (RELION)"]
    assert "--ctf" not in refine
    assert "--sym C1" in refine
    ctf = CtfDistribution().parameters(np.random.default_rng(3).random((COUNT, 4)))
    run = RunDescription("cryotwin recover", "run", symmetry="D2", ctf=ctf)
    refine = dict(next_steps(particles(), run, METRICS))["Refine from this map (RELION)"]
    assert "--ctf" in refine
    assert "--sym D2" in refine


@pytest.mark.relion
@pytest.mark.skipif(shutil.which("relion_star_handler") is None, reason="RELION is not installed")
def test_the_command_that_takes_out_doubtful_particles_does(tmp_path):
    folder = RunFolder(tmp_path / "run")
    folder.begin(overwrite=False)
    confidence = np.linspace(0, 0.05, COUNT)
    found = particles()
    quaternions = np.tile([1.0, 0, 0, 0], (COUNT, 1))
    folder.write_orientations(
        found, quaternions, np.zeros((COUNT, 2)), confidence, np.arange(COUNT) % 2
    )
    folder.publish()
    commands = dict(next_steps(found, RunDescription("", "run"), METRICS))
    words = commands["Take out doubtful particles (RELION)"].split()
    subprocess.run(words, cwd=folder.path, check=True, capture_output=True)
    kept = starfile.read(folder.path / "clean.star")["particles"]
    assert len(kept) == (confidence >= DOUBTFUL_BELOW).sum()
    assert kept["rlnParticleFigureOfMerit"].min() >= DOUBTFUL_BELOW
    assert list(kept["cryotwinKey"]) == [
        key for key, value in zip(found.keys, confidence, strict=True) if value >= DOUBTFUL_BELOW
    ]
