"""Mixed precision in training: the network computes in 16 bits, all that is kept has 32.

Weights, batch normalisation's moments, features and distances stay float32, and so does the model
afterwards: its file says nothing of how it was trained.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import keras

_FLOAT32_LAYERS = (keras.layers.InputLayer, keras.layers.BatchNormalization)
FEATURE_LAYER = "features"


@contextmanager
def computing_in(extractor: keras.Model, precision: str) -> Iterator[None]:
    """Lets the layers of an extractor compute in `precision`, while inside.

    Args:
        extractor: of an estimator. Its last layers, with "features" in front of their names, stay
            float32.
        precision: one of `cryotwin.models.training_settings.PRECISIONS`.
    """
    layers = [
        layer
        for layer in extractor._flatten_layers(include_self=False)
        if not isinstance(layer, (keras.Model, *_FLOAT32_LAYERS))
        and not layer.name.startswith(FEATURE_LAYER)
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


def with_loss_scaling(
    optimizer: keras.optimizers.Optimizer, precision: str
) -> keras.optimizers.Optimizer:
    """Keeps small gradients above zero where numbers are float16."""
    if precision == "mixed_float16":
        return keras.optimizers.LossScaleOptimizer(optimizer)
    return optimizer
