"""The loss over all pairs of a batch: equation (3) of the paper, with weights.

Pairs are weighted so that distances count as if they were uniform on [0, d_max]. Without symmetry
the density of the distance between uniform orientations is proportional to sin^2(d / 2); with a
point group it follows that up to the border of the fundamental domain and falls to 0 at d_max.
"""

from functools import cache

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray

from cryotwin.imaging.fundamental_domain import domain_radius
from cryotwin.imaging.point_groups import symmetry_matrices
from cryotwin.imaging.rotations import rotation_grid
from cryotwin.models.plain_heads import Head

_NEAR_WEIGHT = 0.05
"""Added to the density, at most 1, in the weights: bounds the weight of rare distances."""

_BINS = 48

_GRID_SPACING_RAD = 0.06
"""Of the 370,000 rotations that a density is counted on: 1 % in a bin."""


def weighted_pair_loss(
    features: keras.KerasTensor, rotations: keras.KerasTensor, head: Head
) -> keras.KerasTensor:
    """Gives the weighted mean of the squared errors of the distances of all pairs, in rad^2.

    Args:
        features: (B, D) float32, as the head wants them.
        rotations: (B, 9), the rows of the rotation matrices one after the other.
        head: what the distances are read off with; its point group is that of the true ones.
    """
    estimated = head.distances_of_pairs(features)
    cosine = largest_cosines(rotations, head.symmetry)
    true = ops.arccos(ops.clip(cosine, -1.0, 1.0))
    pairs = 1.0 - ops.eye(ops.shape(rotations)[0])
    weights = pairs / (relative_density(true, head.symmetry) + _NEAR_WEIGHT)
    return ops.sum(weights * ops.square(estimated - true)) / ops.sum(weights)


def largest_cosines(rotations: keras.KerasTensor, symmetry: str) -> keras.KerasTensor:
    """Gives cos d_G(Ri, Rj) of all pairs, from rotations (B, 9): (B, B)."""
    group = symmetry_matrices(symmetry)
    # vec(R g) = vec(R) turn, with a (9, 9) matrix for each g: two plain matrix products in all.
    turns = np.concatenate([np.kron(np.eye(3), g) for g in group], axis=1).astype(np.float32)
    copies = ops.reshape(ops.matmul(rotations, turns), (-1, 9))
    traces = ops.matmul(copies, ops.transpose(rotations))
    size = ops.shape(rotations)[0]
    traces = ops.reshape(traces, (size, len(group), size))
    return (ops.max(traces, axis=1) - 1.0) / 2.0


def relative_density(distances: keras.KerasTensor, symmetry: str) -> keras.KerasTensor:
    """Gives the density of d_G between uniform orientations over its maximum, for any d in rad."""
    if symmetry == "C1":
        return ops.square(ops.sin(distances / 2.0))
    table = density_table(symmetry)
    place = ops.clip(distances / domain_radius(symmetry), 0.0, 1.0) * (len(table) - 1.0)
    below = ops.minimum(ops.floor(place), len(table) - 2.0)
    index = ops.cast(below, "int32")
    values = ops.convert_to_tensor(table)
    lower, upper = ops.take(values, index), ops.take(values, index + 1)
    return lower + (place - below) * (upper - lower)


@cache
def density_table(symmetry: str) -> NDArray[np.float32]:
    """Counts the density of d_G over its maximum, at evenly spaced distances from 0 to d_max."""
    traces = rotation_grid(_GRID_SPACING_RAD).reshape(-1, 9) @ (
        symmetry_matrices(symmetry).reshape(-1, 9).T
    )
    distances = np.arccos(np.clip((traces.max(axis=1) - 1) / 2, -1, 1))
    largest = domain_radius(symmetry)
    counts, edges = np.histogram(distances, bins=_BINS, range=(0, largest))
    places = np.linspace(0, largest, _BINS + 1)
    density = np.interp(places, (edges[1:] + edges[:-1]) / 2, counts)
    density[0] = 0
    return (density / density.max()).astype(np.float32)
