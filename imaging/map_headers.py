"""The header of an MRC or CCP4 map: what kind of file it is, its axes and its voxels."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import numpy as np
from mrcfile.mrcinterpreter import MrcInterpreter
from numpy.typing import NDArray

from cryotwin.imaging.errors import InputError

VOLUME_STACKS = range(401, 631)
"""ISPG of a file that holds several volumes."""

IMOD_STAMP = 1146047817
"""IMOD's mark in the header, next to it flags: bytes have a sign where bit 0 is set."""

IMOD_WORDS = slice(10, 12)
"""Where they lie in the part of the header that mrcfile calls extra2 (bytes 153 to 160)."""

MODES = (0, 1, 2, 4, 6, 12)

LARGEST_SKEW_DEGREES = 0.1
"""An angle of the cell counts as right within this."""


@dataclass(frozen=True)
class MapContent:
    """A map's values and what its header says.

    Attributes:
        data: (z, y, x) float32, the axes put in order.
        voxel_size_angstrom: x, y, z; not checked.
        origin_angstrom: x, y, z of the first voxel, by ORIGIN or else NSTART.
        stored_axes: the file's axes from the fastest to the slowest, such as "xyz".
    """

    data: NDArray[np.float32]
    voxel_size_angstrom: tuple[float, float, float]
    origin_angstrom: tuple[float, float, float]
    stored_axes: str


def interpret_map(content: bytes, where: str) -> MapContent:
    """Reads the bytes of an MRC file that should be one real map.

    Args:
        content: not compressed.
        where: the file, for messages.

    Raises:
        InputError: not a map, cut short, complex, an image, a stack of images or of volumes, a
            cell with oblique angles, or impossible axes.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # permissive: small faults of the header are common
            file = MrcInterpreter(iostream=BytesIO(_stamped(content)), permissive=True)
    except (ValueError, EOFError, RuntimeError, OverflowError, MemoryError) as error:
        raise InputError(f"{where} is not an MRC or CCP4 map: {error}") from None
    if file.data is None and int(file.header.mode) not in MODES:
        raise InputError(
            f"{where} is not an MRC or CCP4 map of a mode that can be read: expected one of "
            f"{', '.join(map(str, MODES))}, not {int(file.header.mode)}"
        )
    if file.data is None:
        raise InputError(f"{where} is cut short or is not an MRC or CCP4 map")
    data, header = _signed(file.data, file.header), file.header
    _check_single_map(data, header, where)
    _check_right_angles(header, where)
    axes = _axes(header, where)
    intervals = _intervals(header, data.shape, axes)
    cell = (float(header.cella.x), float(header.cella.y), float(header.cella.z))
    x, y, z = (length / count for length, count in zip(cell, intervals, strict=True))
    ordered = data.transpose([axes.index(axis) for axis in (3, 2, 1)])
    return MapContent(
        data=np.ascontiguousarray(ordered, dtype=np.float32),
        voxel_size_angstrom=(x, y, z),
        origin_angstrom=_origin(header, axes, (x, y, z)),
        stored_axes="".join("xyz"[axis - 1] for axis in reversed(axes)),
    )


def _stamped(content: bytes) -> bytes:
    """Sets the machine stamp, which some programs leave empty, by the byte order of MAPC."""
    field = content[64:68]
    for order, stamp in (("little", b"DA"), ("big", b"\x11\x11")):
        if int.from_bytes(field, order) in (1, 2, 3):  # type: ignore[arg-type]
            return content[:212] + stamp + content[214:]
    return content


def _signed(data: NDArray[Any], header: Any) -> NDArray[Any]:
    """Takes bytes with a sign, or without one as IMOD's older files mean them."""
    words = np.frombuffer(bytes(header.extra2), dtype=header.mode.dtype)
    stamp, flags = words[IMOD_WORDS]
    unsigned = data.dtype == np.int8 and stamp == IMOD_STAMP and not flags & 1
    return data.view(np.uint8) if unsigned else data


def _check_single_map(data: NDArray[Any], header: Any, where: str) -> None:
    if data.ndim == 4 or int(header.ispg) in VOLUME_STACKS:
        raise InputError(f"{where} is a stack of {len(data)} volumes: expected a single map")
    if data.ndim == 3 and int(header.ispg) == 0 and int(header.mz) == 1 and len(data) > 1:
        raise InputError(f"{where} is a stack of {len(data)} images (MZ is 1): expected a map")
    if data.ndim != 3 or np.iscomplexobj(data) or min(data.shape) < 2:
        raise InputError(
            f"{where}: expected a real map with three axes, not {data.dtype} of shape {data.shape}"
        )


def _check_right_angles(header: Any, where: str) -> None:
    angles = [float(getattr(header.cellb, name)) for name in ("alpha", "beta", "gamma")]
    oblique = [abs(angle - 90) > LARGEST_SKEW_DEGREES for angle in angles]
    if any(angles) and any(oblique):
        shown = ", ".join(f"{angle:g}" for angle in angles)
        raise InputError(
            f"{where}: its cell has angles of {shown} degrees, expected a map on a grid of right "
            "angles"
        )


def _axes(header: Any, where: str) -> tuple[int, int, int]:
    """Gives MAPS, MAPR, MAPC: 1, 2, 3 are x, y, z, from the slowest axis to the fastest."""
    axes = (int(header.maps), int(header.mapr), int(header.mapc))
    if axes == (0, 0, 0):
        return (3, 2, 1)
    if sorted(axes) != [1, 2, 3]:
        raise InputError(
            f"{where}: MAPC, MAPR, MAPS must be 1, 2 and 3 in some order, not "
            f"{', '.join(map(str, reversed(axes)))}"
        )
    return axes


def _intervals(header: Any, shape: Sequence[int], axes: Sequence[int]) -> list[int]:
    """Gives MX, MY, MZ; where one is not set, the number of voxels along that axis."""
    lengths = dict(zip(axes, shape, strict=True))
    given = [int(header.mx), int(header.my), int(header.mz)]
    return [count if count > 0 else lengths[axis] for axis, count in enumerate(given, start=1)]


def _origin(
    header: Any, axes: Sequence[int], voxel_size: Sequence[float]
) -> tuple[float, float, float]:
    given = (float(header.origin.x), float(header.origin.y), float(header.origin.z))
    if any(given):
        return given
    starts = (int(header.nzstart), int(header.nystart), int(header.nxstart))
    first = dict(zip(axes, starts, strict=True))  # NXSTART goes with the columns, not with x
    x, y, z = (first[axis] * size for axis, size in enumerate(voxel_size, start=1))
    return (x, y, z)
