"""The loss over all pairs of a batch: equation (3) of the paper, with weights.

Pairs are weighted so that distances count as if they were uniform on [0, pi]: the density of the
distance between uniform orientations is proportional to sin^2(d / 2).
"""

import keras
from keras import ops

from cryotwin.models.heads import distance_from_squares

_NEAR_WEIGHT = 0.05
"""Added to sin^2(d / 2) in the weights: bounds the weight of the few pairs with small distances."""


def weighted_pair_loss(
    features: keras.KerasTensor, rotations: keras.KerasTensor, head: str
) -> keras.KerasTensor:
    """Gives the weighted mean of the squared errors of the distances of all pairs, in rad^2.

    Args:
        features: (B, D) float32, as the head wants them.
        rotations: (B, 9), the rows of the rotation matrices one after the other.
        head: a distance head of `cryotwin.models.heads.HEADS`.
    """
    lengths = ops.sum(ops.square(features), axis=1)
    products = ops.matmul(features, ops.transpose(features))
    squared = ops.maximum(lengths[:, None] + lengths[None, :] - 2.0 * products, 0.0)
    estimated = distance_from_squares(squared, head)
    cosine = (ops.matmul(rotations, ops.transpose(rotations)) - 1.0) / 2.0
    true = ops.arccos(ops.clip(cosine, -1.0, 1.0))
    pairs = 1.0 - ops.eye(ops.shape(rotations)[0])
    weights = pairs / ((1.0 - cosine) / 2.0 + _NEAR_WEIGHT)
    return ops.sum(weights * ops.square(estimated - true)) / ops.sum(weights)
