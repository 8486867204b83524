"""What an estimator says of images, and how much of it changes when they move."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from cryotwin.imaging.microscope import shift_images
from cryotwin.imaging.randomness import keyed_generator
from cryotwin.imaging.rotations import pairwise_distances
from cryotwin.models.features import extract_features
from cryotwin.models.siamese import head_of
from zoo.distance_statistics import BinnedErrors, errors_by_distance, pairs_of
from zoo.projections import SEED


def estimated_distances(model: Any, images: NDArray[np.float32]) -> NDArray[np.float64]:
    """Gives the distances (P, P) in rad that a Siamese model estimates between images (P, N, N)."""
    features = extract_features(model.get_layer("extractor"), images)
    distances = head_of(model).distances_in_numpy(features, features)
    return (distances + distances.T) / 2


def distance_errors(
    model: Any,
    images: NDArray[np.float32],
    quaternions: NDArray[np.float64],
    *,
    symmetry: str = "C1",
) -> BinnedErrors:
    """Compares the estimated with the true distances of all pairs of images."""
    true = pairwise_distances(quaternions, symmetry=symmetry)
    return errors_by_distance(pairs_of(estimated_distances(model, images)), pairs_of(true))


def shifted_anywhere(images: NDArray[np.float32], distance_px: float) -> NDArray[np.float32]:
    """Moves each image by so many pixels, in a direction of its own."""
    angles = keyed_generator(SEED, "directions").uniform(0, 2 * np.pi, len(images))
    return shift_images(images, distance_px * np.stack([np.cos(angles), np.sin(angles)], axis=1))
