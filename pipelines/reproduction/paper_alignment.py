"""Alignment as in the paper: equation (5) over O(4) by FTRL, six angles and a sign.

Its sections 2.4 and 3.1: T is the product of six plane rotations and an optional reflection;
learning rate 2, learning rate power -2, batches of 256 orientations, the lowest of three runs of
300 steps for each sign.
"""

from dataclasses import dataclass
from itertools import combinations

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray

from cryotwin.imaging.randomness import keyed_generator
from cryotwin.imaging.rotations import orientation_distances

_PLANES = tuple(combinations(range(4), 2))


@dataclass(frozen=True)
class FtrlSettings:
    """The paper's settings.

    Attributes:
        learning_rate: of FTRL.
        learning_rate_power: of FTRL.
        batch: orientations of a step.
        steps: of a run.
        runs: for each sign.
        seed: of the starts and the batches.
    """

    learning_rate: float = 2.0
    learning_rate_power: float = -2.0
    batch: int = 256
    steps: int = 300
    runs: int = 3
    seed: int = 0


@dataclass(frozen=True)
class FtrlAlignment:
    """What came out.

    Attributes:
        errors: (P,) rad, of the best run over all orientations.
        run_errors: (runs,) mean errors of the runs, rad.
        matrix: (4, 4), T of the best run.
    """

    errors: NDArray[np.float64]
    run_errors: list[float]
    matrix: NDArray[np.float64]

    @property
    def mean_error(self) -> float:
        """The paper's E_OR."""
        return float(self.errors.mean())


@keras.saving.register_keras_serializable("cryotwin")
class FourRotation(keras.layers.Layer):  # type: ignore[misc]
    """Quaternions (B, 2, 4), estimated and true, to the distance (B, 1) after T, in rad."""

    def __init__(self, start: NDArray[np.floating], sign: float, **keywords: object) -> None:
        super().__init__(**keywords)
        self.start, self.sign = np.asarray(start, np.float32), sign

    def build(self, input_shape: object) -> None:
        """Makes the weights: six angles in rad."""
        self.angles = self.add_weight(
            shape=(len(_PLANES),),
            initializer=lambda shape, dtype=None: ops.convert_to_tensor(self.start, dtype),
            name="angles",
        )

    def matrix(self) -> keras.KerasTensor:
        """Gives T (4, 4): the reflection, then the six plane rotations."""
        turned = ops.diag(ops.convert_to_tensor([self.sign, 1.0, 1.0, 1.0]))
        for number, plane in enumerate(_PLANES):
            turned = ops.matmul(_plane_rotation(self.angles[number], plane), turned)
        return turned

    def call(self, both: keras.KerasTensor) -> keras.KerasTensor:
        """Gives the distances, with slopes that are finite where they are zero."""
        turned = ops.matmul(both[:, 0], ops.transpose(self.matrix()))
        product = ops.abs(ops.sum(turned * both[:, 1], axis=-1, keepdims=True))
        half_chord = ops.sqrt(ops.maximum(2 - 2 * product, 1e-12)) / 2
        return 4 * ops.arcsin(ops.minimum(half_chord, 1 - 1e-6))


def _plane_rotation(angle: keras.KerasTensor, plane: tuple[int, int]) -> keras.KerasTensor:
    i, j = plane
    cosine, sine = np.zeros((4, 4), np.float32), np.zeros((4, 4), np.float32)
    cosine[i, i] = cosine[j, j] = 1
    sine[j, i], sine[i, j] = 1, -1
    rest = np.eye(4, dtype=np.float32) - cosine
    return rest + ops.cos(angle) * cosine + ops.sin(angle) * sine


def align_by_ftrl(
    estimated: NDArray[np.floating],
    true: NDArray[np.floating],
    settings: FtrlSettings | None = None,
) -> FtrlAlignment:
    """Aligns quaternions (P, 4) with true ones over O(4), as the paper does."""
    settings = settings or FtrlSettings()
    both = np.stack([estimated, true], axis=1).astype(np.float32)
    found: list[tuple[float, NDArray[np.float64], NDArray[np.float64]]] = []
    for number in range(2 * settings.runs):
        rng = keyed_generator(settings.seed, "ftrl", number)
        matrix = _run(both, 1.0 if number % 2 else -1.0, settings, rng)
        errors = orientation_distances(np.asarray(estimated) @ matrix.T, true)
        found.append((float(errors.mean()), errors, matrix))
    _, errors, matrix = min(found, key=lambda run: run[0])
    return FtrlAlignment(errors, [run[0] for run in found], matrix)


def _run(
    both: NDArray[np.float32], sign: float, settings: FtrlSettings, rng: np.random.Generator
) -> NDArray[np.float64]:
    layer = FourRotation(rng.uniform(0, 2 * np.pi, len(_PLANES)), sign)
    model = keras.Sequential([keras.Input((2, 4)), layer])
    model.compile(
        optimizer=keras.optimizers.Ftrl(
            settings.learning_rate, learning_rate_power=settings.learning_rate_power
        ),
        loss="mae",
    )
    chosen = rng.integers(len(both), size=settings.steps * settings.batch)
    zeros = np.zeros((len(chosen), 1), np.float32)
    model.fit(both[chosen], zeros, batch_size=settings.batch, shuffle=False, verbose=0)
    return np.asarray(ops.convert_to_numpy(layer.matrix()), np.float64)
