"""The error of the distances on a validation split that stays the same."""

import keras
import numpy as np
from numpy.typing import NDArray

from cryotwin.imaging.rotations import pairwise_distances
from cryotwin.models.features import extract_features
from cryotwin.models.pair_batches import Views
from cryotwin.models.plain_heads import Head


class Validation:
    """All pairs i < j of perturbed views.

    Attributes:
        true: (pairs,) their distances in rad.
    """

    def __init__(self, views: Views, head: Head) -> None:
        self._views = views
        self._head = head
        self._pairs = np.triu_indices(len(views.images), 1)
        self.true: NDArray[np.float64] = pairwise_distances(
            views.quaternions, symmetry=head.symmetry
        )[self._pairs]

    def estimate(self, extractor: keras.Model) -> NDArray[np.float64]:
        """Gives the distances (pairs,) in rad that an extractor's features have."""
        features = extract_features(extractor, self._views.images, self._views.ctf)
        return self._head.distances_in_numpy(features, features)[self._pairs]
