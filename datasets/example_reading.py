"""The examples of a dataset folder, read without TensorFlow.

tfds says in features.json what an example holds, and in dataset_info.json where the shards are.
Fields are those that this package writes (`cryotwin.datasets.schema`): tensors of float32, and
texts.
"""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cryotwin.datasets.example_bytes import parse_example
from cryotwin.datasets.tfrecords import read_records, read_records_at

Shapes = dict[str, tuple[int, ...] | None]
"""Of the fields by name, nested ones joined by a slash; None of a text."""


def read_examples(path: Path, split: str) -> Iterator[dict[str, Any]]:
    """Yields the examples of a split in the order of its shards, each checked as it is read.

    Args:
        path: a dataset folder.
        split: one of its splits.

    Yields:
        For each field a float32 array of its shape, or bytes.

    Raises:
        OSError: a shard is missing, truncated or damaged.
        ValueError: a field of another kind, or an example that is not as features.json says.
    """
    shapes = field_shapes(json.loads((path / "features.json").read_text()))
    for shard in shard_paths(path, split):
        for record in read_records(shard):
            yield _shaped(parse_example(record), shapes)


def read_rows(path: Path, split: str, rows: Sequence[int]) -> Iterator[dict[str, Any]]:
    """Yields the examples at `rows` of a split, each checked as it is read; no other is read.

    Args:
        path: a dataset folder.
        split: one of its splits.
        rows: places in the order of the shards, rising.

    Yields:
        As `read_examples`.

    Raises:
        OSError: a shard is missing, truncated or damaged, or there is no such row.
        ValueError: as `read_examples`.
    """
    shapes = field_shapes(json.loads((path / "features.json").read_text()))
    _, entry = _split_info(path, split)
    wanted, ends = (
        np.asarray(rows, dtype=np.int64),
        np.cumsum([0, *map(int, entry["shardLengths"])]),
    )
    if len(wanted) and wanted[-1] >= ends[-1]:
        raise OSError(f"{path} has {ends[-1]} examples in {split!r}, not {wanted[-1] + 1}")
    for shard, start, stop in zip(shard_paths(path, split), ends, ends[1:], strict=False):
        own = wanted[np.searchsorted(wanted, start) : np.searchsorted(wanted, stop)]
        if len(own):
            for record in read_records_at(shard, (own - start).tolist()):
                yield _shaped(parse_example(record), shapes)


def shard_paths(path: Path, split: str) -> list[Path]:
    """Gives the shards of a split as dataset_info.json names them, in order."""
    info, entry = _split_info(path, split)
    template = entry.get("filepathTemplate", "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}")
    count = len(entry["shardLengths"])
    words = {"DATASET": info["name"], "SPLIT": split, "FILEFORMAT": info["fileFormat"]}
    return [
        path / template.format(**words, SHARD_X_OF_Y=f"{shard:05d}-of-{count:05d}")
        for shard in range(count)
    ]


def _split_info(path: Path, split: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Reads dataset_info.json: all of it, and its entry of a split."""
    info: dict[str, Any] = json.loads((path / "dataset_info.json").read_text())
    (entry,) = (entry for entry in info["splits"] if entry["name"] == split)
    return info, entry


def field_shapes(features: dict[str, Any]) -> Shapes:
    """Reads the shapes of the fields off what features.json holds.

    Raises:
        ValueError: a field is neither a tensor of float32 nor a text.
    """
    shapes: Shapes = {}
    for name, feature in features["featuresDict"]["features"].items():
        if "featuresDict" in feature:
            shapes |= {f"{name}/{inner}": shape for inner, shape in field_shapes(feature).items()}
        elif "text" in feature:
            shapes[name] = None
        elif feature.get("tensor", {}).get("dtype") == "float32":
            shapes[name] = tuple(map(int, feature["tensor"]["shape"].get("dimensions", ())))
        else:
            raise ValueError(f"field {name!r} is neither a tensor of float32 nor a text")
    return shapes


def _shaped(example: dict[str, NDArray[np.float32] | bytes], shapes: Shapes) -> dict[str, Any]:
    shaped: dict[str, Any] = {}
    for name, shape in shapes.items():
        value = example.get(name)
        if isinstance(value, bytes) != (shape is None) or value is None:
            raise ValueError(f"an example has no field {name!r} as features.json describes it")
        shaped[name] = value if isinstance(value, bytes) else value.reshape(shape or ())
    return shaped
