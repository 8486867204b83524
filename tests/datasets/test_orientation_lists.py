import numpy as np
import pytest

from cryotwin.datasets.orientation_lists import (
    is_orientation_list,
    read_listed,
    read_orientation_list,
    write_listed,
)
from cryotwin.datasets.particle_set import ParticleSet
from cryotwin.datasets.star_files import write_orientations_star
from cryotwin.imaging.errors import InputError
from cryotwin.imaging.rotations import orientation_distances, uniform_quaternions

ANGLES = """\
data_

loop_
_rlnAngleRot #1
_rlnAngleTilt #2
_rlnAnglePsi #3
0 0 0
90 0 0
0 90 0
"""


@pytest.fixture
def angles(tmp_path):
    path = tmp_path / "angles.star"
    path.write_text(ANGLES)
    return path


def test_a_list_needs_angles_and_nothing_else(angles):
    expected = np.array([[1, 0, 0, 0], [1, 0, 0, -1], [1, 0, -1, 0]]) / [[1], [2**0.5], [2**0.5]]
    assert orientation_distances(read_orientation_list(angles, 3), expected).max() < 1e-9
    assert read_orientation_list(angles, 2).shape == (2, 4)


def test_what_recover_writes_can_be_taken_as_a_list(tmp_path):
    quaternions = uniform_quaternions(7, np.random.default_rng(0))
    particles = ParticleSet(np.zeros((7, 8, 8), np.float32), 2.0, [f"k{i}" for i in range(7)])
    names = [f"{i + 1:06d}@stack.mrcs" for i in range(7)]
    path = tmp_path / "orientations.star"
    write_orientations_star(path, particles, quaternions, np.zeros((7, 2)), image_names=names)
    assert orientation_distances(read_orientation_list(path, 7), quaternions).max() < 1e-6


def test_too_few_rows_are_told_with_both_numbers(angles):
    with pytest.raises(InputError, match=r"angles.star: lists 3 orientations, but 1,000 particles"):
        read_orientation_list(angles, 1000)


def test_a_file_without_angles_is_refused(tmp_path):
    path = tmp_path / "other.star"
    path.write_text("data_\n\nloop_\n_rlnImageName #1\n_rlnAngleRot #2\na@b.mrcs 3\nb@b.mrcs 4\n")
    with pytest.raises(InputError, match="other.star: no orientations in it"):
        read_orientation_list(path, 1)
    with pytest.raises(InputError, match="no such file"):
        read_orientation_list(tmp_path / "nothing.star", 1)
    path.write_text(ANGLES.replace("90 0 0", "x 0 0"))
    with pytest.raises(InputError, match="_rlnAngleRot in row 2 must be a number, not 'x'"):
        read_orientation_list(path, 1)


def test_workers_read_the_rows_of_their_particles(tmp_path):
    quaternions = uniform_quaternions(20, np.random.default_rng(0))
    write_listed(tmp_path, quaternions)
    assert np.array_equal(read_listed(tmp_path, (3, 19, 0)), quaternions[[3, 19, 0]])


def test_the_suffix_tells_a_list_from_a_distribution():
    assert is_orientation_list("run/Data.STAR")
    assert not is_orientation_list("so3")
