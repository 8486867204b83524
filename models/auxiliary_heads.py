"""Read-outs of an image's orientation that are trained along with the distances, and left behind.

A distance compares two images; these say of one where it was looked at from, and how it was turned
(more supervision of this kind is in the paper's section 4). What they ask of the features is
linear, so that the features, not the read-outs, have to hold it.
"""

import keras
from keras import layers, ops


def auxiliary_heads(feature_dim: int) -> keras.Model:
    """Builds the read-outs: features (B, feature_dim) to the rows of R one after the other, (B, 9).

    The layer "direction" gives the viewing direction, row 3. The layer "in_plane" gives the angle
    in the plane as rows 1 and 2: as an angle it would need a frame at each direction, and none is
    continuous over the whole sphere.
    """
    features = keras.Input((feature_dim,), name="features")
    in_plane = layers.Dense(6, name="in_plane")(features)
    direction = layers.Dense(3, name="direction")(features)
    rows = ops.concatenate([in_plane, direction], axis=-1)
    return keras.Model(features, rows, name="auxiliary_heads")


def orientation_error(
    estimated: keras.KerasTensor, rotations: keras.KerasTensor
) -> keras.KerasTensor:
    """Gives the mean over images of |R' - R|^2, the sum over all entries, from (B, 9) each."""
    return ops.mean(ops.sum(ops.square(estimated - rotations), axis=-1))
