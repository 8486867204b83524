"""Recovery as in the paper: equation (4) by Adam on mini-batches of pairs, from a random start.

Its section 3.1: learning rate 0.5, 256 pairs a step, until convergence. There is one start and
no certificate.
"""

from dataclasses import dataclass

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray

from cryotwin.imaging.randomness import keyed_generator
from cryotwin.imaging.rotations import canonical_quaternions


@dataclass(frozen=True)
class AdamSettings:
    """The paper's settings.

    Attributes:
        learning_rate: of Adam.
        pairs_a_batch: pairs of a step, drawn blindly.
        steps_between_checks: after so many steps the loss is looked at.
        patience: checks in a row without a lower loss that end it.
        most_steps: that are taken at most.
        seed: of the start and the pairs.
    """

    learning_rate: float = 0.5
    pairs_a_batch: int = 256
    steps_between_checks: int = 200
    patience: int = 5
    most_steps: int = 20_000
    seed: int = 0


@dataclass(frozen=True)
class AdamRecovery:
    """What came out.

    Attributes:
        quaternions: (P, 4), those of the lowest loss.
        steps: (checks,) after which the loss was looked at.
        losses: (checks,) mean over the batches since the check before, rad^2.
    """

    quaternions: NDArray[np.float64]
    steps: list[int]
    losses: list[float]

    @property
    def loss(self) -> float:
        """The lowest: the paper's L_OR."""
        return min(self.losses)


@keras.saving.register_keras_serializable("cryotwin")
class InducedDistance(keras.layers.Layer):  # type: ignore[misc]
    """Indices of pairs (B, 2) to the distances (B, 1) in rad of the orientations in its weights."""

    def __init__(self, start: NDArray[np.floating], **keywords: object) -> None:
        super().__init__(**keywords)
        self.start = np.asarray(start, np.float32)

    def build(self, input_shape: object) -> None:
        """Makes the weights: quaternions (P, 4), of any length."""
        self.quaternions = self.add_weight(
            shape=self.start.shape,
            initializer=lambda shape, dtype=None: ops.convert_to_tensor(self.start, dtype),
            name="quaternions",
        )

    def call(self, pairs: keras.KerasTensor) -> keras.KerasTensor:
        """Gives d = 2 arccos |<q_i, q_j>|, equation (2), in a form whose slopes are finite."""
        both = ops.normalize(ops.take(self.quaternions, pairs, axis=0), axis=-1)
        first, second = both[:, 0], both[:, 1]
        sign = ops.where(ops.sum(first * second, axis=-1, keepdims=True) < 0, -1.0, 1.0)
        squared = ops.sum(ops.square(first - sign * second), axis=-1, keepdims=True)
        half_chord = ops.sqrt(ops.maximum(squared, 1e-12)) / 2
        return 4 * ops.arcsin(ops.minimum(half_chord, 1 - 1e-6))


def recover_by_adam(
    distances: NDArray[np.floating], settings: AdamSettings | None = None
) -> AdamRecovery:
    """Recovers orientations from distances (P, P) in rad, as the paper does."""
    settings = settings or AdamSettings()
    count = len(distances)
    rng = keyed_generator(settings.seed, "adam")
    layer = InducedDistance(rng.standard_normal((count, 4)))
    model = keras.Sequential([keras.Input((2,), dtype="int32"), layer])
    model.compile(optimizer=keras.optimizers.Adam(settings.learning_rate), loss="mse")
    steps: list[int] = []
    losses: list[float] = []
    best = layer.start
    while not steps or (steps[-1] < settings.most_steps and not _is_over(losses, settings)):
        pairs = _blind_pairs(count, settings.steps_between_checks * settings.pairs_a_batch, rng)
        wanted = distances[tuple(pairs.T)].astype(np.float32)[:, None]
        history = model.fit(
            pairs, wanted, batch_size=settings.pairs_a_batch, shuffle=False, verbose=0
        )
        steps.append((steps[-1] if steps else 0) + settings.steps_between_checks)
        losses.append(float(history.history["loss"][0]))
        if losses[-1] == min(losses):
            best = ops.convert_to_numpy(layer.quaternions)
    best = best / np.linalg.norm(best, axis=1, keepdims=True)
    return AdamRecovery(canonical_quaternions(np.asarray(best, np.float64)), steps, losses)


def _is_over(losses: list[float], settings: AdamSettings) -> bool:
    """Whether the last checks brought no loss that is lower by a thousandth."""
    if len(losses) <= settings.patience:
        return False
    before = min(losses[: -settings.patience])
    return min(losses[-settings.patience :]) > 0.999 * before


def _blind_pairs(count: int, pairs: int, rng: np.random.Generator) -> NDArray[np.int32]:
    first = rng.integers(count, size=pairs)
    second = (first + rng.integers(1, count, size=pairs)) % count
    return np.stack([first, second], axis=1).astype(np.int32)
