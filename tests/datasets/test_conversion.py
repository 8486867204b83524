"""A dataset as RELION's files and back, and particles of other programs as a dataset."""

import dataclasses
from pathlib import Path

import mrcfile
import numpy as np
import pandas as pd
import pytest
import starfile

from cryotwin.datasets.folder import load_split, open_folder, shard_name, write_dataset_metadata
from cryotwin.datasets.folder_writing import write_particles
from cryotwin.datasets.image_stacks import write_stack
from cryotwin.datasets.particles import read_particle_file, read_particles
from cryotwin.datasets.quiet_imports import import_tensorflow, import_tfds
from cryotwin.datasets.relion_columns import example_fields, relion_tables
from cryotwin.datasets.schema import CTF_FIELDS, example_features, no_ctf
from cryotwin.datasets.star_export import export_star
from cryotwin.imaging.errors import InputError
from cryotwin.imaging.rotations import orientation_distances, uniform_quaternions

SIZE = 16
COUNTS = {"train": 5, "validation": 3, "test": 4}
SAMPLES = Path(__file__).resolve().parents[3] / "shared" / "data" / "particles"


def some_ctf(rng, voltage):
    ranges = {
        "defocus_u_angstrom": (1e4, 3e4),
        "defocus_v_angstrom": (1e4, 3e4),
        "defocus_angle_rad": (-np.pi, np.pi),
        "phase_shift_rad": (0, np.pi),
        "b_factor_angstrom2": (0, 100),
    }
    drawn = {name: np.float32(rng.uniform(*limits)) for name, limits in ranges.items()}
    fixed = {"spherical_aberration_mm": 2.7, "amplitude_contrast": 0.07, "voltage_kv": voltage}
    return drawn | {name: np.float32(value) for name, value in fixed.items()}


def some_example(rng, split, index, names=None, pixel_sizes=(3.67,)):
    """One particle: the training split is clean, the others have a CTF of one of two voltages."""
    clean = split == "train"
    example = {
        "image": rng.standard_normal((SIZE, SIZE)).astype(np.float32),
        "quaternion": uniform_quaternions(1, rng)[0].astype(np.float32),
        "shift_angstrom": rng.normal(0, 5, 2).astype(np.float32),
        # Names that a reader of .star files could take for numbers.
        "structure": ["7e10", "0012"][index % 2],
        "pixel_size_angstrom": np.float32(pixel_sizes[index % len(pixel_sizes)]),
        "key": f"{split}-{index:07d}",
        "noise_variance": np.float32(0 if clean else rng.uniform(1e-7, 1)),
        "ctf": no_ctf() if clean else some_ctf(rng, [200, 300][index % 2]),
    }
    return {name: value for name, value in example.items() if names is None or name in names}


def write_dataset(folder, names=None, pixel_sizes=(3.67,)):
    rng = np.random.default_rng(0)
    folder.mkdir(exist_ok=True)
    features, writer = example_features(SIZE, names), import_tensorflow().io.TFRecordWriter
    for split, count in COUNTS.items():
        with writer(str(folder / shard_name(split, 0, 1))) as file:
            for index in range(count):
                encoded = features.encode_example(
                    some_example(rng, split, index, names, pixel_sizes)
                )
                file.write(features.serialize_example(encoded))
    (folder / "volumes").mkdir()
    (folder / "volumes" / "7e10.mrc").write_bytes(b"the true map")
    (folder / "cryotwin.json").write_text(
        '{"format": 1, "seed": 3, "structures": [{"name": "7e10", "volume": "volumes/7e10.mrc"}]}'
    )
    write_dataset_metadata(
        folder,
        features=features,
        shard_lengths={split: [count] for split, count in COUNTS.items()},
        description="Test data",
    )
    return open_folder(folder)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_dataset(tmp_path_factory.mktemp("conversion") / "dataset")


def and_back(folder, tmp_path, **arguments):
    """Exports a dataset and reads it into a dataset again."""
    star = tmp_path / "relion" / "p.star"
    export_star(folder, star, splits=list(folder.split_sizes), **arguments)
    again = tmp_path / "again"
    again.mkdir()
    write_particles(again, read_particle_file(star, mixed_pixel_sizes=True))
    return open_folder(again)


def same_orientations(first, second):
    return orientation_distances(first["quaternion"], second["quaternion"]).max() < 1e-6


@pytest.mark.parametrize("per_stack", [None, 2])
@pytest.mark.parametrize("pixel_sizes", [(3.67,), (3.67, 2.5), (3.67, 3.671, 1.1)])
def test_a_dataset_comes_back_without_loss(tmp_path, per_stack, pixel_sizes):
    folder = write_dataset(tmp_path / "dataset", pixel_sizes=pixel_sizes)
    again = and_back(folder, tmp_path, particles_per_stack=per_stack)
    assert again.split_sizes == folder.split_sizes
    assert again.fields == folder.fields
    assert again.metadata == folder.metadata
    assert again.volume_path("7e10").read_bytes() == b"the true map"
    for split in COUNTS:
        before, after = load_split(folder, split), load_split(again, split)
        assert set(before) == set(after)
        for name, values in before.items():
            if name != "quaternion":
                np.testing.assert_array_equal(after[name], values, err_msg=name)
        assert same_orientations(before, after)


def test_tfds_opens_what_came_back(folder, tmp_path):
    again = and_back(folder, tmp_path)
    dataset = import_tfds().builder_from_directory(again.path).as_dataset(split="validation")
    assert len(list(dataset)) == COUNTS["validation"]


@pytest.mark.parametrize(
    "names",
    [
        ("image", "key", "pixel_size_angstrom"),
        ("image", "key", "pixel_size_angstrom", "quaternion", "shift_angstrom"),
        ("image", "key", "pixel_size_angstrom", "ctf"),
    ],
)
def test_what_is_not_known_is_not_made_up(tmp_path, names):
    again = and_back(write_dataset(tmp_path / "dataset", names), tmp_path)
    assert set(again.fields) == set(names)


def test_views_from_one_direction_are_orientations_in_a_file_of_ours(folder, tmp_path):
    fields = load_split(folder, "test")
    fields["quaternion"] = np.tile(np.float32([1, 0, 0, 0]), (4, 1))
    optics, table = relion_tables(fields, SIZE)
    write_stack(tmp_path / "a.mrcs", fields["image"], 3.67)
    table["rlnImageName"] = [f"{n}@a.mrcs" for n in range(1, 5)]
    starfile.write({"optics": optics, "particles": table}, tmp_path / "p.star")
    np.testing.assert_array_equal(
        read_particles(tmp_path / "p.star").quaternions, fields["quaternion"]
    )


def test_a_single_split_may_be_written(folder, tmp_path):
    export_star(folder, tmp_path / "p.star", splits=["validation"])
    particles = read_particles(tmp_path / "p.star")
    assert particles.keys == [f"validation-{index:07d}" for index in range(3)]


def test_optics_groups_hold_what_particles_share_and_an_untouched_image_has_a_ctf_of_one(folder):
    splits = [load_split(folder, split) for split in COUNTS]
    fields = {name: np.concatenate([own[name] for own in splits]) for name in splits[0]}
    optics, particles = relion_tables(fields, SIZE)
    assert list(optics["rlnImageSize"]) == [SIZE] * 3
    np.testing.assert_allclose(optics["rlnImagePixelSize"], 3.67, rtol=1e-7)
    assert set(optics["rlnVoltage"]) == {200, 300}
    neutral = optics[optics["rlnAmplitudeContrast"] == 1]
    assert list(neutral["rlnSphericalAberration"]) == [0]
    clean = particles["rlnOpticsGroup"] == neutral["rlnOpticsGroup"].iloc[0]
    assert clean.sum() == COUNTS["train"]
    assert not particles.loc[clean, ["rlnDefocusU", "rlnDefocusV", "rlnPhaseShift"]].any(axis=None)


def test_the_star_file_names_origins_and_angles_as_relion_does(folder, tmp_path):
    export_star(folder, tmp_path / "p.star", splits=["test"])
    table = starfile.read(tmp_path / "p.star")["particles"]
    stored = load_split(folder, "test")
    origins = table[["rlnOriginXAngst", "rlnOriginYAngst"]].to_numpy()
    np.testing.assert_allclose(origins, -stored["shift_angstrom"], rtol=1e-7)
    assert list(table["rlnImageName"][:2]) == [
        "000001@p_test_000001.mrcs",
        "000002@p_test_000001.mrcs",
    ]


def test_writing_again_leaves_nothing_of_the_old_stacks(folder, tmp_path):
    path = tmp_path / "p.star"
    (tmp_path / "p_mine.mrcs").write_bytes(b"a file of the user")
    export_star(folder, path, splits=["train", "test"], particles_per_stack=1)
    export_star(folder, path, splits=["test"])
    names = {file.name for file in tmp_path.iterdir()}
    assert names == {
        "p.star", "p.cryotwin.json", "p_volumes", "p_test_000001.mrcs", "p_mine.mrcs"
    }  # fmt: skip


def test_a_failed_export_leaves_no_files(tmp_path):
    folder = write_dataset(tmp_path / "dataset")
    shard = folder.path / shard_name("test", 0, 1)
    shard.write_bytes(shard.read_bytes()[:-9])
    with pytest.raises(InputError, match="damaged"):
        export_star(folder, tmp_path / "out" / "p.star", splits=["train", "test"])
    assert [path.name for path in tmp_path.iterdir()] == ["dataset"]


def test_a_stack_and_an_optics_group_have_one_pixel_size_each(tmp_path):
    folder = write_dataset(tmp_path / "dataset", pixel_sizes=(3.5, 2.5))
    star = tmp_path / "p.star"
    export_star(folder, star, splits=["train", "test"])
    tables = starfile.read(star)
    own = tables["optics"].set_index("rlnOpticsGroup").loc[tables["particles"]["rlnOpticsGroup"]]
    sizes = own["rlnImagePixelSize"].to_numpy()
    np.testing.assert_array_equal(sizes, [3.5, 2.5, 3.5, 2.5, 3.5, 3.5, 2.5, 3.5, 2.5])
    for name, size in zip(tables["particles"]["rlnImageName"], sizes, strict=True):
        with mrcfile.open(tmp_path / name.partition("@")[2]) as stack:
            assert float(stack.voxel_size.x) == size
    with pytest.raises(InputError, match=r"one pixel size, not 2\.5 to 3\.5 A"):
        read_particles(star)


def foreign_star(tmp_path, optics=None, **columns):
    images = np.random.default_rng(0).standard_normal((4, SIZE, SIZE)).astype(np.float32)
    write_stack(tmp_path / "stack.mrcs", images, 2.0)
    names = [f"{n}@stack.mrcs" for n in range(1, 5)]
    table = {"rlnImageName": names, "rlnOpticsGroup": [1, 1, 2, 2], **columns}
    optics = {
        "rlnOpticsGroup": [1, 2],
        "rlnOpticsGroupName": ["a", "b"],
        "rlnImagePixelSize": [2.0, 2.0],
        "rlnVoltage": [200.0, 300.0],
        "rlnSphericalAberration": [2.7, 0.01],
        "rlnAmplitudeContrast": [0.1, 0.07],
        **(optics or {}),
    }
    blocks = {"optics": pd.DataFrame(optics), "particles": pd.DataFrame(table)}
    starfile.write(blocks, tmp_path / "foreign.star")
    return read_particles(tmp_path / "foreign.star")


def test_optics_groups_of_another_program_reach_every_example(tmp_path):
    particles = foreign_star(
        tmp_path, rlnDefocusU=[1e4] * 4, rlnDefocusAngle=[90.0] * 4, rlnPhaseShift=[45.0] * 4
    )
    fields = example_fields(particles)
    np.testing.assert_array_equal(fields["ctf/voltage_kv"], [200, 200, 300, 300])
    np.testing.assert_allclose(fields["ctf/spherical_aberration_mm"], [2.7, 2.7, 0.01, 0.01])
    np.testing.assert_array_equal(fields["ctf/defocus_v_angstrom"], [1e4] * 4)
    np.testing.assert_allclose(fields["ctf/defocus_angle_rad"], np.float32(np.pi / 2))
    np.testing.assert_allclose(fields["ctf/phase_shift_rad"], np.float32(np.pi / 4))
    assert {f"ctf/{name}" for name in CTF_FIELDS} < set(fields)
    assert "quaternion" not in fields


def test_two_pixel_sizes_and_unknown_optics_groups_are_one_clear_line(tmp_path):
    with pytest.raises(InputError, match="one pixel size, not 2 to 4 A"):
        foreign_star(tmp_path, optics={"rlnImagePixelSize": [2.0, 4.0]})
    particles = foreign_star(tmp_path, rlnDefocusU=[1e4] * 4)
    lost = particles.columns.assign(rlnOpticsGroup=[1, 1, 2, 7])
    with pytest.raises(InputError, match=r"foreign\.star: optics group 7 is not in data_optics"):
        example_fields(dataclasses.replace(particles, columns=lost))


def test_origins_in_pixels_take_each_particles_own_pixel_size(tmp_path):
    write_stack(tmp_path / "a.mrcs", np.zeros((2, SIZE, SIZE), np.float32), 2.0)
    table = {"rlnImageName": ["1@a.mrcs", "2@a.mrcs"], "rlnPixelSize": [2.0, 3.0]}
    table |= {"rlnAngleRot": [1.0, 2.0], "rlnAngleTilt": [3.0, 4.0], "rlnAnglePsi": [5.0, 6.0]}
    table |= {"rlnOriginX": [-1.0, -1.0], "rlnOriginY": [0.0, 2.0]}
    starfile.write(pd.DataFrame(table), tmp_path / "old.star")
    fields = example_fields(read_particle_file(tmp_path / "old.star", mixed_pixel_sizes=True))
    np.testing.assert_array_equal(fields["pixel_size_angstrom"], [2, 3])
    np.testing.assert_array_equal(fields["shift_angstrom"], [[2, 0], [3, -6]])


def test_a_cs_file_of_two_pixel_sizes_becomes_a_dataset_that_names_none(tmp_path):
    write_stack(tmp_path / "stack.mrcs", np.zeros((2, SIZE, SIZE), np.float32), 2.0)
    table = np.zeros(
        2,
        dtype=[
            ("blob/path", "S10"), ("blob/idx", "u4"), ("blob/psize_A", "f4"),
            ("alignments3D/pose", "f4", 3), ("alignments3D/shift", "f4", 2),
        ],
    )  # fmt: skip
    table["blob/path"], table["blob/idx"], table["blob/psize_A"] = b"stack.mrcs", [0, 1], [2, 3]
    table["alignments3D/pose"], table["alignments3D/shift"] = 0.1, 1
    with (tmp_path / "p.cs").open("wb") as file:
        np.save(file, table)
    (tmp_path / "dataset").mkdir()
    particles = read_particle_file(tmp_path / "p.cs", mixed_pixel_sizes=True)
    write_particles(tmp_path / "dataset", particles)
    folder = open_folder(tmp_path / "dataset")
    assert folder.metadata["pixel_size_angstrom"] is None
    stored = load_split(folder, "test")
    np.testing.assert_array_equal(stored["pixel_size_angstrom"], [2, 3])
    np.testing.assert_array_equal(stored["shift_angstrom"], [[-2, -2], [-3, -3]])


def test_exposure_groups_of_a_cs_file_stay_optics_groups(tmp_path):
    write_stack(tmp_path / "stack.mrcs", np.zeros((3, SIZE, SIZE), np.float32), 2.0)
    table = np.zeros(
        3,
        dtype=[
            ("blob/path", "S10"), ("blob/idx", "u4"), ("blob/psize_A", "f4"),
            ("ctf/exp_group_id", "u4"), ("ctf/accel_kv", "f4"), ("ctf/cs_mm", "f4"),
            ("ctf/amp_contrast", "f4"), ("ctf/df1_A", "f4"),
        ],
    )  # fmt: skip
    table["blob/path"], table["blob/idx"], table["blob/psize_A"] = b"stack.mrcs", [0, 1, 2], 2
    table["ctf/exp_group_id"], table["ctf/accel_kv"] = [4, 9, 4], 300
    with (tmp_path / "p.cs").open("wb") as file:
        np.save(file, table)
    particles = read_particles(tmp_path / "p.cs")
    assert list(particles.optics["rlnOpticsGroupName"]) == ["exposureGroup4", "exposureGroup9"]
    assert list(particles.columns["rlnOpticsGroup"]) == [1, 2, 1]


def test_of_a_file_that_names_splits_one_is_taken_or_refused(folder, tmp_path):
    export_star(folder, tmp_path / "p.star", splits=["train", "test"])
    particles = read_particle_file(tmp_path / "p.star", mixed_pixel_sizes=True)
    (tmp_path / "out").mkdir()
    with pytest.raises(InputError, match=r"p\.star must be one of 'train', 'test', not 'foo'"):
        write_particles(tmp_path / "out", particles, split="foo")
    assert not list((tmp_path / "out").iterdir())
    size = folder.split_sizes["test"]
    assert write_particles(tmp_path / "out", particles, split="test") == {"test": size}
    keys = load_split(tmp_path / "out", "test")["key"]
    np.testing.assert_array_equal(keys, load_split(folder, "test")["key"])


@pytest.mark.parametrize("name", ["all", "a b", "1st"])
def test_names_that_tfds_cannot_take_for_a_split_are_refused(tmp_path, name):
    particles = foreign_star(tmp_path)
    (tmp_path / "out").mkdir()
    with pytest.raises(InputError, match=f"is '{name}'"):
        write_particles(tmp_path / "out", particles, split=name)


@pytest.mark.parametrize(
    "name",
    [
        "class17/sample_particles_relion30.star",
        "class17/sample_particles_relion31.star",
        "empiar10076/empiar_10076_7.star",
        "empiar10076/empiar_10076_7.cs",
        "relion31/relion31.star",
        "relion31/relion31.mrcs",
    ],
)
def test_real_particles_become_a_dataset_and_stay_what_they_are(tmp_path, name):
    if not (SAMPLES / name).exists():
        pytest.skip("no shared data here")
    particles = read_particles(SAMPLES / name)
    (tmp_path / "dataset").mkdir()
    assert write_particles(tmp_path / "dataset", particles) == {"test": len(particles)}
    again = and_back(open_folder(tmp_path / "dataset"), tmp_path)
    after = read_particles(again.path)
    np.testing.assert_array_equal(after.images, particles.images)
    assert after.keys == particles.keys
    assert (after.quaternions is None) == (particles.quaternions is None)
    if particles.quaternions is not None:
        assert orientation_distances(after.quaternions, particles.quaternions).max() < 1e-6
        np.testing.assert_allclose(after.shifts_angstrom, particles.shifts_angstrom, atol=1e-6)
