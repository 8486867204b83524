from pathlib import Path

import mrcfile
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from cryotwin.datasets.image_stacks import read_stack, write_stack
from cryotwin.datasets.particles import read_particles
from cryotwin.imaging.errors import InputError
from cryotwin.imaging.rotations import (
    matrices_to_quaternions,
    orientation_distances,
    uniform_quaternions,
)

SAMPLES = Path(__file__).resolve().parents[3] / "shared" / "data" / "particles"


def some_images(count=5, size=8):
    return np.random.default_rng(0).standard_normal((count, size, size)).astype(np.float32)


def cs_table(count=5, **fields):
    columns = {
        "uid": np.arange(count, dtype=np.uint64),
        "blob/path": np.array([b"stack.mrcs"] * count),
        "blob/idx": np.arange(count, dtype=np.uint32)[::-1],
        "blob/psize_A": np.full(count, 2.5, np.float32),
        **fields,
    }
    columns = {name: values for name, values in columns.items() if values is not None}
    table = np.zeros(count, dtype=[(name, v.dtype, v.shape[1:]) for name, v in columns.items()])
    for name, values in columns.items():
        table[name] = values
    return table


def save_cs(path, table):
    with path.open("wb") as file:
        np.save(file, table)
    return path


def test_a_stack_written_and_read_is_the_same_with_its_pixel_size(tmp_path):
    images = some_images()
    write_stack(tmp_path / "a.mrcs", images, 3.67)
    particles = read_particles(tmp_path / "a.mrcs")
    np.testing.assert_array_equal(particles.images, images)
    assert particles.pixel_size_angstrom == pytest.approx(3.67)
    assert particles.keys[4] == "000005@a.mrcs"
    assert particles.quaternions is None
    with mrcfile.open(tmp_path / "a.mrcs") as mrc:
        assert mrc.is_image_stack()
    mrcfile.validate(tmp_path / "a.mrcs")


@pytest.mark.parametrize("dtype", [np.int8, np.int16, np.uint16, np.float16])
def test_stacks_of_other_number_types_become_float32(tmp_path, dtype):
    with mrcfile.new(tmp_path / "a.mrcs") as mrc:
        mrc.set_data(np.arange(32).reshape(2, 4, 4).astype(dtype))
        mrc.voxel_size = 1.0
    images, _ = read_stack(tmp_path / "a.mrcs")
    assert images.dtype == np.float32
    np.testing.assert_array_equal(images.ravel(), np.arange(32))


def test_a_stack_of_one_flat_image_is_one_particle(tmp_path):
    with mrcfile.new(tmp_path / "a.mrcs") as mrc:
        mrc.set_data(some_images()[0])
        mrc.voxel_size = 1.0
    assert read_particles(tmp_path / "a.mrcs").images.shape == (1, 8, 8)


@pytest.mark.parametrize(
    ("images", "pixel_size", "message"),
    [
        (np.full((2, 8, 8), np.nan), 1.0, "image 1 holds NaN"),
        (np.zeros((2, 8, 6)), 1.0, "square, not 6 x 8 px"),
        (np.zeros((2, 8, 8)), 0.0, "no pixel size"),
    ],
)
def test_stacks_that_cannot_be_used_are_refused(tmp_path, images, pixel_size, message):
    write_stack(tmp_path / "a.mrcs", images, pixel_size)
    with pytest.raises(InputError, match=message):
        read_particles(tmp_path / "a.mrcs")


def test_a_truncated_stack_is_refused(tmp_path):
    write_stack(tmp_path / "a.mrcs", some_images(), 1.0)
    whole = (tmp_path / "a.mrcs").read_bytes()
    for length in (0, 100, 1024, len(whole) - 1):
        (tmp_path / "a.mrcs").write_bytes(whole[:length])
        with pytest.raises(InputError, match=r"a\.mrcs") as refused:
            read_particles(tmp_path / "a.mrcs")
        assert "\n" not in str(refused.value)


def test_only_whole_stacks_appear(tmp_path):
    with pytest.raises(ValueError, match="could not convert"):
        write_stack(tmp_path / "a.mrcs", "no images", 1.0)
    assert list(tmp_path.iterdir()) == []


def test_a_cs_file_is_read_with_its_signs_and_order(tmp_path):
    images = some_images()
    write_stack(tmp_path / "stack.mrcs", images, 2.5)
    path = save_cs(tmp_path / "p.cs", cs_table(**{"blob/sign": np.full(5, -1, np.float32)}))
    particles = read_particles(path)
    np.testing.assert_array_equal(particles.images, -images[::-1])
    assert particles.pixel_size_angstrom == 2.5
    assert particles.keys[0] == "000005@stack.mrcs"
    assert particles.quaternions is None


def test_a_cs_pose_is_the_rotation_vector_of_the_transpose_and_shifts_are_pixels(tmp_path):
    write_stack(tmp_path / "stack.mrcs", some_images(), 2.5)
    true = uniform_quaternions(5, np.random.default_rng(1))
    vectors = Rotation.from_quat(true, scalar_first=True).inv().as_rotvec()
    path = save_cs(
        tmp_path / "p.cs",
        cs_table(
            **{
                "alignments3D/pose": vectors.astype(np.float32),
                "alignments3D/shift": np.full((5, 2), [1, -2], np.float32),
                "alignments3D/psize_A": np.full(5, 5.0, np.float32),
            }
        ),
    )
    particles = read_particles(path)
    # Half a float32 digit of the pose, as an angle.
    assert orientation_distances(particles.quaternions, true).max() < 1e-5
    np.testing.assert_allclose(particles.shifts_angstrom, [[-5, 10]] * 5)


def test_the_pose_of_a_quarter_turn_about_z_turns_the_detectors_axes(tmp_path):
    write_stack(tmp_path / "stack.mrcs", some_images(), 2.5)
    pose = np.tile(np.float32([0, 0, np.pi / 2]), (5, 1))
    particles = read_particles(save_cs(tmp_path / "p.cs", cs_table(**{"alignments3D/pose": pose})))
    matrix = np.array([[0, 1, 0], [-1, 0, 0], [0, 0, 1]])
    expected = matrices_to_quaternions(matrix)
    assert orientation_distances(particles.quaternions, expected).max() < 1e-5


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"blob/path": np.array([b"J1/lost.mrcs"] * 5)}, "'J1/lost.mrcs' not found"),
        ({"blob/psize_A": np.linspace(1, 2, 5)}, "one pixel size, not 1 to 2"),
        ({"blob/psize_A": None}, "no field 'blob/psize_A'"),
        ({"blob/path": None}, "no field 'blob/path'"),
        ({"blob/idx": np.zeros(5, np.uint32)}, "listed twice"),
        ({"blob/idx": np.arange(1, 6, dtype=np.uint32)}, "image 6 .* has 5 images"),
        ({"alignments3D/pose": np.full((5, 3), np.nan, np.float32)}, "NaN"),
    ],
)
def test_cs_files_that_cannot_be_right_are_refused(tmp_path, fields, message):
    write_stack(tmp_path / "stack.mrcs", some_images(), 2.5)
    with pytest.raises(InputError, match=message):
        read_particles(save_cs(tmp_path / "p.cs", cs_table(**fields)))


def test_files_that_are_no_cs_files_are_refused(tmp_path):
    path = tmp_path / "p.cs"
    for content, message in (
        (b"text", "not a .cs file"),
        (b"", "not a .cs file"),
        (b"\x94CSDAT....", "compressed form"),
    ):
        path.write_bytes(content)
        with pytest.raises(InputError, match=message):
            read_particles(path)
    save_cs(path, np.zeros(3))
    with pytest.raises(InputError, match="no field 'blob/path'"):
        read_particles(path)
    save_cs(path, cs_table()[:0])
    with pytest.raises(InputError, match="no particles"):
        read_particles(path)


def test_what_is_no_particle_file_is_refused(tmp_path):
    with pytest.raises(InputError, match="no such file or folder"):
        read_particles(tmp_path / "nothing.star")
    with pytest.raises(InputError, match=r"features\.json"):
        read_particles(tmp_path)
    (tmp_path / "map.mrc").write_bytes(b"")
    with pytest.raises(InputError, match=r"not '\.mrc'"):
        read_particles(tmp_path / "map.mrc")


@pytest.mark.skipif(not SAMPLES.is_dir(), reason="the sample particle files are not here")
def test_real_files_of_three_programs_are_read():
    sizes = {
        "class17/sample_particles_relion30.star": (17, 200, 1.338),
        "class17/sample_particles_relion31.star": (17, 200, 1.4),
        "relion31/relion31.star": (5, 256, 2.806),
        "empiar10076/empiar_10076_7.star": (7, 320, 1.31),
        "empiar10076/empiar_10076_7.cs": (7, 320, 1.31),
    }
    for name, (count, size, pixel_size) in sizes.items():
        particles = read_particles(SAMPLES / name)
        assert particles.images.shape == (count, size, size), name
        assert particles.pixel_size_angstrom == pytest.approx(pixel_size, abs=1e-3), name
    star = read_particles(SAMPLES / "empiar10076/empiar_10076_7.star")
    cs = read_particles(SAMPLES / "empiar10076/empiar_10076_7.cs")
    assert star.keys == cs.keys
    np.testing.assert_array_equal(star.images, -cs.images)
    np.testing.assert_allclose(
        star.columns["rlnDefocusU"].to_numpy(), cs.columns["rlnDefocusU"], rtol=1e-6
    )
    # The same particles in both of RELION's forms.
    old = read_particles(SAMPLES / "class17/sample_particles_relion30.star")
    new = read_particles(SAMPLES / "class17/sample_particles_relion31.star")
    distances = orientation_distances(old.quaternions, new.quaternions)
    assert np.median(distances) < 1e-3


def open_fake_dataset(monkeypatch, arrays, structures=()):
    """Lets `read_particles` see `arrays` as what a dataset's split holds."""
    from cryotwin.datasets import folder as folders

    def open_folder(path):
        metadata = {"structures": list(structures)}
        return folders.DatasetFolder(Path(path), metadata, {"test": 3}, tuple(arrays))

    monkeypatch.setattr(folders, "open_folder", open_folder)
    monkeypatch.setattr(folders, "load_split", lambda folder, split: arrays)


def dataset_arrays(**changes):
    return {
        "image": some_images(3),
        "key": np.array(["a-0", "a-1", "a-2"]),
        "pixel_size_angstrom": np.full(3, 2.0, np.float32),
        "quaternion": np.float32([[-1, 0, 0, 0], [0, 1, 0, 0], [0.6, 0, 0.8, 0]]),
        "shift_angstrom": np.ones((3, 2), np.float32),
        **changes,
    }


def test_a_dataset_folder_gives_truth_keys_and_the_true_map(tmp_path, monkeypatch):
    structures = [{"name": "a", "volume": "volumes/a.mrc"}]
    open_fake_dataset(monkeypatch, dataset_arrays(), structures)
    particles = read_particles(tmp_path)
    assert particles.keys == ["a-0", "a-1", "a-2"]
    assert particles.pixel_size_angstrom == 2.0
    assert (particles.quaternions[:, 0] >= 0).all()
    assert particles.volume_path == tmp_path / "volumes" / "a.mrc"
    assert particles.optics is None


def test_a_datasets_ctf_becomes_relions_columns(tmp_path, monkeypatch):
    zeros = np.zeros(3, np.float32)
    ctf = {
        "ctf/voltage_kv": zeros + 300,
        "ctf/spherical_aberration_mm": zeros + 2,
        "ctf/amplitude_contrast": zeros + 0.5,
        "ctf/defocus_u_angstrom": zeros + 2e4,
        "ctf/defocus_v_angstrom": zeros + 1e4,
        "ctf/defocus_angle_rad": zeros + np.float32(np.pi / 2),
        "ctf/phase_shift_rad": zeros,
        "ctf/b_factor_angstrom2": zeros,
    }
    open_fake_dataset(monkeypatch, dataset_arrays(**ctf))
    particles = read_particles(tmp_path)
    assert list(particles.optics["rlnVoltage"]) == [300]
    np.testing.assert_allclose(particles.columns["rlnDefocusAngle"], [90] * 3, rtol=1e-6)


def test_a_dataset_of_features_or_of_two_pixel_sizes_is_refused(tmp_path, monkeypatch):
    open_fake_dataset(monkeypatch, {"key": np.array(["a"]), "feature": np.zeros((1, 9))})
    with pytest.raises(InputError, match="no 'image' .*they have key, feature"):
        read_particles(tmp_path)
    sizes = np.float32([2, 2, 3])
    open_fake_dataset(monkeypatch, dataset_arrays(pixel_size_angstrom=sizes))
    with pytest.raises(InputError, match="one pixel size, not 2 to 3"):
        read_particles(tmp_path)
