"""A dataset folder as a RELION 3.1 .star file with its image stacks."""

import itertools
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import starfile
from numpy.typing import NDArray
from tqdm import tqdm

from cryotwin.datasets.folder import (
    METADATA_FILE,
    DatasetFolder,
    check_split,
    decoded,
    read_batches,
)
from cryotwin.datasets.image_stacks import format_image_name, write_stack
from cryotwin.datasets.relion_columns import relion_tables
from cryotwin.datasets.star_tables import SPLIT_COLUMN
from cryotwin.imaging.atomic import atomic_output, output_folder
from cryotwin.imaging.errors import InputError

STACK_BYTES = 64 * 2**20
"""A stack has at most so many bytes of images, unless told otherwise: bounds the memory."""

_DIGITS = "%.12g"


def export_star(
    folder: DatasetFolder,
    path: str | Path,
    *,
    splits: Sequence[str],
    particles_per_stack: int | None = None,
) -> int:
    """Writes splits of a dataset as a .star file and .mrcs stacks beside it.

    Stacks are named after the .star file, as in particles_train_000001.mrcs, and so are copies of
    the dataset's cryotwin.json and volumes, which `folder_writing.import_particles` takes back.
    All are written elsewhere first; the .star file takes its place last.

    Args:
        folder: the dataset.
        path: the .star file; one that is there is replaced.
        splits: which splits, in this order.
        particles_per_stack: at most so many images in a stack; 64 MiB of them when None.

    Returns:
        The number of particles.

    Raises:
        InputError: no such split, a dataset without images, or a damaged shard.
    """
    path = Path(path)
    for split in splits:
        check_split(folder, split)
    missing = {"image", "key", "pixel_size_angstrom"} - set(folder.fields)
    if missing:
        raise InputError(
            f"{folder.path}: a dataset of particle images was expected, its examples have no "
            f"{sorted(missing)[0]!r}"
        )
    with (
        output_folder(path.parent),
        tempfile.TemporaryDirectory(prefix=".partial-", dir=path.parent) as name,
    ):
        staging = Path(name)
        tables = _write_stacks(folder, staging, path.stem, splits, particles_per_stack)
        _copy_metadata(folder, staging, path)
        _remove_old(path)
        for written in sorted(staging.iterdir()):
            written.replace(path.parent / written.name)
        with atomic_output(path) as temporary:
            starfile.write(tables, temporary, float_format=_DIGITS)
    return len(tables["particles"])


def metadata_path(path: Path) -> Path:
    """Names the copy of a dataset's cryotwin.json beside a .star file."""
    return path.with_name(f"{path.stem}.{METADATA_FILE}")


def volumes_path(path: Path) -> Path:
    """Names the folder with copies of a dataset's volumes beside a .star file."""
    return path.with_name(f"{path.stem}_volumes")


def _write_stacks(
    folder: DatasetFolder,
    staging: Path,
    stem: str,
    splits: Sequence[str],
    particles_per_stack: int | None,
) -> dict[str, pd.DataFrame]:
    """Writes the images and gives the tables for the .star file."""
    rows: list[dict[str, NDArray[Any]]] = []
    names: list[str] = []
    size = 0
    total = sum(folder.split_sizes[split] for split in splits)
    with tqdm(total=total, desc="convert", unit=" particles", delay=2, disable=None) as bar:
        for split in splits:
            count = folder.split_sizes[split]
            per_stack = particles_per_stack or max(1, STACK_BYTES // _image_bytes(folder, split))
            stacks = (f"{stem}_{split}_{number:06d}.mrcs" for number in itertools.count(1))
            for batch in read_batches(folder, split, count=count, size=per_stack):
                images = batch.pop("image")
                size = images.shape[-1]
                names += _write_batch(images, batch["pixel_size_angstrom"], staging, stacks)
                rows.append(batch | {"split": np.full(len(images), split)})
                bar.update(len(images))
    if not names:
        raise InputError(f"{folder.path}: no particles in {', '.join(splits)}")
    fields = {name: decoded(np.concatenate([row[name] for row in rows])) for name in rows[0]}
    optics, table = relion_tables(fields, size)
    table.insert(0, "rlnImageName", names)
    return {"optics": optics, "particles": table.assign(**{SPLIT_COLUMN: fields["split"]})}


def _write_batch(
    images: NDArray[np.float32],
    pixel_sizes: NDArray[np.floating],
    staging: Path,
    stacks: Iterator[str],
) -> list[str]:
    """Writes a stack for each pixel size, for its header has one; gives each image's name."""
    names = [""] * len(images)
    for pixel_size in dict.fromkeys(pixel_sizes.tolist()):
        stack = next(stacks)
        rows = np.flatnonzero(pixel_sizes == pixel_size)
        write_stack(staging / stack, images[rows], pixel_size)
        for frame, row in enumerate(rows):
            names[row] = format_image_name(frame, stack)
    return names


def _image_bytes(folder: DatasetFolder, split: str) -> int:
    """Measures one image of a split, or gives 1 when it is empty."""
    for batch in read_batches(folder, split, count=1):
        return int(batch["image"].nbytes)
    return 1


def _copy_metadata(folder: DatasetFolder, staging: Path, path: Path) -> None:
    if folder.metadata:
        shutil.copyfile(folder.path / METADATA_FILE, staging / metadata_path(path).name)
    for entry in folder.metadata.get("structures", []):
        volume = folder.volume_path(entry["name"])
        if volume is not None and volume.is_file():
            target = staging / volumes_path(path).name
            target.mkdir(exist_ok=True)
            shutil.copyfile(volume, target / volume.name)


def _remove_old(path: Path) -> None:
    """Removes what an earlier export under this name wrote; the .star file goes first."""
    path.unlink(missing_ok=True)
    metadata_path(path).unlink(missing_ok=True)
    for stack in path.parent.glob(f"{path.stem}_*_[0-9][0-9][0-9][0-9][0-9][0-9].mrcs"):
        stack.unlink()
    for volume in volumes_path(path).glob("*.mrc"):
        volume.unlink()
    if volumes_path(path).is_dir():
        volumes_path(path).rmdir()
