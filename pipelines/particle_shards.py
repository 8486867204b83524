"""One shard of a dataset: the order to make it, and the file that holds it."""

import logging
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cryotwin.datasets.folder import count_records, shard_name
from cryotwin.datasets.orientation_lists import is_orientation_list, read_listed
from cryotwin.datasets.quiet_imports import import_tensorflow
from cryotwin.datasets.schema import example_features
from cryotwin.datasets.synthesis import ParticleSettings, make_particles, particle_example
from cryotwin.imaging.atomic import atomic_output
from cryotwin.imaging.maps import read_map

BATCH = 256
"""Particles made at a time: bounds the memory of a worker."""

stop_requested = threading.Event()
"""Set when the run is interrupted: shards that workers in this process are making give up."""


class ShardError(RuntimeError):
    """A shard could not be made; the message is one line that the driver shows."""


@dataclass(frozen=True)
class ShardTask:
    """The work order for one shard: the element of the Beam pipeline.

    Attributes:
        folder: where the shard goes; holds the volume too.
        volume: file of the scaled volume, relative to `folder`.
        split: the split that it belongs to.
        shard: its number.
        shards: how many shards the split has.
        indices: the particles, by index within the structure.
        settings: how to make them.
    """

    folder: str
    volume: str
    split: str
    shard: int
    shards: int
    indices: tuple[int, ...]
    settings: ParticleSettings

    @property
    def path(self) -> Path:
        """The file that the shard ends up in."""
        return Path(self.folder) / shard_name(self.split, self.shard, self.shards)


@dataclass(frozen=True)
class ShardReport:
    """A finished shard: where it belongs, its examples and the bytes of its file."""

    split: str
    shard: int
    count: int
    size_bytes: int


def write_shard(task: ShardTask) -> ShardReport:
    """Makes one shard and writes it whole; a shard that is there already is kept.

    Raises:
        ShardError: it could not be written, or the run was interrupted.
    """
    if not is_complete(task):
        logging.getLogger("absl").setLevel(logging.ERROR)
        try:
            _write_records(task)
        except OSError as error:
            raise ShardError(f"{task.path}: cannot write ({error.strerror or error})") from error
    return ShardReport(task.split, task.shard, len(task.indices), task.path.stat().st_size)


def is_complete(task: ShardTask) -> bool:
    """Tells whether the shard's file is there with all its records."""
    return task.path.is_file() and count_records(task.path) == len(task.indices)


def _write_records(task: ShardTask) -> None:
    tensorflow = import_tensorflow()
    volume = read_map(Path(task.folder) / task.volume).data
    with atomic_output(task.path) as temporary:
        try:
            with tensorflow.io.TFRecordWriter(str(temporary)) as writer:
                for record in _records(volume, task):
                    writer.write(record)
        except tensorflow.errors.OpError as error:
            raise OSError(str(error).splitlines()[0]) from error


def _records(volume: NDArray[np.floating], task: ShardTask) -> Iterator[bytes]:
    """Yields the serialised examples of a shard."""
    features = example_features(volume.shape[-1])
    for start in range(0, len(task.indices), BATCH):
        if stop_requested.is_set():
            raise ShardError("interrupted")
        indices = task.indices[start : start + BATCH]
        given = None
        if is_orientation_list(task.settings.orientations):
            given = read_listed(Path(task.folder), indices)
        particles = make_particles(volume, indices, task.settings, given=given)
        for place, index in enumerate(indices):
            example = particle_example(particles, place, index, task.settings)
            yield features.serialize_example(features.encode_example(example))
