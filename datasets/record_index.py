"""Where each record of a split lies, so that any particles can be read in any order.

TFRecord files are made to be read from the start. A list of the places of their records, 20 bytes
each, is what it takes to shuffle a dataset of any size fully and to find batch b of epoch e
without reading what comes before it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cryotwin.datasets.folder import DatasetFolder, check_split, decoded, told_as_damage
from cryotwin.datasets.quiet_imports import import_tensorflow, import_tfds
from cryotwin.datasets.tfrecords import record_spans
from cryotwin.imaging.errors import InputError

_BATCH = 512


@dataclass(frozen=True)
class RecordIndex:
    """The records of a split.

    Attributes:
        files: the shards.
        file_of: (P,) the shard of each record, as an index into `files`.
        offsets: (P,) where its content starts, in bytes.
        lengths: (P,) of its content, in bytes.
        structures: names, sorted.
        structure_of: (P,) the structure of each particle, as an index into `structures`.
        pixel_sizes_angstrom: (S,) of each structure's images.
    """

    files: tuple[Path, ...]
    file_of: NDArray[np.int32]
    offsets: NDArray[np.int64]
    lengths: NDArray[np.int64]
    structures: tuple[str, ...]
    structure_of: NDArray[np.int32]
    pixel_sizes_angstrom: NDArray[np.float64]

    def read(self, rows: Sequence[int] | NDArray[np.integer]) -> list[bytes]:
        """Reads the records `rows`, serialised as they are, in the order asked for."""
        rows = np.asarray(rows)
        records: list[bytes] = [b""] * len(rows)
        for file in np.unique(self.file_of[rows]):
            with self.files[file].open("rb", buffering=0) as stream:
                for place in np.flatnonzero(self.file_of[rows] == file):
                    stream.seek(int(self.offsets[rows[place]]))
                    records[place] = stream.read(int(self.lengths[rows[place]]))
        return records


def index_records(folder: DatasetFolder, split: str) -> RecordIndex:
    """Finds the records of a split and the structure of each; every record is checked once.

    Raises:
        InputError: no such split, a shard is missing, truncated or damaged, or pixel sizes
            differ within a structure.
    """
    check_split(folder, split)
    tfds = import_tfds()
    with told_as_damage(folder.path, split, import_tensorflow().errors.OpError):
        paths = tfds.builder_from_directory(folder.path).info.splits[split].filepaths
        files = tuple(Path(path) for path in paths)
        spans = [record_spans(file) for file in files]
        names, pixel_sizes = _labels(files, folder)
    counts = [len(own) for own in spans]
    if sum(counts) != folder.split_sizes[split]:
        raise InputError(
            f"split {split!r} of {folder.path} holds {sum(counts)} examples where its metadata "
            f"says {folder.split_sizes[split]}"
        )
    structures, first, structure_of = np.unique(names, return_index=True, return_inverse=True)
    own_sizes = pixel_sizes[first].astype(np.float64)
    differing = ~np.isclose(pixel_sizes, own_sizes[structure_of], rtol=1e-3)
    if differing.any():
        name = names[int(np.argmax(differing))]
        raise InputError(f"{folder.path}: particles of {name} must have one pixel size, not two")
    places = np.array([span for own in spans for span in own], dtype=np.int64).reshape(-1, 2)
    return RecordIndex(
        files=files,
        file_of=np.repeat(np.arange(len(files), dtype=np.int32), counts),
        offsets=places[:, 0],
        lengths=places[:, 1],
        structures=tuple(str(name) for name in structures),
        structure_of=structure_of.astype(np.int32),
        pixel_sizes_angstrom=own_sizes,
    )


def _labels(
    files: Sequence[Path], folder: DatasetFolder
) -> tuple[NDArray[np.str_], NDArray[np.float32]]:
    """Reads the structure (P,) and the pixel size (P,) of all records, one file after the other."""
    missing = {"image", "quaternion", "structure", "pixel_size_angstrom"} - set(folder.fields)
    if missing:
        raise InputError(
            f"{folder.path}: particles with orientations and structures were expected, its "
            f"examples have no {sorted(missing)[0]!r}"
        )
    tensorflow = import_tensorflow()
    wanted = {
        "structure": tensorflow.io.FixedLenFeature((), tensorflow.string),
        "pixel_size_angstrom": tensorflow.io.FixedLenFeature((), tensorflow.float32),
    }
    records = tensorflow.data.TFRecordDataset([str(file) for file in files])
    parsed = (
        records.batch(_BATCH)
        .map(lambda batch: tensorflow.io.parse_example(batch, wanted))
        .prefetch(2)
        .as_numpy_iterator()
    )
    names, sizes = [], []
    for batch in parsed:
        names.append(decoded(batch["structure"]))
        sizes.append(batch["pixel_size_angstrom"])
    if not names:
        raise InputError(f"{folder.path}: a split with particles was expected, it is empty")
    return np.concatenate(names), np.concatenate(sizes)
