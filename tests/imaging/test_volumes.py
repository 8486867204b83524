from pathlib import Path

import numpy as np
import pytest

from cryotwin.imaging.density import density_map, largest_diameter
from cryotwin.imaging.errors import InputError
from cryotwin.imaging.maps import DensityMap
from cryotwin.imaging.structures import Atoms, read_structure
from cryotwin.imaging.volumes import structure_volume

DATA = Path(__file__).parents[2].parent / "shared" / "data"


def atoms_at(positions) -> Atoms:
    positions = np.asarray(positions, dtype=np.float64)
    return Atoms(positions, np.full(len(positions), 6), "made", "made", "asymmetric unit")


def ball_map(voxel: float = 2.0) -> DensityMap:
    grid = np.arange(30) - 14.3
    radius = np.sqrt(grid[:, None, None] ** 2 + grid[:, None] ** 2 + grid**2)
    data = 1 / (1 + np.exp((radius - 7) / 0.7))
    return DensityMap(data.astype(np.float32), (voxel, voxel, voxel), "ball", "made")


def centre(volume: np.ndarray) -> np.ndarray:
    volume = np.maximum(volume, 0).astype(np.float64)
    grid = np.arange(len(volume))
    profiles = [volume.sum(axis=tuple({0, 1, 2} - {axis})) for axis in range(3)]
    return np.array([profile @ grid / profile.sum() for profile in profiles])


@pytest.mark.parametrize("size", [32, 64, 65])
def test_the_bundled_structure_fills_three_quarters_of_the_box(size):
    atoms = read_structure("7cfn")
    result = structure_volume(atoms, size=size)
    assert result.volume.shape == (size, size, size)
    assert result.volume.dtype == np.float32
    assert result.diameter_angstrom == pytest.approx(largest_diameter(atoms))
    box = size * result.pixel_size_angstrom
    assert result.diameter_angstrom == pytest.approx(0.75 * box)
    assert result.resolution_angstrom == pytest.approx(3 * result.pixel_size_angstrom)
    np.testing.assert_allclose(centre(result.volume), size // 2, atol=0.01)
    assert (result.name, result.source) == ("7cfn", "bundled 7cfn")


def test_a_chosen_pixel_size_and_resolution_are_taken():
    atoms = read_structure("7cfn")
    assert isinstance(atoms, Atoms)
    result = structure_volume(atoms, size=40, pixel_size_angstrom=4.5, resolution_angstrom=20)
    assert (result.pixel_size_angstrom, result.resolution_angstrom) == (4.5, 20)
    expected = density_map(atoms, resolution_angstrom=20, pixel_size_angstrom=4.5, size=40)
    np.testing.assert_array_equal(result.volume, expected)


def test_a_map_is_resampled_and_has_no_resolution_of_its_own():
    result = structure_volume(ball_map(), size=32)
    assert result.resolution_angstrom is None
    assert result.diameter_angstrom == pytest.approx(0.75 * 32 * result.pixel_size_angstrom)
    np.testing.assert_allclose(centre(result.volume), 16, atol=0.01)
    with pytest.raises(InputError, match="ball is a map: its resolution cannot be set"):
        structure_volume(ball_map(), size=32, resolution_angstrom=5.0)


def test_a_particle_that_is_heavy_at_one_end_still_fits_in_every_view():
    lollipop = atoms_at([[0, 0, 0]] * 30 + [[0, 0, 100], [1, 0, 0], [0, 1, 0], [0, 0, -1]])
    result = structure_volume(lollipop, size=32)
    assert result.diameter_angstrom < 0.7 * 32 * result.pixel_size_angstrom
    mass = result.volume.sum(dtype=np.float64) * result.pixel_size_angstrom**3
    assert mass == pytest.approx(34 * 6, rel=1e-3)


def test_a_particle_that_leaves_the_box_in_some_view_is_refused_with_the_size_that_would_do():
    ends = np.array([1.0, 1.0, 1.0]) * 30  # along the diagonal: inside the box as it lies
    structure = atoms_at([ends, -ends, [1, 0, 0], [-1, 0, 0]])
    with pytest.raises(InputError, match="in every view") as caught:
        structure_volume(structure, size=70, pixel_size_angstrom=1.0)
    size = int(str(caught.value).split("a size of at least ")[1].split(",")[0])
    structure_volume(structure, size=size, pixel_size_angstrom=1.0)
    pixel = float(str(caught.value).split("a pixel size of at least ")[1].split()[0])
    structure_volume(structure, size=70, pixel_size_angstrom=pixel)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"size": 4}, "size must be at least 8"),
        ({"size": 32, "pixel_size_angstrom": 0.0}, "pixel size must be a positive number"),
        ({"size": 32, "pixel_size_angstrom": -2.0}, "not -2.0"),
        ({"size": 32, "resolution_angstrom": 0.0}, "resolution must be a positive number"),
    ],
)
def test_bad_arguments_are_quoted(arguments, message):
    with pytest.raises(InputError, match=message):
        structure_volume(atoms_at([[0, 0, 0], [9, 0, 0], [0, 9, 0], [0, 0, 9]]), **arguments)


def test_a_single_atom_needs_a_pixel_size():
    with pytest.raises(InputError, match="expected a pixel size"):
        structure_volume(atoms_at([[1, 2, 3]]), size=32)
    assert structure_volume(atoms_at([[1, 2, 3]]), size=32, pixel_size_angstrom=1.0).volume.any()


@pytest.mark.skipif(not DATA.exists(), reason="needs the data beside the repository")
def test_the_papers_map_has_a_plausible_size():
    result = structure_volume(read_structure(str(DATA / "targets" / "5j0n.mrc")), size=64)
    assert 190 < result.diameter_angstrom < 215
    np.testing.assert_allclose(centre(result.volume), 32, atol=0.05)
