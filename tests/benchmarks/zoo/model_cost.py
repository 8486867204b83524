"""What a network costs: parameters, operations, and images a second."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

from cryotwin.models.siamese import build
from zoo.records import Record

_BATCH = 64
_ROUNDS = 3


@dataclass(frozen=True)
class CostSettings:
    """Whose cost, and on images of which size."""

    model: str
    size_px: int = 64


def measure_cost(_: Path, settings: CostSettings) -> Record:
    """Counts parameters and operations of an extractor, and times it forward and in training."""
    extractor = build(settings.model).get_layer("extractor")
    images = np.random.default_rng(0).standard_normal(
        (_BATCH, settings.size_px, settings.size_px, 1), np.float32
    )
    return {
        "parameters": int(extractor.count_params()),
        "megaflops": floating_point_operations(extractor, settings.size_px) / 1e6,
        "forward_rate": _BATCH / _median_seconds(lambda: extractor.predict_on_batch(images)),
        "training_rate": _BATCH / _median_seconds(_training_step(extractor, images)),
    }


def floating_point_operations(extractor: Any, size_px: int) -> float:
    """Counts those of one image, as TensorFlow's profiler does: a multiply-add is two.

    Einsums, of which it knows nothing, are counted here: two for each combination of indices.
    """
    import tensorflow as tf

    shape = tf.TensorSpec((1, size_px, size_px, 1), tf.float32)
    graph = (
        tf.function(lambda image: extractor(image, training=False))
        .get_concrete_function(shape)
        .graph
    )
    builder = tf.compat.v1.profiler.ProfileOptionBuilder
    options = builder(builder.float_operation()).with_empty_output().build()
    counted = tf.compat.v1.profiler.profile(graph, options=options).total_float_ops
    return float(counted) + sum(
        _einsum_operations(operation)
        for operation in graph.get_operations()
        if operation.type == "Einsum"
    )


def _einsum_operations(operation: Any) -> float:
    inputs = operation.get_attr("equation").decode().split("->")[0].split(",")
    sizes: dict[str, int] = {}
    for letters, tensor in zip(inputs, operation.inputs, strict=True):
        sizes |= dict(zip(letters, tensor.shape.as_list(), strict=True))
    return 2 * float(np.prod(list(sizes.values())))


def _training_step(extractor: Any, images: Any) -> Callable[[], object]:
    model = keras.Model(extractor.inputs, extractor.outputs)
    model.compile(optimizer=keras.optimizers.AdamW(1e-3), loss="mse")
    target = np.zeros((len(images), model.output_shape[-1]), np.float32)
    return lambda: model.train_on_batch(images, target)


def _median_seconds(work: Callable[[], object]) -> float:
    work()  # Compiles.
    seconds = []
    for _ in range(_ROUNDS):
        began = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - began)
    return float(np.median(seconds))
