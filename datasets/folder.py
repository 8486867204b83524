"""The dataset folder: its file names, its metadata, and quick loading into memory.

A folder holds features.json and dataset_info.json (tfds's own), TFRecord shards, cryotwin.json
(how it was made) and volumes/*.mrc (the true maps). `tfds.builder_from_directory` opens it
without this package. features.json is moved in last, so an unfinished folder has none.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cryotwin.datasets.example_reading import read_examples
from cryotwin.datasets.quiet_imports import import_tfds
from cryotwin.datasets.schema import DATASET_NAME, VERSION
from cryotwin.imaging.errors import InputError

FEATURES_FILE = "features.json"
INFO_FILE = "dataset_info.json"
METADATA_FILE = "cryotwin.json"

_BATCH = 256


@dataclass(frozen=True)
class DatasetFolder:
    """A finished dataset on disk.

    Attributes:
        path: the folder.
        metadata: what cryotwin.json says; empty when the folder has none.
        split_sizes: examples in each split.
        fields: names of the fields of an example.
    """

    path: Path
    metadata: dict[str, Any]
    split_sizes: dict[str, int]
    fields: tuple[str, ...]

    def volume_path(self, structure: str | None = None) -> Path | None:
        """Finds the true map of a structure, or of the only one; None when there is none."""
        structures = self.metadata.get("structures", [])
        if structure is None and len(structures) != 1:
            return None
        for entry in structures:
            if structure in (None, entry["name"]) and entry.get("volume"):
                return self.path / str(entry["volume"])
        return None


def is_dataset_folder(path: str | Path) -> bool:
    """Tells whether a folder looks like a finished dataset."""
    return (Path(path) / FEATURES_FILE).is_file()


def open_folder(path: str | Path) -> DatasetFolder:
    """Reads the metadata of a dataset folder; needs no TensorFlow.

    Raises:
        InputError: it is no dataset folder, or its metadata cannot be read.
    """
    path = Path(path)
    if not is_dataset_folder(path):
        raise InputError(
            f"{path} is not a dataset folder: no {FEATURES_FILE}; "
            "expected a folder written by cryotwin generate"
        )
    info = _read_json(path / INFO_FILE)
    features = _read_json(path / FEATURES_FILE)
    metadata = _read_json(path / METADATA_FILE) if (path / METADATA_FILE).exists() else {}
    try:
        sizes = {
            split["name"]: sum(int(length) for length in split["shardLengths"])
            for split in info["splits"]
        }
        fields = tuple(features["featuresDict"]["features"])
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{path} is not a dataset folder that cryotwin can read: its {INFO_FILE} and "
            f"{FEATURES_FILE} do not describe splits and features"
        ) from error
    return DatasetFolder(path=path, metadata=metadata, split_sizes=sizes, fields=fields)


def load_split(
    folder: str | Path | DatasetFolder, split: str, *, limit: int | None = None
) -> dict[str, NDArray[Any]]:
    """Loads one split of a dataset into memory, in the order of its shards.

    Args:
        folder: a dataset folder.
        split: "train", "validation" or "test".
        limit: take only so many examples from the start.

    Returns:
        For each field an array whose first axis is the example: `image` (P, N, N) float32,
        `quaternion` (P, 4), `key` (P,) of str, and so on; nested fields are joined by a slash,
        as in `ctf/voltage_kv`.

    Raises:
        InputError: no such folder or split, or a shard is missing, truncated or damaged.
    """
    if not isinstance(folder, DatasetFolder):
        folder = open_folder(folder)
    check_split(folder, split)
    count = folder.split_sizes[split]
    if limit is not None:
        if limit < 1:
            raise InputError(f"limit must be at least 1, not {limit}")
        count = min(count, limit)
    return _gather(read_batches(folder, split, count=count), count, folder.path, split)


def check_split(folder: DatasetFolder, split: str) -> None:
    """Raises InputError when a dataset has no such split."""
    if split not in folder.split_sizes:
        names = ", ".join(repr(name) for name in folder.split_sizes)
        raise InputError(f"split of {folder.path} must be one of {names}, not {split!r}")


def read_batches(
    folder: DatasetFolder, split: str, *, count: int, size: int = _BATCH
) -> Iterator[dict[str, NDArray[Any]]]:
    """Yields the first `count` examples of a split in the order of its shards, `size` at a time.

    Each batch has the fields of `load_split`, but strings are bytes.

    Raises:
        InputError: a shard is missing, truncated or damaged.
    """
    with told_as_damage(folder.path, split):
        examples = islice(read_examples(folder.path, split), count)
        while batch := list(islice(examples, size)):
            yield stacked_fields(batch)


def stacked_fields(examples: Sequence[Mapping[str, Any]]) -> dict[str, NDArray[Any]]:
    """Makes one array of each field of some examples, at least one; strings stay bytes."""
    return {name: _stacked([example[name] for example in examples]) for name in examples[0]}


@contextmanager
def told_as_damage(path: Path, split: str, *kinds: type[Exception]) -> Iterator[None]:
    """Turns what is raised for a bad shard, errors of `kinds` included, into one line."""
    damage: tuple[type[Exception], ...] = (OSError, ValueError, KeyError, *kinds)
    try:
        yield
    except damage as error:
        if isinstance(error, InputError):
            raise
        raise InputError(
            f"split {split!r} of {path} cannot be read: a shard is missing, truncated or "
            f"damaged ({_without_internals(_first_line(error))})"
        ) from error


def _gather(batches: Any, count: int, path: Path, split: str) -> dict[str, NDArray[Any]]:
    """Fills arrays of `count` examples from batches; strings become str."""
    arrays: dict[str, NDArray[Any]] = {}
    filled = 0
    for flat in batches:
        if not arrays:
            arrays = {
                name: np.empty((count, *values.shape[1:]), dtype=values.dtype)
                for name, values in flat.items()
            }
        length = len(next(iter(flat.values())))
        for name, values in flat.items():
            arrays[name][filled : filled + length] = values
        filled += length
    if filled != count:
        raise InputError(
            f"split {split!r} of {path} holds {filled} examples where its metadata says {count}"
        )
    return {name: decoded(values) for name, values in arrays.items()}


def decoded(values: NDArray[Any]) -> NDArray[Any]:
    """Turns an array of bytes, as TensorFlow has strings, into one of str."""
    if values.dtype != object:
        return values
    return np.array([value.decode() for value in values])


def _stacked(values: list[Any]) -> NDArray[Any]:
    """Makes one array of the values of a field; strings stay objects."""
    if isinstance(values[0], bytes):
        return np.array(values, dtype=object)
    return np.stack(values)


def shard_name(split: str, shard: int, shards: int) -> str:
    """Names a shard as tfds does: cryotwin-train.tfrecord-00000-of-00002."""
    return f"{DATASET_NAME}-{split}.tfrecord-{shard:05d}-of-{shards:05d}"


def write_dataset_metadata(
    folder: Path,
    *,
    features: Any,
    shard_lengths: Mapping[str, Sequence[int]],
    description: str,
    citation: str | None = None,
) -> None:
    """Writes features.json and dataset_info.json beside shards that are complete.

    Args:
        folder: holds the shards, named by `shard_name`.
        features: a `tfds.features.FeaturesDict`.
        shard_lengths: for each split the examples in each of its shards.
        description: what the dataset is.
        citation: BibTeX.

    Raises:
        InputError: a shard is missing.
    """
    tfds = import_tfds()
    splits = [
        tfds.core.SplitInfo(
            name=split,
            shard_lengths=list(lengths),
            num_bytes=_shard_bytes(folder, split, len(lengths)),
        )
        for split, lengths in shard_lengths.items()
    ]
    tfds.folder_dataset.write_metadata(
        data_dir=folder,
        features=features,
        split_infos=splits,
        version=VERSION,
        check_data=False,
        description=description,
        citation=citation,
    )


def _shard_bytes(folder: Path, split: str, shards: int) -> int:
    """Adds up the sizes of the files of a split, which is what tfds records."""
    paths = [folder / shard_name(split, shard, shards) for shard in range(shards)]
    for path in paths:
        if not path.is_file():
            raise InputError(f"{folder} lacks the shard {path.name}")
    return sum(path.stat().st_size for path in paths)


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise InputError(
            f"{path} cannot be read as JSON ({_first_line(error)}); expected the metadata that "
            "cryotwin generate writes"
        ) from error
    if not isinstance(content, dict):
        raise InputError(f"{path} must hold a JSON object, not {type(content).__name__}")
    return content


def _without_internals(message: str) -> str:
    """Removes the names of nodes and operations that TensorFlow puts around a message."""
    bare = re.sub(r"\{\{[^}]*\}\}|\[\[.*?\]\]|\[Op:.*", "", message)
    return " ".join(bare.split()) or "no reason given"


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
