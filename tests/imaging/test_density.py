import math

import numpy as np
import pytest

from cryotwin.imaging.density import centre_of_mass, density_map, gaussian_sigma, largest_diameter
from cryotwin.imaging.errors import InputError
from cryotwin.imaging.maps import DensityMap
from cryotwin.imaging.structures import Atoms


def atoms_at(positions, numbers=None) -> Atoms:
    positions = np.asarray(positions, dtype=np.float64)
    numbers = np.full(len(positions), 6) if numbers is None else np.asarray(numbers)
    return Atoms(positions, numbers, "made", "made", "asymmetric unit")


def cloud(count: int = 300, radius: float = 18.0, seed: int = 0) -> Atoms:
    rng = np.random.default_rng(seed)
    positions = rng.uniform(-radius, radius, (count, 3)) + np.array([100.0, -40.0, 7.0])
    return atoms_at(positions, rng.choice([6, 7, 8, 16], count))


def closed_form(atoms: Atoms, resolution: float, pixel: float, size: int) -> np.ndarray:
    sigma = resolution / (math.pi * math.sqrt(2))
    grid = (np.arange(size) - size // 2) * pixel
    z, y, x = np.meshgrid(grid, grid, grid, indexing="ij")
    weights = atoms.weights / atoms.weights.sum()
    centred = atoms.positions_angstrom - weights @ atoms.positions_angstrom
    total = np.zeros((size, size, size))
    for (ax, ay, az), number in zip(centred, atoms.weights, strict=True):
        squared = (x - ax) ** 2 + (y - ay) ** 2 + (z - az) ** 2
        total += number * np.exp(-squared / (2 * sigma**2))
    return total / (2 * math.pi * sigma**2) ** 1.5


@pytest.mark.parametrize("size", [24, 25])
@pytest.mark.parametrize("resolution", [4.5, 9.0])
def test_a_single_atom_is_the_closed_form_gaussian(size, resolution):
    atoms = atoms_at([[3.0, -7.0, 11.0]], [16])
    values = density_map(atoms, resolution_angstrom=resolution, pixel_size_angstrom=1.5, size=size)
    expected = closed_form(atoms, resolution, 1.5, size)
    assert values.dtype == np.float32
    np.testing.assert_allclose(values, expected, atol=1e-6 * expected.max())
    assert np.unravel_index(values.argmax(), values.shape) == (size // 2,) * 3


@pytest.mark.parametrize(("resolution", "pixel"), [(6.0, 2.0), (12.0, 2.0)])
def test_many_atoms_are_the_sum_of_their_gaussians(resolution, pixel):
    atoms = cloud(40, radius=15.0)
    values = density_map(atoms, resolution_angstrom=resolution, pixel_size_angstrom=pixel, size=30)
    expected = closed_form(atoms, resolution, pixel, 30)
    np.testing.assert_allclose(values, expected, atol=1e-6 * expected.max())


def test_axes_are_z_y_x():
    atoms = atoms_at([[0, 0, 0], [8, 0, 0], [0, 4, 0]], [60, 3, 3])
    values = density_map(atoms, resolution_angstrom=3, pixel_size_angstrom=1, size=32)
    x, y, _ = -centre_of_mass(atoms)
    assert values[16, 16 + round(y), 16 + round(x) + 8] > 0.1
    assert values[16, 16 + round(y) + 4, 16 + round(x)] > 0.1
    assert values[16 + 8, 16, 16] < 1e-3


def test_the_map_keeps_the_mass():
    atoms = cloud()
    for resolution, tolerance in ((6.0, 1e-4), (10.0, 1e-6)):
        values = density_map(atoms, resolution_angstrom=resolution, pixel_size_angstrom=2, size=36)
        mass = values.sum(dtype=np.float64) * 2.0**3
        assert mass == pytest.approx(atoms.weights.sum(), rel=tolerance)


@pytest.mark.parametrize("size", [32, 33])
def test_the_centre_of_mass_lies_on_the_origin_voxel(size):
    values = density_map(cloud(), resolution_angstrom=8, pixel_size_angstrom=2, size=size)
    values = values.astype(np.float64)
    for axis in range(3):
        profile = values.sum(axis=tuple({0, 1, 2} - {axis}))
        assert profile @ np.arange(size) / profile.sum() == pytest.approx(size // 2, abs=1e-3)


def test_moving_the_atoms_changes_nothing():
    atoms = cloud()
    offset = np.array([123.0, 4.0, -56.0])
    moved = atoms_at(atoms.positions_angstrom + offset, atoms.weights)
    first, second = (
        density_map(some, resolution_angstrom=6, pixel_size_angstrom=2, size=32)
        for some in (atoms, moved)
    )
    np.testing.assert_allclose(first, second, atol=1e-6 * first.max())


def test_the_width_is_that_of_molmap():
    assert gaussian_sigma(10.0) == pytest.approx(10 / (math.pi * math.sqrt(2)))


def test_atoms_outside_the_box_are_refused_with_the_size_that_would_do():
    atoms = cloud(radius=30.0)
    with pytest.raises(InputError, match="at least") as caught:
        density_map(atoms, resolution_angstrom=6, pixel_size_angstrom=2, size=24)
    size = int(str(caught.value).split("at least ")[1].split(",")[0])
    density_map(atoms, resolution_angstrom=6, pixel_size_angstrom=2, size=size)
    with pytest.raises(InputError):
        density_map(atoms, resolution_angstrom=6, pixel_size_angstrom=2, size=size - 2)


@pytest.mark.parametrize("bad", [0.0, -1.0, math.nan, math.inf])
def test_lengths_must_be_positive(bad):
    with pytest.raises(InputError, match="resolution must be a positive"):
        density_map(cloud(), resolution_angstrom=bad, pixel_size_angstrom=2, size=32)
    with pytest.raises(InputError, match="pixel size must be"):
        density_map(cloud(), resolution_angstrom=6, pixel_size_angstrom=bad, size=32)


def test_the_diameter_is_the_largest_distance():
    atoms = cloud(500)
    offsets = atoms.positions_angstrom[:, None] - atoms.positions_angstrom[None]
    assert largest_diameter(atoms) == pytest.approx(np.linalg.norm(offsets, axis=-1).max())


def test_the_diameter_of_few_or_flat_points_is_known_too():
    assert largest_diameter(atoms_at([[1, 2, 3]])) == 0
    assert largest_diameter(atoms_at([[0, 0, 0], [3, 4, 0]])) == 5
    square = [[0, 0, 0], [6, 0, 0], [0, 8, 0], [6, 8, 0], [1, 1, 0]]
    assert largest_diameter(atoms_at(square)) == 10


def test_the_diameter_of_a_map_leaves_out_specks_and_uses_each_axis_own_voxel():
    data = np.random.default_rng(0).normal(0, 0.02, (20, 24, 28)).astype(np.float32)
    data[5:15, 10, 10] = 1.0
    data[5:15, 11, 10] = 1.0
    data[1, 22, 26] = 1.0
    size = largest_diameter(DensityMap(data, (1.0, 2.0, 3.0), "rod", "made"))
    assert size == pytest.approx(math.hypot(9 * 3.0, 2.0))


def test_a_flat_map_holds_no_particle():
    for value in (0.0, 1.0, -1.0):
        data = np.full((8, 8, 8), value, dtype=np.float32)
        with pytest.raises(InputError, match="holds no particle"):
            largest_diameter(DensityMap(data, (1.0, 1.0, 1.0), "flat", "made"))
