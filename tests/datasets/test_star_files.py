import numpy as np
import pandas as pd
import pytest
import starfile

from cryotwin.datasets.image_stacks import write_stack
from cryotwin.datasets.particles import ParticleSet, read_particles
from cryotwin.datasets.star_files import read_orientations, read_star, write_orientations_star
from cryotwin.imaging.errors import InputError
from cryotwin.imaging.rotations import orientation_distances, uniform_quaternions


@pytest.fixture
def stack(tmp_path):
    images = np.random.default_rng(0).standard_normal((6, 8, 8)).astype(np.float32)
    write_stack(tmp_path / "stack.mrcs", images, 2.5)
    return images


def names(count=6, stack="stack.mrcs"):
    return [f"{i + 1:06d}@{stack}" for i in range(count)]


def relion31(path, **columns):
    optics = pd.DataFrame(
        {"rlnOpticsGroup": [1], "rlnOpticsGroupName": ["a"], "rlnImagePixelSize": [2.5]}
    )
    table = {"rlnImageName": names(), "rlnOpticsGroup": [1] * 6, **columns}
    starfile.write({"optics": optics, "particles": pd.DataFrame(table)}, path)
    return path


def relion30(path, **columns):
    table = {
        "rlnImageName": names(),
        "rlnMagnification": [40000.0] * 6,
        "rlnDetectorPixelSize": [10.0] * 6,
        **columns,
    }
    starfile.write({"": pd.DataFrame(table)}, path)
    return path


def test_both_forms_of_relion_give_the_same_particles(tmp_path, stack):
    angles = {"rlnAngleRot": [10.0] * 6, "rlnAngleTilt": [30.0] * 6, "rlnAnglePsi": [50.0] * 6}
    new = read_star(
        relion31(
            tmp_path / "new.star",
            **angles,
            rlnOriginXAngst=[5.0] * 6,
            rlnOriginYAngst=[-2.5] * 6,
        )
    )
    old = read_star(
        relion30(tmp_path / "old.star", **angles, rlnOriginX=[2.0] * 6, rlnOriginY=[-1.0] * 6)
    )
    for particles in (new, old):
        np.testing.assert_array_equal(particles.images, stack)
        assert particles.pixel_size_angstrom == pytest.approx(2.5)
        assert particles.keys == names()
        np.testing.assert_allclose(particles.shifts_angstrom, [[-5.0, 2.5]] * 6)
    np.testing.assert_allclose(new.quaternions, old.quaternions)


def test_the_rows_of_a_rotation_are_the_detectors_axes_as_relion_has_them(tmp_path, stack):
    path = relion31(
        tmp_path / "p.star",
        rlnAngleRot=[90.0] * 6,
        rlnAngleTilt=[90.0] * 6,
        rlnAnglePsi=[0.0] * 6,
    )
    from cryotwin.imaging.rotations import quaternions_to_matrices

    viewing = quaternions_to_matrices(read_star(path).quaternions)[:, 2]
    # RELION views along (cos rot sin tilt, sin rot sin tilt, cos tilt).
    np.testing.assert_allclose(viewing, [[0, 1, 0]] * 6, atol=1e-12)


def test_orientations_written_and_read_back_are_the_same(tmp_path, stack):
    rng = np.random.default_rng(1)
    particles = read_star(relion31(tmp_path / "in.star", rlnDefocusU=np.arange(6) * 1000.0))
    quaternions, shifts = uniform_quaternions(6, rng), rng.normal(size=(6, 2))
    confidence = rng.uniform(size=6)
    out = tmp_path / "run" / "orientations.star"
    write_orientations_star(out, particles, quaternions, shifts, confidence)

    again = read_star(out)
    assert orientation_distances(again.quaternions, quaternions).max() < 1e-6
    np.testing.assert_allclose(again.shifts_angstrom, shifts, atol=1e-6)
    np.testing.assert_array_equal(again.images, stack)
    assert again.keys == particles.keys
    assert list(again.columns["rlnDefocusU"]) == list(np.arange(6) * 1000.0)

    found = read_orientations(out)
    np.testing.assert_allclose(found.confidence, confidence, atol=1e-6)
    np.testing.assert_allclose(found.quaternions, again.quaternions)


@pytest.mark.parametrize("tilt", [0.0, 180.0])
def test_a_view_along_the_axis_survives_the_file(tmp_path, stack, tilt):
    path = relion31(
        tmp_path / "in.star",
        rlnAngleRot=[33.0] * 6,
        rlnAngleTilt=[tilt] * 5 + [7.0],
        rlnAnglePsi=[21.0] * 6,
    )
    particles = read_star(path)
    out = tmp_path / "out.star"
    write_orientations_star(out, particles, particles.quaternions, np.zeros((6, 2)))
    again = read_orientations(out)
    assert orientation_distances(again.quaternions, particles.quaternions).max() < 1e-6


def test_the_written_file_has_what_relion_asks_for(tmp_path, stack):
    particles = read_star(
        relion30(
            tmp_path / "in.star",
            rlnVoltage=[300.0] * 3 + [200.0] * 3,
            rlnSphericalAberration=[2.7] * 6,
            rlnLogLikeliContribution=[1.0] * 6,
        )
    )
    out = tmp_path / "out.star"
    write_orientations_star(out, particles, [[1, 0, 0, 0]] * 6, np.full((6, 2), 3.0))
    tables = starfile.read(out, always_dict=True)
    assert set(tables) == {"optics", "particles"}
    optics, table = tables["optics"], tables["particles"]
    assert list(optics["rlnVoltage"]) == [300, 200]
    assert list(optics["rlnImagePixelSize"]) == [2.5, 2.5]
    assert list(optics["rlnImageSize"]) == [8, 8]
    assert list(table["rlnOpticsGroup"]) == [1, 1, 1, 2, 2, 2]
    assert set(table["rlnOriginXAngst"]) == {-3.0}
    assert list(table["rlnImageName"]) == names()
    assert not {"rlnVoltage", "rlnSphericalAberration", "rlnOriginX"} & set(table)


def everything(path):
    """All tables of a .star file with their values as text, by name."""
    blocks = starfile.read(path, always_dict=True)
    return {name: pd.DataFrame(block).astype(str) for name, block in blocks.items()}


def test_every_column_and_table_that_came_in_goes_out(tmp_path, stack):
    path = relion31(
        tmp_path / "in.star",
        rlnMicrographName=["0017", "0018", "0019"] * 2,
        rlnGroupName=["01", "02", "03"] * 2,
        rlnLogLikeliContribution=np.array([1.421155e05, 1e-9, 0.1, 1 / 3, 5e12, -2.5]),
        rlnClassNumber=[3] * 6,
        rlnCtfFigureOfMerit=[0.1, np.nan] * 3,
        someoneElsesColumn=["a b", "c", "d", "e", "f", "g"],
        rlnAngleRot=[10.0] * 6,
        rlnAngleTilt=[20.0] * 6,
        rlnAnglePsi=[30.0] * 6,
        rlnAngleTiltPrior=[20.0] * 6,
        rlnAnglePsiFlipRatio=[0.5] * 6,
    )
    tables = starfile.read(path, always_dict=True)
    tables["general"] = pd.DataFrame({"rlnFinalResolution": [8.25]})
    tables["optics"]["rlnMtfFileName"] = "mtf.star"
    starfile.write(tables, path, na_rep="nan")
    particles = read_star(path)
    quaternions = uniform_quaternions(6, np.random.default_rng(2))
    out = tmp_path / "out.star"
    write_orientations_star(
        out, particles, quaternions, np.ones((6, 2)), np.full(6, 0.5), halves=[0, 1, 0, 1, 1, 0]
    )

    before, after = everything(path), everything(out)
    assert set(before) <= set(after)
    for name, table in before.items():
        new = {"rlnAngleRot", "rlnAngleTilt", "rlnAnglePsi", "rlnAngleTiltPrior"}
        for column in set(table) - new:
            assert list(after[name][column]) == list(table[column]), column
    written = after["particles"]
    assert list(written["rlnAngleTiltPrior"]) == list(written["rlnAngleTilt"])
    assert list(written["rlnRandomSubset"]) == ["1", "2", "1", "2", "2", "1"]
    assert set(written["rlnParticleFigureOfMerit"]) == {"0.5"}
    assert orientation_distances(read_orientations(out).quaternions, quaternions).max() < 1e-8


def test_a_stack_without_its_suffix_is_named_as_relion_asks(tmp_path, stack):
    (tmp_path / "stack.mrcs").rename(tmp_path / "stack.mrc")
    path = relion31(tmp_path / "in.star", rlnImageName=names(stack="stack.mrc"))
    particles = read_star(path)
    out = tmp_path / "out.star"
    write_orientations_star(out, particles, [[1, 0, 0, 0]] * 6, np.zeros((6, 2)))
    table = starfile.read(out)["particles"]
    assert list(table["rlnImageName"]) == names(stack="stack.mrc:mrcs")
    again = read_star(out)
    np.testing.assert_array_equal(again.images, stack)
    assert again.keys == particles.keys == names(stack="stack.mrc")


def test_columns_of_relion_3_0_stand_where_3_1_has_them(tmp_path, stack):
    path = relion30(
        tmp_path / "in.star",
        rlnVoltage=[300.0] * 3 + [200.0] * 3,
        rlnSphericalAberration=[2.7] * 6,
        rlnAmplitudeContrast=[0.1] * 6,
        rlnDefocusU=np.linspace(1e4, 2e4, 6),
        rlnOriginX=[2.0] * 6,
        rlnOriginY=[-1.0] * 6,
        rlnAutopickFigureOfMerit=np.linspace(0, 1, 6),
    )
    before = starfile.read(path)
    out = tmp_path / "out.star"
    write_orientations_star(out, read_star(path), [[1, 0, 0, 0]] * 6, np.zeros((6, 2)))
    tables = starfile.read(out, always_dict=True)
    joined = tables["particles"].merge(tables["optics"], on="rlnOpticsGroup")
    assert set(before) - set(joined) == {"rlnOriginX", "rlnOriginY"}
    for column in set(before) & set(joined):
        assert list(joined[column]) == pytest.approx(list(before[column])) or isinstance(
            before[column].iloc[0], str
        )
    assert set(joined["rlnOriginXAngst"]) == {0}


def test_images_of_other_contrast_are_named_where_they_are_and_where_they_were(tmp_path, stack):
    particles = read_star(relion31(tmp_path / "in.star")).inverted()
    assert not particles.as_stored
    np.testing.assert_array_equal(particles.images, -stack)
    out = tmp_path / "out.star"
    bright = names(stack="bright.mrcs")
    write_orientations_star(
        out, particles, [[1, 0, 0, 0]] * 6, np.zeros((6, 2)), image_names=bright
    )
    table = starfile.read(out)["particles"]
    assert list(table["rlnImageName"]) == bright
    assert list(table["rlnImageOriginalName"]) == names()
    assert list(table["cryotwinKey"]) == names()
    assert particles.inverted().as_stored


def test_a_stack_that_only_the_current_folder_leads_to_is_named_by_its_whole_path(
    tmp_path, stack, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "stars").mkdir()
    particles = read_star(relion31(tmp_path / "stars" / "in.star"))
    elsewhere = tmp_path / "stars" / "run"
    moved = tmp_path / "data"
    moved.mkdir()
    (tmp_path / "stack.mrcs").rename(moved / "stack.mrcs")
    monkeypatch.chdir(moved)
    particles.stacks = {"stack.mrcs": moved / "stack.mrcs"}
    write_orientations_star(elsewhere / "out.star", particles, [[1, 0, 0, 0]] * 6, np.zeros((6, 2)))
    monkeypatch.chdir(tmp_path)
    np.testing.assert_array_equal(read_star(elsewhere / "out.star").images, stack)


def test_particles_of_a_dataset_are_named_by_the_caller_and_keep_their_keys(tmp_path, stack):
    particles = ParticleSet(stack, 2.5, [f"7cfn-{i:07d}" for i in range(6)])
    out = tmp_path / "orientations.star"
    with pytest.raises(InputError, match="no stack"):
        write_orientations_star(out, particles, [[1, 0, 0, 0]] * 6, np.zeros((6, 2)))
    assert not out.exists()
    write_orientations_star(
        out, particles, [[1, 0, 0, 0]] * 6, np.zeros((6, 2)), image_names=names()
    )
    again = read_star(out)
    assert again.keys == particles.keys
    assert again.image_names == names()
    assert again.pixel_size_angstrom == 2.5


def test_a_stack_out_of_reach_of_the_new_file_is_named_by_its_whole_path(tmp_path, stack):
    project = tmp_path / "project"
    (project / "Extract").mkdir(parents=True)
    (project / "Refine").mkdir()
    (tmp_path / "stack.mrcs").rename(project / "Extract" / "stack.mrcs")
    path = relion31(project / "Refine" / "in.star")
    table = starfile.read(path)
    table["particles"]["rlnImageName"] = names(stack="Extract/stack.mrcs")
    starfile.write(table, path)
    particles = read_star(path)  # found from the project's folder, as RELION does
    near, far = project / "new" / "o.star", tmp_path / "elsewhere" / "o.star"
    for target in (near, far):
        write_orientations_star(target, particles, [[1, 0, 0, 0]] * 6, np.zeros((6, 2)))
        np.testing.assert_array_equal(read_star(target).images, stack)
    assert read_star(near).image_names == names(stack="Extract/stack.mrcs")
    assert read_star(far).image_names[0].endswith("/project/Extract/stack.mrcs")


def test_angles_of_a_classification_in_the_plane_are_no_orientations(tmp_path, stack):
    flat = {"rlnAngleRot": [0.0] * 6, "rlnAngleTilt": [0.0] * 6, "rlnAnglePsi": [5.0] * 6}
    assert read_star(relion31(tmp_path / "a.star", **flat)).quaternions is None
    only_psi = relion31(tmp_path / "b.star", rlnAnglePsi=[5.0] * 6)
    assert read_star(only_psi).quaternions is None
    with pytest.raises(InputError, match="no orientations"):
        read_orientations(only_psi)


def test_frames_come_in_the_order_of_the_rows(tmp_path, stack):
    order = [4, 0, 5, 2, 1, 3]
    path = relion31(tmp_path / "p.star", rlnImageName=[f"{i + 1}@stack.mrcs" for i in order])
    particles = read_star(path)
    np.testing.assert_array_equal(particles.images, stack[order])
    assert particles.keys[0] == "000005@stack.mrcs"


def test_a_single_particle_without_a_loop_is_read(tmp_path, stack):
    path = tmp_path / "one.star"
    path.write_text("data_particles\n\n_rlnImageName 2@stack.mrcs\n_rlnImagePixelSize 1.5\n")
    particles = read_star(path)
    np.testing.assert_array_equal(particles.images, stack[1:2])
    assert particles.pixel_size_angstrom == 1.5


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"rlnImageName": names(stack="lost.mrcs")}, r"image stack 'lost.mrcs' not found"),
        ({"rlnImageName": [*names(5), "000007@stack.mrcs"]}, "image 7 .* has 6 images"),
        ({"rlnImageName": [*names(5), "x@stack.mrcs"]}, "'x@stack.mrcs' must be like"),
        ({"rlnImageName": [*names(5), "000001@stack.mrcs"]}, "rows 1 and 6"),
        ({"rlnOpticsGroup": [1, 1, 1, 1, 1, 2]}, "optics group 2 is not in data_optics"),
        (
            {"rlnAngleRot": [1.0] * 6, "rlnAngleTilt": [1.0] * 6, "rlnAnglePsi": ["up"] * 6},
            "_rlnAnglePsi in row 1 must be a number, not 'up'",
        ),
    ],
)
def test_a_file_that_cannot_be_right_is_refused_with_the_reason(tmp_path, stack, columns, message):
    with pytest.raises(InputError, match=message) as refused:
        read_star(relion31(tmp_path / "p.star", **columns))
    assert "\n" not in str(refused.value)
    assert "p.star" in str(refused.value) or "stack.mrcs" in str(refused.value)


def test_a_star_file_without_pixel_size_or_particles_is_refused(tmp_path, stack):
    path = tmp_path / "p.star"
    starfile.write({"particles": pd.DataFrame({"rlnImageName": names()})}, path)
    with pytest.raises(InputError, match="no pixel size"):
        read_star(path)
    starfile.write({"micrographs": pd.DataFrame({"rlnMicrographName": ["a.mrc"] * 2})}, path)
    with pytest.raises(InputError, match=r"no table of particles .* data_micrographs"):
        read_star(path)
    path.write_bytes(bytes(range(256)))
    with pytest.raises(InputError, match=r"p\.star"):
        read_star(path)
    path.write_text("")
    with pytest.raises(InputError, match="no table of particles"):
        read_star(path)


def test_particles_of_two_pixel_sizes_are_refused(tmp_path, stack):
    path = relion30(tmp_path / "p.star", rlnMagnification=[40000.0] * 5 + [50000.0])
    with pytest.raises(InputError, match=r"one pixel size, not 2 to 2\.5"):
        read_particles(path)


def test_images_of_two_sizes_are_refused(tmp_path, stack):
    write_stack(tmp_path / "small.mrcs", np.zeros((1, 6, 6)), 2.5)
    path = relion31(tmp_path / "p.star", rlnImageName=[*names(5), "1@small.mrcs"])
    with pytest.raises(InputError, match=r"one size, .*small\.mrcs has 6 px and others have 8 px"):
        read_particles(path)


def test_results_of_another_length_are_refused(tmp_path, stack):
    particles = read_star(relion31(tmp_path / "p.star"))
    with pytest.raises(InputError, match=r"quaternions must have the shape \(6, 4\)"):
        write_orientations_star(tmp_path / "o.star", particles, [[1, 0, 0, 0]], np.zeros((1, 2)))
