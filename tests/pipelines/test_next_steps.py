import shutil
import subprocess

import numpy as np
import pytest
import starfile

from cryotwin.datasets.particle_set import ParticleSet
from cryotwin.pipelines.next_steps import next_steps
from cryotwin.pipelines.run_folder import RunFolder
from cryotwin.recovery.doubtful_particles import DOUBTFUL_BELOW

COUNT, SIZE, PIXEL_A = 40, 16, 3.0
REFINE = "Refine from this map (RELION)"


def particles(**more):
    rng = np.random.default_rng(0)
    images = rng.standard_normal((COUNT, SIZE, SIZE)).astype(np.float32)
    return ParticleSet(images, PIXEL_A, [f"p-{index:07d}" for index in range(COUNT)], **more)


def commands(of, symmetry="C1", with_ctf=False, resolution_angstrom=8.0):
    steps = next_steps(
        of,
        folder="some/run",
        symmetry=symmetry,
        with_ctf=with_ctf,
        resolution_angstrom=resolution_angstrom,
    )
    return dict(steps)


def test_the_commands_name_the_files_from_where_the_stacks_are_found(tmp_path):
    of_a_dataset = commands(particles())
    assert all("some/run" not in command for command in of_a_dataset.values())
    stacks = {"a.mrcs": tmp_path / "a.mrcs"}
    names = [f"{index + 1:06d}@a.mrcs" for index in range(COUNT)]
    of_a_star = commands(particles(image_names=names, stacks=stacks))
    assert all("some/run/" in command for command in of_a_star.values())


def test_refinement_is_told_what_is_known():
    plain = commands(particles())[REFINE]
    assert "--ctf" not in plain
    assert "--sym C1" in plain
    assert "--ini_high 15 " in plain
    known = commands(particles(), symmetry="D2", with_ctf=True, resolution_angstrom=20.0)[REFINE]
    assert "--ctf" in known
    assert "--sym D2" in known
    assert "--ini_high 30 " in known


@pytest.mark.relion
@pytest.mark.skipif(shutil.which("relion_star_handler") is None, reason="RELION is not installed")
def test_the_command_that_takes_out_doubtful_particles_does(tmp_path):
    folder = RunFolder(tmp_path / "run")
    folder.begin(overwrite=False)
    confidence = np.linspace(0, 5 * DOUBTFUL_BELOW, COUNT)
    found = particles()
    quaternions = np.tile([1.0, 0, 0, 0], (COUNT, 1))
    folder.write_orientations(
        found, quaternions, np.zeros((COUNT, 2)), confidence, np.arange(COUNT) % 2
    )
    folder.publish()
    words = commands(found)["Take out doubtful particles (RELION)"].split()
    subprocess.run(words, cwd=folder.path, check=True, capture_output=True)
    kept = starfile.read(folder.path / "clean.star")["particles"]
    assert len(kept) == (confidence >= DOUBTFUL_BELOW).sum()
    assert kept["rlnParticleFigureOfMerit"].min() >= DOUBTFUL_BELOW
    assert list(kept["cryotwinKey"]) == [
        key for key, value in zip(found.keys, confidence, strict=True) if value >= DOUBTFUL_BELOW
    ]
