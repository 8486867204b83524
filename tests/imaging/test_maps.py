import gzip
import math
from pathlib import Path

import mrcfile
import numpy as np
import pytest

from cryotwin.imaging.errors import InputError
from cryotwin.imaging.maps import DensityMap, read_map, resample_map, write_map
from cryotwin.imaging.structures import read_structure


def noise(shape: tuple[int, ...] = (5, 6, 7)) -> np.ndarray:
    return np.random.default_rng(1).standard_normal(shape).astype(np.float32)


def write_mrc(path: Path, data: np.ndarray, voxel=2.0, axes: tuple[int, int, int] = (1, 2, 3)):
    """Writes data as it lies in the file; `axes` are MAPC, MAPR, MAPS and `voxel` is x, y, z."""
    voxel = np.broadcast_to(np.asarray(voxel, dtype=float), 3)
    with mrcfile.new(path, data, overwrite=True) as file:
        header = file.header
        header.mapc, header.mapr, header.maps = axes
        lengths = dict(zip(axes, reversed(data.shape), strict=True))
        header.mx, header.my, header.mz = (lengths[axis] for axis in (1, 2, 3))
        header.cella = tuple(lengths[axis] * voxel[axis - 1] for axis in (1, 2, 3))


def blob(shape, voxel, centre, sigma) -> DensityMap:
    """A Gaussian at `centre` (x, y, z) angstrom from the first voxel, in a map (z, y, x)."""
    z, y, x = (np.arange(n) * v for n, v in zip(shape, reversed(voxel), strict=True))
    cx, cy, cz = centre
    squared = (z - cz)[:, None, None] ** 2 + (y - cy)[:, None] ** 2 + (x - cx) ** 2
    return DensityMap(
        np.exp(-squared / (2 * sigma**2)).astype(np.float32), tuple(voxel), "blob", "made"
    )


@pytest.mark.parametrize("name", ["volume.mrc", "volume.mrc.gz"])
def test_a_map_comes_back_as_it_was_written(tmp_path, name):
    volume = noise()
    write_map(tmp_path / name, volume, 1.7)
    read = read_structure(str(tmp_path / name))
    assert isinstance(read, DensityMap)
    np.testing.assert_array_equal(read.data, volume)
    assert read.voxel_size_angstrom == pytest.approx((1.7, 1.7, 1.7))
    assert read.name == "volume"
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_written_map_has_its_middle_at_the_origin_of_space(tmp_path):
    write_map(tmp_path / "volume.mrc", noise((4, 6, 9)), 2.0)
    with mrcfile.open(tmp_path / "volume.mrc") as file:
        origin = file.header.origin
        assert (float(origin.x), float(origin.y), float(origin.z)) == (-8.0, -6.0, -4.0)
        assert file.is_volume()
    assert mrcfile.validate(tmp_path / "volume.mrc")


@pytest.mark.parametrize("axes", [(1, 2, 3), (1, 3, 2), (2, 1, 3), (2, 3, 1), (3, 1, 2), (3, 2, 1)])
def test_permuted_axes_are_put_in_order(tmp_path, axes):
    volume = noise()
    # The file's axes from slowest to fastest are MAPS, MAPR, MAPC; 1 is x, the volume's last.
    stored = volume.transpose([3 - axis for axis in reversed(axes)])
    write_mrc(tmp_path / "permuted.map", np.ascontiguousarray(stored), (1.0, 2.0, 3.0), axes)
    read = read_map(tmp_path / "permuted.map")
    np.testing.assert_array_equal(read.data, volume)
    assert read.voxel_size_angstrom == pytest.approx((1.0, 2.0, 3.0))


@pytest.mark.parametrize("dtype", [np.int8, np.int16, np.uint16, np.float16])
def test_every_real_mode_becomes_float32(tmp_path, dtype):
    data = np.arange(60, dtype=dtype).reshape(3, 4, 5)
    write_mrc(tmp_path / "small.mrc", data)
    read = read_map(tmp_path / "small.mrc")
    assert read.data.dtype == np.float32
    np.testing.assert_array_equal(read.data, data)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_values_that_are_not_finite_are_refused(tmp_path, bad):
    data = noise()
    data[1, 2, 3] = bad
    write_mrc(tmp_path / "holes.mrc", data)
    with pytest.raises(InputError, match=r"holes\.mrc: values must be finite, 1 are NaN"):
        read_map(tmp_path / "holes.mrc")
    with pytest.raises(InputError, match="finite"):
        write_map(tmp_path / "out.mrc", data, 1.0)
    assert not (tmp_path / "out.mrc").exists()


def test_a_map_without_a_voxel_size_is_refused(tmp_path):
    write_mrc(tmp_path / "none.mrc", noise(), 0.0)
    with pytest.raises(InputError, match="voxel size must be positive, not 0 x 0 x 0"):
        read_map(tmp_path / "none.mrc")


def test_impossible_axes_are_refused(tmp_path):
    write_mrc(tmp_path / "axes.mrc", noise())
    with mrcfile.open(tmp_path / "axes.mrc", mode="r+") as file:
        file.header.mapc = 2
    with pytest.raises(InputError, match="not 2, 2, 3"):
        read_map(tmp_path / "axes.mrc")


def test_an_image_or_a_complex_map_is_refused(tmp_path):
    for data in (noise((6, 7)), noise().astype(np.complex64)):
        with mrcfile.new(tmp_path / "other.mrc", data, overwrite=True) as file:
            file.voxel_size = 1.0
        with pytest.raises(InputError, match="expected a real map with three axes"):
            read_map(tmp_path / "other.mrc")


def test_a_map_that_is_cut_short_is_refused(tmp_path):
    write_map(tmp_path / "whole.mrc", noise(), 1.0)
    content = (tmp_path / "whole.mrc").read_bytes()
    (tmp_path / "part.mrc").write_bytes(content[:-100])
    (tmp_path / "part.mrc.gz").write_bytes(gzip.compress(content)[:-100])
    with pytest.raises(InputError, match="cut short"):
        read_map(tmp_path / "part.mrc")
    with pytest.raises(InputError, match="truncated or damaged gzip"):
        read_map(tmp_path / "part.mrc.gz")


@pytest.mark.parametrize("size", [32, 33])
@pytest.mark.parametrize("pixel", [1.3, 2.0, 2.9])
def test_a_resampled_gaussian_is_the_gaussian_on_the_new_grid(size, pixel):
    sigma = 4.5
    old = blob((40, 33, 36), (2.0, 1.8, 2.1), (37.3, 28.9, 41.7), sigma)
    new = resample_map(old, pixel_size_angstrom=pixel, size=size)
    grid = (np.arange(size) - size // 2) * pixel
    squared = grid[:, None, None] ** 2 + grid[:, None] ** 2 + grid**2
    expected = np.exp(-squared / (2 * sigma**2))
    assert new.dtype == np.float32
    np.testing.assert_allclose(new, expected, atol=1e-4)


@pytest.mark.parametrize("pixel", [0.7, 1.0, 2.2, 3.0, 4.0])
def test_very_anisotropic_voxels_are_resampled_to_the_analytic_gaussian(pixel):
    """From 1 x 2 x 3 A, finer and coarser, on any part of a voxel: exact to the Gaussian's tail.

    Beyond the coarser grid's Nyquist frequency the Gaussian's transform is cut off, which is
    what the tolerance at 4 A allows.
    """
    sigma = 5.0
    old = blob((30, 42, 77), (1.0, 2.0, 3.0), (37.4, 41.3, 44.9), sigma)
    new = resample_map(old, pixel_size_angstrom=pixel, size=2 * math.ceil(21 / pixel))
    grid = (np.arange(len(new)) - len(new) // 2) * pixel
    squared = grid[:, None, None] ** 2 + grid[:, None] ** 2 + grid**2
    expected = np.exp(-squared / (2 * sigma**2))
    np.testing.assert_allclose(new, expected, atol=3e-4 if pixel == 4 else 5e-5)


def test_resampling_keeps_the_mass():
    old = blob((40, 33, 36), (2.0, 1.8, 2.1), (37.3, 28.9, 41.7), 4.5)
    mass = old.data.sum(dtype=np.float64) * 2.0 * 1.8 * 2.1
    for pixel in (1.5, 2.5, 4.0):
        new = resample_map(old, pixel_size_angstrom=pixel, size=48)
        assert new.sum(dtype=np.float64) * pixel**3 == pytest.approx(mass, rel=1e-4)


def test_resampling_on_the_same_grid_moves_whole_voxels_only():
    data = np.zeros((16, 16, 16), dtype=np.float32)
    data[4:7, 5:10, 6:9] = 1.0
    new = resample_map(
        DensityMap(data, (3.0, 3.0, 3.0), "brick", "made"), pixel_size_angstrom=3.0, size=20
    )
    expected = np.zeros((20, 20, 20))
    expected[9:12, 8:13, 9:12] = 1.0
    np.testing.assert_allclose(new, expected, atol=1e-5)


def test_a_particle_that_does_not_fit_is_refused_with_the_size_that_would_do():
    data = np.zeros((40, 40, 40), dtype=np.float32)
    data[5:35, 19:22, 19:22] = 1.0
    rod = DensityMap(data, (2.0, 2.0, 2.0), "rod", "made")
    with pytest.raises(InputError, match="rod does not fit into a box of 20") as caught:
        resample_map(rod, pixel_size_angstrom=2.0, size=20)
    size = int(str(caught.value).split("at least ")[1].split(",")[0])
    assert size == 30
    resample_map(rod, pixel_size_angstrom=2.0, size=size)
    with pytest.raises(InputError):
        resample_map(rod, pixel_size_angstrom=2.0, size=size - 2)


def test_a_map_without_positive_density_has_no_centre():
    empty = DensityMap(-np.ones((8, 8, 8), dtype=np.float32), (1.0, 1.0, 1.0), "hole", "made")
    with pytest.raises(InputError, match="positive"):
        resample_map(empty, pixel_size_angstrom=1.0, size=8)
