from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from cryotwin.datasets.cs_orientations import write_orientations_cs
from cryotwin.datasets.image_stacks import write_stack
from cryotwin.datasets.particle_set import ParticleSet
from cryotwin.datasets.particles import read_particles
from cryotwin.imaging.errors import InputError
from cryotwin.imaging.rotations import (
    orientation_distances,
    quaternions_to_matrices,
    uniform_quaternions,
)

REAL_FILE = (
    Path(__file__).resolve().parents[3] / "shared/data/particles/empiar10076/empiar_10076_7.cs"
)
COUNT = 5


@pytest.fixture
def particles(tmp_path):
    """Five dark particles of a .cs file with a field of cryoSPARC's that we know nothing of."""
    rng = np.random.default_rng(0)
    images = rng.standard_normal((COUNT, 8, 8)).astype(np.float32)
    write_stack(tmp_path / "stack.mrc", images, 2.0)
    fields = [
        ("uid", "<u8"),
        ("blob/path", "S10"),
        ("blob/idx", "<u4"),
        ("blob/psize_A", "<f4"),
        ("blob/sign", "<f4"),
        ("alignments3D/pose", "<f4", (3,)),
        ("alignments3D/shift", "<f4", (2,)),
        ("alignments3D/error", "<f4"),
        ("filament/arc_length_A", "<f4"),
    ]
    table = np.zeros(COUNT, fields)
    table["uid"] = 2**63 + np.arange(COUNT, dtype=np.uint64)
    table["blob/path"], table["blob/idx"] = b">stack.mrc", np.arange(COUNT)[::-1]
    table["blob/psize_A"], table["blob/sign"] = 2.0, -1.0
    table["alignments3D/pose"], table["alignments3D/error"] = 0.1, 7.0
    table["filament/arc_length_A"] = np.linspace(0, 9, COUNT)
    np.save(tmp_path / "in.npy", table)
    (tmp_path / "in.npy").rename(tmp_path / "in.cs")
    return read_particles(tmp_path / "in.cs")


def results(count=COUNT):
    rng = np.random.default_rng(1)
    return uniform_quaternions(count, rng), rng.normal(size=(count, 2))


def test_poses_written_and_read_back_are_the_same(particles, tmp_path):
    quaternions, shifts = results()
    out = tmp_path / "run" / "orientations.cs"
    write_orientations_cs(out, particles, quaternions, shifts)

    again = read_particles(out)

    assert orientation_distances(again.quaternions, quaternions).max() < 1e-6
    np.testing.assert_allclose(again.shifts_angstrom, shifts, atol=1e-6)
    np.testing.assert_array_equal(again.images, particles.images)
    assert again.keys == particles.keys


def test_poses_are_in_cryosparcs_convention(particles, tmp_path):
    quaternions, shifts = results()
    write_orientations_cs(tmp_path / "o.cs", particles, quaternions, shifts, halves=[0, 1, 0, 1, 1])
    table = np.load(tmp_path / "o.cs")
    turned = Rotation.from_rotvec(table["alignments3D/pose"].astype(float)).as_matrix()
    expected = quaternions_to_matrices(quaternions).transpose(0, 2, 1)
    np.testing.assert_allclose(turned, expected, atol=1e-6)
    np.testing.assert_allclose(
        table["alignments3D/shift"] * table["alignments3D/psize_A"][:, None], -shifts, atol=1e-6
    )
    assert list(table["alignments3D/split"]) == [0, 1, 0, 1, 1]
    assert table["alignments3D/split"].dtype == np.uint32
    assert set(table["alignments3D/class_posterior"]) == {1.0}
    assert set(table["alignments3D/error"]) == {0.0}  # that of another pose would be no score


def test_all_other_fields_pass_through_in_their_order_and_types(particles, tmp_path):
    write_orientations_cs(tmp_path / "o.cs", particles, *results(), confidence=np.full(COUNT, 0.5))
    before, after = particles.rows, np.load(tmp_path / "o.cs")
    assert after.dtype.names[: len(before.dtype.names)] == before.dtype.names
    for name in before.dtype.names:
        if not name.startswith("alignments3D"):
            assert after.dtype[name] == before.dtype[name]
            np.testing.assert_array_equal(after[name], before[name])
    assert set(after["cryotwin/confidence"]) == {0.5}


def test_inverted_particles_get_the_other_sign(particles, tmp_path):
    write_orientations_cs(tmp_path / "o.cs", particles.inverted(), *results())
    assert set(np.load(tmp_path / "o.cs")["blob/sign"]) == {1.0}
    np.testing.assert_array_equal(read_particles(tmp_path / "o.cs").images, -particles.images)


def test_a_stack_out_of_reach_is_named_by_its_whole_path(particles, tmp_path_factory):
    out = tmp_path_factory.mktemp("elsewhere") / "o.cs"
    write_orientations_cs(out, particles, *results())
    np.testing.assert_array_equal(read_particles(out).images, particles.images)


def test_some_of_the_particles_can_be_written(particles, tmp_path):
    quaternions, shifts = results(3)
    write_orientations_cs(tmp_path / "o.cs", particles.first(3), quaternions, shifts)
    assert list(np.load(tmp_path / "o.cs")["uid"]) == list(particles.rows["uid"][:3])


def test_a_real_file_passes_through(tmp_path):
    if not REAL_FILE.exists():
        pytest.skip("the real particles are not there")
    particles = read_particles(REAL_FILE)
    quaternions, shifts = results(len(particles))
    write_orientations_cs(tmp_path / "o.cs", particles, quaternions, shifts)
    again = read_particles(tmp_path / "o.cs")
    assert orientation_distances(again.quaternions, quaternions).max() < 1e-6
    np.testing.assert_array_equal(again.images, particles.images)
    before, after = np.load(REAL_FILE), np.load(tmp_path / "o.cs")
    for name in set(before.dtype.names) - {"blob/path"}:
        np.testing.assert_array_equal(after[name], before[name])


def test_particles_of_another_form_and_results_of_another_length_are_refused(particles, tmp_path):
    foreign = ParticleSet(particles.images, 2.0, particles.keys, source="a.star")
    with pytest.raises(InputError, match=r"a\.star came from no \.cs file"):
        write_orientations_cs(tmp_path / "o.cs", foreign, *results())
    with pytest.raises(InputError, match="must have 5 rows, not 4"):
        write_orientations_cs(
            tmp_path / "o.cs", particles, *results(), confidence=np.zeros(COUNT - 1)
        )
    assert not (tmp_path / "o.cs").exists()
