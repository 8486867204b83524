"""A batch shared by several devices, with the loss that one device would have.

On JAX, Keras splits the batch and the compiled step is that of the whole batch. On TensorFlow each
replica has a part: batch normalisation is told to gather its moments from all parts, and each
replica gathers the features of all, so that pairs are those of the whole batch.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import keras
import numpy as np

from cryotwin.imaging.errors import InputError
from cryotwin.models.pair_batches import Batch


def available_devices() -> list[str]:
    """Names the accelerators, or the processors if there is none (JAX and TensorFlow alike)."""
    found: list[str] = keras.distribution.list_devices()
    accelerators = [name for name in found if not name.startswith("cpu")]
    return accelerators or found


class Devices:
    """The devices that share a training's batches.

    Args:
        count: how many.

    Raises:
        InputError: there are fewer, or the backend is neither TensorFlow nor JAX.
    """

    def __init__(self, count: int) -> None:
        self._count = count
        self._strategy: Any = None
        if count == 1:
            return
        backend = keras.backend.backend()
        if backend not in ("tensorflow", "jax"):
            raise InputError(f"several devices need TensorFlow or JAX, not {backend}")
        names = available_devices()
        if count > len(names):
            raise InputError(f"devices must be at most {len(names)}, those there are, not {count}")
        self._names = names[:count]
        if backend == "tensorflow":
            import tensorflow as tf

            self._strategy = tf.distribute.MirroredStrategy([f"/{name}" for name in self._names])

    @contextmanager
    def scope(self) -> Iterator[None]:
        """Builds and trains what is inside on all devices."""
        before = keras.distribution.distribution()
        if self._count > 1 and self._strategy is None:
            keras.distribution.set_distribution(
                keras.distribution.DataParallel(devices=self._names)
            )
        try:
            with self._strategy.scope() if self._strategy is not None else nullcontext():
                yield
        finally:
            if keras.distribution.distribution() is not before:
                keras.distribution.set_distribution(before)

    def trainer_class(self, base: type[keras.Model]) -> type[keras.Model]:
        """Gives a trainer whose loss is that of the whole batch, on every replica."""
        return base if self._strategy is None else _gathering(base)

    @contextmanager
    def synchronised(self, network: keras.Model) -> Iterator[None]:
        """Lets batch normalisation take the moments of the whole batch, while inside."""
        layers = [
            layer
            for layer in network._flatten_layers()
            if isinstance(layer, keras.layers.BatchNormalization) and self._strategy is not None
        ]
        for layer in layers:
            layer.synchronized = True
        try:
            yield
        finally:
            for layer in layers:
                layer.synchronized = False

    def step(self, trainer: keras.Model, batch: Batch) -> dict[str, float]:
        """Takes one training step and gives the loss and the other figures of the batch."""
        images, rotations = batch
        if self._strategy is None:
            logs: dict[str, float] = trainer.train_on_batch(images, rotations, return_dict=True)
            return logs
        trainer.make_train_function()
        trainer.reset_metrics()
        parts = [np.split(array, self._count) for array in (images, rotations)]
        data = tuple(self._spread(part) for part in parts)
        logs = trainer.train_function(iter([data]))
        return {name: float(value) for name, value in logs.items()}

    def _spread(self, parts: list[np.ndarray]) -> Any:
        import tensorflow as tf

        return self._strategy.experimental_distribute_values_from_function(
            lambda context: tf.constant(parts[context.replica_id_in_sync_group])
        )


def _gathering(base: type[keras.Model]) -> type[keras.Model]:
    """Makes a trainer's class that computes its loss from the features of all replicas."""
    import tensorflow as tf

    class Gathering(base):  # type: ignore[misc]
        def compute_loss(
            self,
            x: Any = None,
            y: Any = None,
            y_pred: Any = None,
            sample_weight: Any = None,
            training: bool = True,
        ) -> Any:
            context = tf.distribute.get_replica_context()

            def gathered(part: Any) -> Any:
                # What is gathered has lost its shape.
                return tf.ensure_shape(context.all_gather(part, axis=0), (None, part.shape[1]))

            loss = super().compute_loss(y=gathered(y), y_pred=gathered(y_pred), training=training)
            # Gradients are summed over replicas, and each has the whole loss.
            return loss / context.num_replicas_in_sync

    return Gathering
