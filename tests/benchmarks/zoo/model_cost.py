"""What a network costs: parameters, operations, and images a second."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

from cryotwin.models.cost import images_per_second, multiply_adds
from cryotwin.models.siamese import build
from zoo.records import Record

_BATCH = 64
_ROUNDS = 5


@dataclass(frozen=True)
class CostSettings:
    """Whose cost, and on images of which size."""

    model: str
    size_px: int = 64


def measure_cost(_: Path, settings: CostSettings) -> Record:
    """Counts parameters and operations of an extractor, and times it forward and in training."""
    extractor = build(settings.model).get_layer("extractor")
    return {
        "parameters": int(extractor.count_params()),
        "megaflops": 2e-6 * multiply_adds(extractor, settings.size_px),
        "forward_rate": images_per_second(extractor, settings.size_px, batch_size=_BATCH),
        "training_rate": _BATCH / _median_seconds(_training_step(extractor, settings.size_px)),
    }


def _training_step(extractor: Any, size_px: int) -> Callable[[], object]:
    model = keras.Model(extractor.inputs, extractor.outputs)
    model.compile(optimizer=keras.optimizers.AdamW(1e-3), loss="mse")
    rng = np.random.default_rng(0)
    images = rng.standard_normal((_BATCH, size_px, size_px, 1), np.float32)
    target = np.zeros((_BATCH, model.output_shape[-1]), np.float32)
    return lambda: model.train_on_batch(images, target)


def _median_seconds(work: Callable[[], object]) -> float:
    work()  # Compiles.
    seconds = []
    for _ in range(_ROUNDS):
        began = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - began)
    return float(np.median(seconds))
