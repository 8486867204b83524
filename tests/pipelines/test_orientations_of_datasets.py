"""The orientations that `cryotwin generate` gives particles, symmetric ones among them."""

from pathlib import Path

import numpy as np
import pytest

from cryotwin.datasets.folder import load_split, open_folder
from cryotwin.datasets.splits import SPLITS
from cryotwin.imaging.errors import InputError
from cryotwin.imaging.fundamental_domain import to_fundamental_domain
from cryotwin.imaging.maps import read_map, write_map
from cryotwin.imaging.point_groups import symmetry_matrices
from cryotwin.imaging.projection import project_volume
from cryotwin.imaging.rotations import (
    canonical_quaternions,
    matrices_to_relion_angles,
    orientation_distances,
    quaternions_to_matrices,
    uniform_quaternions,
)
from cryotwin.imaging.volume_rotation import rotate_volume
from cryotwin.imaging.volume_symmetry import symmetry_agreement
from cryotwin.pipelines.command_line import main
from cryotwin.pipelines.generate_settings import GenerateSettings

COUNT = 12
BETA_GALACTOSIDASE = Path(__file__).parents[2].parent / "shared/data/targets/5a1a.cif.gz"


def generate(structure: str | Path, out: Path, *more: str) -> int:
    words = ["generate", str(structure), "--out", str(out), "--count", str(COUNT), "--size", "32"]
    return main([*words, *more])


def by_index(folder: Path, field: str) -> np.ndarray:
    """A field of all particles, in the order of their indices."""
    splits = [load_split(folder, split) for split in SPLITS]
    keys = np.concatenate([split["key"] for split in splits])
    return np.concatenate([split[field] for split in splits])[np.argsort(keys)]


def write_angles(path: Path, quaternions: np.ndarray) -> Path:
    angles = matrices_to_relion_angles(quaternions_to_matrices(quaternions))
    head = "data_particles\n\nloop_\n_rlnAngleRot #1\n_rlnAngleTilt #2\n_rlnAnglePsi #3\n"
    rows = "".join(" ".join(f"{angle:.9f}" for angle in row) + "\n" for row in angles)
    path.write_text(head + rows)
    return path


@pytest.fixture(scope="module")
def symmetric_map(tmp_path_factory) -> Path:
    """Four blobs that the twofolds of D2 turn into each other."""
    z, y, x = np.mgrid[:32, :32, :32] - 16
    blob = np.exp(-((x - 6) ** 2 + (y - 3) ** 2 + (z - 4) ** 2) / 6).astype(np.float32)
    path = tmp_path_factory.mktemp("map") / "four.mrc"
    write_map(path, np.sum([rotate_volume(blob, g) for g in symmetry_matrices("D2")], axis=0), 3.0)
    return path


@pytest.fixture(scope="module")
def symmetric_dataset(symmetric_map, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("symmetric") / "data"
    assert generate(symmetric_map, out, "--symmetry", "d2", "--orientations", "vmf:5:0,90") == 0
    return out


def test_orientations_of_a_symmetric_particle_lie_in_its_fundamental_domain(symmetric_dataset):
    quaternions = by_index(symmetric_dataset, "quaternion").astype(np.float64)
    inside = to_fundamental_domain(quaternions, "D2")
    assert orientation_distances(quaternions, inside).max() < 1e-6
    metadata = open_folder(symmetric_dataset).metadata
    assert metadata["symmetry"] == "D2"
    assert metadata["fundamental_domain"] is True
    assert metadata["orientations"] == "vmf:5:0,90"


def test_an_image_of_a_symmetric_particle_shows_all_equivalent_orientations(symmetric_dataset):
    fields = load_split(symmetric_dataset, "test")
    volume = read_map(symmetric_dataset / "volumes" / "four.mrc").data
    rotations = quaternions_to_matrices(fields["quaternion"].astype(np.float64))
    for g in symmetry_matrices("D2"):
        images = project_volume(volume, rotations @ g)
        assert np.allclose(fields["image"], images, atol=0.02 * images.max())


def test_recovery_of_a_symmetric_dataset_asks_for_its_point_group(
    symmetric_dataset, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    words = ["recover", str(symmetric_dataset), "--estimator", "7cfn", "--out", "run"]
    assert main(words) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "--symmetry must be 'D2'" in line
    assert line.endswith(f"with which {symmetric_dataset} was generated, not 'C1'")
    assert not list(tmp_path.iterdir())


def test_a_particle_without_the_symmetry_is_refused_in_one_line(tmp_path, capsys):
    assert generate("7cfn", tmp_path / "data", "--symmetry", "D2") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "7cfn does not have the symmetry D2" in line


def test_a_structure_with_its_axes_elsewhere_is_turned_when_asked_to(
    symmetric_map, tmp_path, capsys
):
    turn = quaternions_to_matrices([0.8, 0.3, 0.2, 0.48])
    tilted = tmp_path / "tilted.mrc"
    write_map(tilted, rotate_volume(read_map(symmetric_map).data, turn), 3.0)

    assert generate(tilted, tmp_path / "refused", "--symmetry", "D2") == 2
    assert "--align-symmetry" in capsys.readouterr().err
    assert generate(tilted, tmp_path / "data", "--symmetry", "D2", "--align-symmetry") == 0

    volume = read_map(tmp_path / "data" / "volumes" / "tilted.mrc").data
    assert symmetry_agreement(volume, "D2") > 0.99
    fields = load_split(tmp_path / "data", "train")
    images = project_volume(volume, quaternions_to_matrices(fields["quaternion"]))
    assert np.allclose(fields["image"], images, atol=1e-3 * images.max())


@pytest.mark.skipif(not BETA_GALACTOSIDASE.exists(), reason="the paper's structure is not here")
def test_the_papers_symmetric_particle_is_taken_with_its_symmetry(tmp_path):
    assert generate(BETA_GALACTOSIDASE, tmp_path / "data", "--symmetry", "D2") == 0
    assert open_folder(tmp_path / "data").metadata["symmetry"] == "D2"


def test_particle_i_takes_row_i_of_a_list(tmp_path):
    quaternions = uniform_quaternions(COUNT + 3, np.random.default_rng(0))
    angles = write_angles(tmp_path / "angles.star", quaternions)
    out = tmp_path / "data"
    shards = ["--particles-per-shard", "2"]
    assert generate("7cfn", out, "--orientations", str(angles), *shards) == 0
    found = canonical_quaternions(by_index(out, "quaternion"))
    assert orientation_distances(found, quaternions[:COUNT]).max() < 1e-6
    assert open_folder(out).metadata["orientations"] == str(angles)
    assert open_folder(out).metadata["fundamental_domain"] is False
    assert not list(out.glob("*.npy"))


def test_a_list_with_too_few_rows_is_refused_before_anything_is_read(tmp_path, capsys):
    quaternions = uniform_quaternions(COUNT - 1, np.random.default_rng(0))
    angles = write_angles(tmp_path / "angles.star", quaternions)
    assert generate("nothing", tmp_path / "data", "--orientations", str(angles)) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "angles.star: lists 11 orientations, but 12 particles are asked for" in line


def test_settings_with_another_list_under_the_same_name_are_others(tmp_path):
    quaternions = uniform_quaternions(3, np.random.default_rng(0))
    angles = write_angles(tmp_path / "angles.star", quaternions)
    before = GenerateSettings(count=3, orientations=str(angles))
    assert before == GenerateSettings(count=3, orientations=str(angles))
    write_angles(angles, quaternions[::-1])
    assert before != GenerateSettings(count=3, orientations=str(angles))


def test_settings_write_a_point_group_in_one_way():
    assert GenerateSettings(symmetry="i") == GenerateSettings(symmetry="I2")
    with pytest.raises(InputError, match="not 'K2'"):
        GenerateSettings(symmetry="K2")
