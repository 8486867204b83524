"""Mixed precision in training: the network computes in 16 bits, all that is kept has 32.

Weights, batch normalisation's moments, features and distances stay float32, and so does the model
afterwards: its file says nothing of how it was trained.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import keras

_FLOAT32_LAYERS = (keras.layers.InputLayer, keras.layers.BatchNormalization)


@contextmanager
def computing_in(extractor: keras.Model, precision: str) -> Iterator[None]:
    """Lets the layers of an extractor compute in `precision`, while inside.

    Args:
        extractor: of an estimator. The layers of its end stay float32.
        precision: one of `cryotwin.models.training_settings.PRECISIONS`.
    """
    kept = {id(layer) for layer in layers_of_the_end(extractor)}
    layers = [
        layer
        for layer in extractor._flatten_layers(include_self=False)
        if not isinstance(layer, (keras.Model, *_FLOAT32_LAYERS)) and id(layer) not in kept
    ]
    before = [layer.dtype_policy for layer in layers]
    if precision != "float32":
        for layer in layers:
            layer.dtype_policy = keras.DTypePolicy(precision)
    try:
        yield
    finally:
        for layer, policy in zip(layers, before, strict=True):
            layer.dtype_policy = policy


def layers_of_the_end(network: keras.Model) -> list[keras.Layer]:
    """Finds, on each way to the output, the last layer with weights and all that follow it."""
    found: dict[int, keras.Layer] = {}
    seen: set[int] = set()
    waiting = list(network.outputs)
    while waiting:
        tensor = waiting.pop()
        if id(tensor) in seen:
            continue
        seen.add(id(tensor))
        operation, node_index, _ = tensor._keras_history
        if isinstance(operation, keras.Layer):
            found[id(operation)] = operation
        if not getattr(operation, "weights", None):
            waiting.extend(operation._inbound_nodes[node_index].input_tensors)
    return list(found.values())


def with_loss_scaling(
    optimizer: keras.optimizers.Optimizer, precision: str
) -> keras.optimizers.Optimizer:
    """Keeps small gradients above zero where numbers are float16."""
    if precision == "mixed_float16":
        return keras.optimizers.LossScaleOptimizer(optimizer)
    return optimizer
