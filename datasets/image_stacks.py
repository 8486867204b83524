"""Image stacks (.mrcs): the frames that are needed, read through a memory map, and written."""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import mrcfile
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from cryotwin.imaging.atomic import atomic_output
from cryotwin.imaging.errors import InputError, one_line

Array = NDArray[np.floating]

AS_STACK = ":mrcs"
"""What RELION takes at the end of a file's name for "an image stack, whatever it is called"."""

_FRAMES_AT_ONCE = 500


def parse_image_name(name: str) -> tuple[int, str]:
    """Splits RELION's "000012@stack.mrcs" into the frame, counted from 0, and the stack.

    A name without "@" is a file of a single image. "stack.mrc:mrcs" is how RELION is told that an
    .mrc file is a stack; the file is "stack.mrc".

    Raises:
        InputError: when the part before "@" is not a number from 1 on.
    """
    number, at, stack = name.partition("@")
    if not at:
        return 0, name
    if not number.isdigit() or int(number) < 1:
        raise InputError(f"image name {name!r} must be like '000001@stack.mrcs', counted from 1")
    return int(number) - 1, stack.removesuffix(AS_STACK)


def format_image_name(frame: int, stack: str | Path) -> str:
    """Joins a frame, counted from 0, and a stack into RELION's "000001@stack.mrcs"."""
    return f"{frame + 1:06d}@{stack}"


def find_stack(stack: str, folder: Path, *, current: bool = True) -> Path | None:
    """Finds a stack that is named in a file lying in `folder`.

    RELION names stacks relative to its project folder, which lies somewhere above; others name
    them relative to the file. So: `folder`, each folder above it, then, if `current`, the current
    folder, where nobody may work tomorrow.
    """
    folder = folder.resolve()
    for base in (folder, *folder.parents, *([Path.cwd()] if current else [])):
        candidate = base / stack
        if candidate.is_file():
            return candidate
    return None


def read_frames(
    frames: Sequence[tuple[int, str]], *, listed_in: Path
) -> tuple[Array, dict[str, Path]]:
    """Reads single frames out of stacks.

    Args:
        frames: P pairs of a frame, counted from 0, and the stack's name.
        listed_in: the file that names them, for the search and for messages.

    Returns:
        Images (P, N, N) float32 in the order of `frames`, and the file that each stack was
        found as.

    Raises:
        InputError: when a stack is missing or damaged, a frame is not there, or images are not
            square, not of one size, or hold NaN or infinity.
    """
    rows: dict[str, list[int]] = {}
    for row, (_, stack) in enumerate(frames):
        rows.setdefault(stack, []).append(row)
    found = _find_stacks(list(rows), listed_in)
    images: Array | None = None
    with tqdm(total=len(frames), desc="reading images", delay=2, disable=None) as progress:
        for stack, members in rows.items():
            with _open_stack(found[stack]) as data:
                size = _square_size(data, found[stack])
                if images is None:
                    images = np.empty((len(frames), size, size), np.float32)
                if size != images.shape[1]:
                    raise InputError(
                        f"{listed_in}: images must have one size, {found[stack]} has {size} px "
                        f"and others have {images.shape[1]} px"
                    )
                for start in range(0, len(members), _FRAMES_AT_ONCE):
                    part = members[start : start + _FRAMES_AT_ONCE]
                    wanted = [frames[row][0] for row in part]
                    images[part] = _take(data, wanted, found[stack], listed_in)
                    progress.update(len(part))
    if images is None:
        raise InputError(f"{listed_in}: no particles in it, at least one was expected")
    return images, found


def read_stack(path: str | Path) -> tuple[Array, float]:
    """Reads a whole stack.

    Returns:
        Images (P, N, N) float32 and the pixel size in angstrom from the header.

    Raises:
        InputError: as `read_frames`, and when the header has no pixel size.
    """
    path = Path(path)
    with _opened(path) as mrc:
        pixel_size = float(mrc.voxel_size.x)
        data = _frames_of(mrc, path)
        _square_size(data, path)
        if not pixel_size > 0:
            raise InputError(
                f"{path}: its header has no pixel size ({pixel_size:g}); give a .star file that "
                "has one, or set it with mrcfile's voxel_size"
            )
        count = len(data)
    images, _ = read_frames([(frame, path.name) for frame in range(count)], listed_in=path)
    return images, pixel_size


def write_stack(path: str | Path, images: Array, pixel_size_angstrom: float) -> None:
    """Writes images (P, N, N) as a float32 .mrcs image stack, whole or not at all."""
    with atomic_output(path) as temporary, mrcfile.new(temporary, overwrite=True) as mrc:
        mrc.set_data(np.asarray(images, dtype=np.float32))
        mrc.set_image_stack()
        mrc.voxel_size = pixel_size_angstrom


def _find_stacks(stacks: list[str], listed_in: Path) -> dict[str, Path]:
    found = {stack: find_stack(stack, listed_in.parent) for stack in stacks}
    missing = [stack for stack, path in found.items() if path is None]
    if missing:
        others = f" and {len(missing) - 1} more stacks" if len(missing) > 1 else ""
        raise InputError(
            f"{listed_in}: image stack {missing[0]!r}{others} not found in its folder, in the "
            "folders above it, or in the current one"
        )
    return {stack: path for stack, path in found.items() if path is not None}


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """Opens an MRC file as a memory map; headers that programs are lax about are let pass."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            mrc = mrcfile.mmap(path, mode="r", permissive=True)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file, an image stack was expected") from None
    except (ValueError, OverflowError) as error:
        raise InputError(f"{path}: not a whole MRC stack ({one_line(error)})") from error
    with mrc:
        yield mrc


@contextmanager
def _open_stack(path: Path) -> Iterator[NDArray[Any]]:
    with _opened(path) as mrc:
        yield _frames_of(mrc, path)


def _frames_of(mrc: Any, path: Path) -> NDArray[Any]:
    data: NDArray[Any] | None = mrc.data
    if data is None or data.ndim not in (2, 3) or data.dtype.kind not in "iuf":
        raise InputError(f"{path}: not a whole MRC stack of real images")
    return data[None] if data.ndim == 2 else data


def _square_size(data: NDArray[Any], path: Path) -> int:
    count, height, width = data.shape
    if count == 0 or height != width:
        raise InputError(
            f"{path}: images must be square, not {width} x {height} px ({count} of them)"
        )
    return int(width)


def _take(data: NDArray[Any], frames: list[int], path: Path, listed_in: Path) -> Array:
    if max(frames) >= len(data):
        raise InputError(
            f"{listed_in}: image {max(frames) + 1} of {path} is listed, but that stack has "
            f"{len(data)} images"
        )
    images = np.asarray(data[frames], dtype=np.float32)
    broken = ~np.isfinite(images).all(axis=(1, 2))
    if broken.any():
        number = frames[int(np.argmax(broken))] + 1
        raise InputError(
            f"{path}: image {number} holds NaN or infinity, finite values were expected"
        )
    return images
