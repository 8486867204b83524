"""Distance heads: from the features of two images to the distance between their orientations.

Each head exists twice, as a graph of Keras operations for a model file (`head_model`) and in
NumPy for all pairs at once (`pairwise_feature_distances`); a test holds them together.

- "so3" (default): the features' inner product stands for s = tr(Ri^T Rj) / 3, a positive
  semi-definite kernel that 9 features realise exactly. d = arccos((3 s - 1) / 2), computed as
  2 arcsin(min(1, sqrt(3/8) |f - g|)).
- "cosine": the paper's (its Appendix D), d = 2 arccos <f, g>. |<qi, qj>| is not positive
  semi-definite on SO(3), so no network can make this head exact; it is here to be compared with.
- "euclidean": the paper's Appendix D, d = |f - g|; not bounded by pi.
"""

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray

from cryotwin.imaging.errors import InputError

HEADS = ("so3", "cosine", "euclidean")

_TINY = 1e-12
"""Under the square root of a squared length: keeps the gradient finite where two features agree;
the distance of identical images becomes about 1e-6 instead of 0."""

_NEAR_PI = 1e-7
"""Under the square root of 1 - u^2: keeps the gradient of arcsin u finite at u = 1."""


def check_head(head: str) -> None:
    """Raises InputError unless `head` is one of `HEADS`."""
    if head not in HEADS:
        raise InputError(f"head must be one of {', '.join(HEADS)}, not {head!r}")


def normalise_features(features: keras.KerasTensor, head: str) -> keras.KerasTensor:
    """Puts features (B, D) on the unit sphere where the head needs them there."""
    if head == "euclidean":
        return features
    length = ops.sqrt(ops.sum(ops.square(features), axis=-1, keepdims=True) + _TINY)
    return features / length


def distance_from_squares(squared: keras.KerasTensor, head: str) -> keras.KerasTensor:
    """Gives distances in rad from squared lengths |f - g|^2 of features, of any shape."""
    if head == "euclidean":
        return ops.sqrt(squared + _TINY)
    if head == "so3":
        # arcsin u as an arctan2: its gradient is finite at u = 1.
        sine = ops.minimum(squared * (3.0 / 8.0), 1.0)
        return 2.0 * ops.arctan2(ops.sqrt(sine + _TINY), ops.sqrt((1.0 - sine) + _NEAR_PI))
    # Half the angle between the features has the sine |f - g| / 2; the distance is four times that.
    sine = ops.minimum(squared / 4.0, 1.0)
    angle = 4.0 * ops.arctan2(ops.sqrt(sine + _TINY), ops.sqrt((1.0 - sine) + _NEAR_PI))
    return ops.minimum(angle, float(np.pi))


def head_model(head: str, feature_dim: int) -> keras.Model:
    """Builds the head as a functional model: two (B, D) features in, (B, 1) rad out."""
    check_head(head)
    first = keras.Input((feature_dim,), name="first_features")
    second = keras.Input((feature_dim,), name="second_features")
    squared = ops.sum(ops.square(first - second), axis=-1, keepdims=True)
    return keras.Model([first, second], distance_from_squares(squared, head), name=f"{head}_head")


def pairwise_feature_distances(
    first: NDArray[np.floating], second: NDArray[np.floating], head: str
) -> NDArray[np.float64]:
    """Gives the distances in rad between all features (P, D) and (L, D), as one product: (P, L)."""
    check_head(head)
    first, second = first.astype(np.float64), second.astype(np.float64)
    lengths = np.sum(first**2, axis=1)[:, None] + np.sum(second**2, axis=1)[None, :]
    squared = np.maximum(lengths - 2 * first @ second.T, 0)
    if head == "euclidean":
        return np.sqrt(squared)
    if head == "so3":
        return 2 * np.arcsin(np.sqrt(np.minimum(squared * 3 / 8, 1)))
    return np.minimum(4 * np.arcsin(np.sqrt(np.minimum(squared / 4, 1))), np.pi)
