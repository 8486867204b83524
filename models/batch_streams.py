"""Batches without end from whatever holds them, made ahead by a thread while a step is taken.

Training counts its steps through all epochs. A stream begins at any step, so that training that
was stopped goes on with the batch that came next.
"""

import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import count, islice
from typing import Any, Protocol

import keras
import numpy as np
from keras import ops

from cryotwin.imaging.errors import InputError
from cryotwin.models.pair_batches import Batch, PairBatches

_AHEAD = 2


class BatchSource(Protocol):
    """Gives the batches of a training.

    Attributes:
        steps_per_epoch: batches in an epoch.
    """

    steps_per_epoch: int

    def stream(self, first_step: int, highest_noise_level: Callable[[int], float]) -> Iterator[Any]:
        """Gives batch `first_step` and all after it; the noise level belongs to a step."""


class DrawnBatches:
    """The batches of views in memory."""

    def __init__(self, batches: PairBatches) -> None:
        self._batches = batches
        self.steps_per_epoch = len(batches)

    def stream(
        self, first_step: int, highest_noise_level: Callable[[int], float]
    ) -> Iterator[Batch]:
        """Draws batch after batch."""
        for step in count(first_step):
            epoch, index = divmod(step, self.steps_per_epoch)
            yield self._batches.draw(epoch, index, highest_noise_level(step))


class GivenBatches:
    """The batches of anything that Keras trains from: it has a noise of its own.

    Args:
        batches: a `keras.utils.PyDataset`, a `tf.data.Dataset`, a generator or another iterable,
            of images and rotations, or of dictionaries as `PairLoader` gives them.
        steps_per_epoch: batches in an epoch; None takes the length of `batches`.

    Raises:
        InputError: the length is needed and unknown.
    """

    def __init__(self, batches: Iterable[Any], steps_per_epoch: int | None = None) -> None:
        self._batches = batches
        self.steps_per_epoch = steps_per_epoch or _length(batches)

    def stream(
        self, first_step: int, highest_noise_level: Callable[[int], float]
    ) -> Iterator[Batch]:
        """Goes through the batches again and again, after the first `first_step` of them."""
        return (_as_batch(batch) for batch in islice(self._again(), first_step, None))

    def _again(self) -> Iterator[Any]:
        while True:
            empty = True
            for batch in self._once():
                empty = False
                yield batch
            if empty:
                raise InputError(
                    "the batches came to an end before the training did; "
                    "expected as many as it has steps, or an iterable that can begin again"
                )

    def _once(self) -> Iterator[Any]:
        if isinstance(self._batches, keras.utils.PyDataset):
            for index in range(len(self._batches)):
                yield self._batches[index]
            self._batches.on_epoch_end()
        else:
            yield from self._batches


@contextmanager
def made_ahead(batches: Iterator[Any]) -> Iterator[Iterator[Any]]:
    """Yields the same batches, made by a thread that ends with the context.

    What is raised where a batch is made is raised again where it is taken.
    """
    ready: queue.Queue[tuple[Any, BaseException | None]] = queue.Queue(_AHEAD)
    over = threading.Event()

    def put(item: tuple[Any, BaseException | None]) -> None:
        while not over.is_set():
            try:
                ready.put(item, timeout=0.1)
            except queue.Full:
                continue
            return

    def make() -> None:
        try:
            for batch in batches:
                put((batch, None))
                if over.is_set():
                    return
        except BaseException as error:
            put((None, error))

    def take() -> Iterator[Any]:
        while True:
            batch, error = ready.get()
            if error is not None:
                raise error
            yield batch

    thread = threading.Thread(target=make, daemon=True)
    thread.start()
    try:
        yield take()
    finally:
        over.set()
        thread.join()


def _length(batches: Iterable[Any]) -> int:
    try:
        length = len(batches)  # type: ignore[arg-type]
    except TypeError:
        length = 0
    if length < 1:
        raise InputError(
            "batches have no length: give steps_per_epoch, the number of batches in an epoch"
        )
    return length


def _as_batch(batch: Any) -> Batch:
    """Gives images and rotations (B, 9) as arrays."""
    if isinstance(batch, dict):
        images, rotations = batch["image"], batch["rotation"]
        if len(np.unique(ops.convert_to_numpy(batch.get("structure", 0)))) > 1:
            raise InputError("a batch has several structures, but pairs need one")
    else:
        images, rotations = batch
    images = np.asarray(ops.convert_to_numpy(images), np.float32)
    if len(images) < 2:
        raise InputError(f"a batch has {len(images)} images, but pairs need at least 2")
    return images, np.reshape(ops.convert_to_numpy(rotations), (len(images), 9))
