import struct
from pathlib import Path

import mrcfile
import numpy as np
import pytest

from cryotwin.imaging.errors import InputError
from cryotwin.imaging.maps import read_map


def some_map(shape: tuple[int, ...] = (4, 5, 6), dtype=np.float32) -> np.ndarray:
    return np.arange(np.prod(shape)).reshape(shape).astype(dtype)


def write(path: Path, data: np.ndarray, **header) -> Path:
    """Writes a map of 2 A voxels and changes fields of its header."""
    with mrcfile.new(path, data, overwrite=True) as file:
        file.voxel_size = 2.0
        for name, value in header.items():
            file.header[name] = value
    return path


def patch(path: Path, offset: int, content: bytes) -> None:
    data = bytearray(path.read_bytes())
    data[offset : offset + len(content)] = content
    path.write_bytes(data)


def test_the_other_byte_order_is_read_with_or_without_its_stamp(tmp_path):
    data = some_map()
    path = write(tmp_path / "big.mrc", data.astype(">f4"))
    with mrcfile.open(path, permissive=True) as file:
        assert file.header.mode.dtype.byteorder == ">"
    for stamp in (None, b"\0\0\0\0", b"DA\0\0"):
        if stamp is not None:
            patch(path, 212, stamp)
        np.testing.assert_array_equal(read_map(path).data, data)


@pytest.mark.parametrize(("flags", "signed"), [(0, False), (1, True)])
def test_bytes_of_imod_have_a_sign_or_not_as_its_flags_say(tmp_path, flags, signed):
    data = some_map((4, 8, 8), np.int8)
    path = write(tmp_path / "imod.mrc", data)
    patch(path, 152, struct.pack("<2i", 1146047817, flags))
    np.testing.assert_array_equal(read_map(path).data, data if signed else data.view(np.uint8))


def test_an_extended_header_is_stepped_over(tmp_path):
    data = some_map()
    with mrcfile.new(tmp_path / "ext.mrc", data) as file:
        file.voxel_size = 2.0
        file.set_extended_header(np.full(3, b"X, Y, Z".ljust(80), dtype="S80"))
        file.header.exttyp = b"CCP4"
    np.testing.assert_array_equal(read_map(tmp_path / "ext.mrc").data, data)


def test_stacks_are_refused_for_what_they_are(tmp_path):
    with mrcfile.new(tmp_path / "images.mrc", some_map((7, 8, 8))) as file:
        file.set_image_stack()
        file.voxel_size = 2.0
    with pytest.raises(InputError, match="images.mrc is a stack of 7 images"):
        read_map(tmp_path / "images.mrc")
    with mrcfile.new(tmp_path / "volumes.mrc", some_map((3, 4, 5, 6))) as file:
        file.voxel_size = 2.0
    with pytest.raises(InputError, match="volumes.mrc is a stack of 3 volumes"):
        read_map(tmp_path / "volumes.mrc")


def test_a_map_without_a_space_group_is_a_map_where_its_header_counts_planes(tmp_path):
    data = some_map()
    path = write(tmp_path / "chimera.mrc", data, ispg=0)
    np.testing.assert_array_equal(read_map(path).data, data)


@pytest.mark.parametrize("angles", [(90, 90, 120), (80, 90, 90)])
def test_oblique_cells_are_refused_with_their_angles(tmp_path, angles):
    path = write(tmp_path / "oblique.map", some_map(), cellb=angles)
    shown = ", ".join(map(str, angles))
    with pytest.raises(InputError, match=f"angles of {shown} degrees"):
        read_map(path)


@pytest.mark.parametrize("angles", [(0, 0, 0), (90, 90, 90), (90.01, 89.99, 90)])
def test_right_angles_may_be_unset_or_rounded(tmp_path, angles):
    assert read_map(write(tmp_path / "right.map", some_map(), cellb=angles)).data.shape == (4, 5, 6)


def test_a_grid_that_is_finer_than_the_box_gives_the_voxel(tmp_path):
    # A map of a part of the crystal's cell: MX intervals in the cell, NX voxels in the file.
    path = write(tmp_path / "part.map", some_map(), mx=12, my=10, mz=8, cella=(24.0, 30.0, 32.0))
    assert read_map(path).voxel_size_angstrom == (2.0, 3.0, 4.0)


def test_intervals_that_are_not_set_are_the_voxels(tmp_path):
    path = write(tmp_path / "unset.map", some_map(), mx=0, my=0, mz=0)
    assert read_map(path).voxel_size_angstrom == pytest.approx((2.0, 2.0, 2.0))


def test_the_origin_is_reported_from_either_field(tmp_path):
    origin = write(tmp_path / "origin.map", some_map(), origin=(10.0, 20.0, 30.0))
    assert read_map(origin).report["origin_angstrom"] == [10, 20, 30]
    start = write(tmp_path / "start.map", some_map(), nxstart=-3, nystart=-2, nzstart=-1)
    assert read_map(start).report["origin_angstrom"] == [-6, -4, -2]


@pytest.mark.parametrize("mode", [3, 5, 101])
def test_a_mode_that_cannot_be_read_is_quoted(tmp_path, mode):
    path = write(tmp_path / "mode.map", some_map())
    patch(path, 12, struct.pack("<i", mode))
    with pytest.raises(InputError, match=rf"expected one of 0, 1, 2, 4, 6, 12, not {mode}"):
        read_map(path)
