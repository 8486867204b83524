"""The files that a run is made of: written whole by one worker, or found whole and kept."""

import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from cryotwin.datasets.folder import shard_name
from cryotwin.datasets.tfrecords import count_records, write_record
from cryotwin.imaging.atomic import atomic_output
from cryotwin.pipelines.workers import WorkerError


class ShardOrder(Protocol):
    """The order of a shard."""

    @property
    def path(self) -> Path:
        """The file that the shard ends up in."""

    @property
    def count(self) -> int:
        """How many examples it holds."""


@dataclass(frozen=True)
class RowsOrder:
    """The order of a shard that holds a stretch of particles.

    Attributes:
        folder: where the shard goes.
        split: the split that it belongs to.
        shard: its number.
        shards: how many shards there are.
        start: first particle.
        stop: the one after the last.
    """

    folder: str
    split: str
    shard: int
    shards: int
    start: int
    stop: int

    @property
    def path(self) -> Path:
        """The file that the shard ends up in."""
        return Path(self.folder) / shard_name(self.split, self.shard, self.shards)

    @property
    def count(self) -> int:
        """How many particles it holds."""
        return self.stop - self.start


def is_complete(order: ShardOrder) -> bool:
    """Tells whether the shard's file is there with all its records, none of them damaged."""
    return order.path.is_file() and count_records(order.path) == order.count


def write_records(order: ShardOrder, payloads: Iterable[bytes]) -> None:
    """Writes the records of a shard, whole or not at all.

    Raises:
        WorkerError: the file cannot be written.
    """
    try:
        with atomic_output(order.path) as temporary, temporary.open("wb") as file:
            for payload in payloads:
                write_record(file, payload)
    except OSError as error:
        raise WorkerError(f"{order.path}: cannot write ({error.strerror or error})") from error


def verify_shards(orders: Sequence[ShardOrder]) -> None:
    """Checks that every shard is there and whole, whatever the runner said.

    Raises:
        OSError: one is not.
    """
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for order, whole in zip(orders, pool.map(is_complete, orders), strict=True):
            if not whole:
                raise OSError(
                    f"{order.path} is missing, incomplete or damaged: "
                    f"expected {order.count} examples"
                )
