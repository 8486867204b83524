"""Orientations of any number of particles, from their features: landmarks first, then the rest.

Some particles drawn at random, the landmarks, are embedded on all pairs (equation 4). Each other
one is placed by its distances to them. No table of the size P x P is ever held, and what is worked
on at a time has a fixed size.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from cryotwin.imaging.errors import InputError
from cryotwin.imaging.rotations import pairwise_distances
from cryotwin.models.features import BATCH
from cryotwin.models.plain_heads import Head
from cryotwin.recovery.embedding import Embedding, embed_distances
from cryotwin.recovery.placement import LEAST_LANDMARKS, LandmarkPlacer, Placement

LANDMARKS = 1000
"""Enough: the placed particles are as near to the truth as if all pairs had been embedded
(docs/many-particles.md)."""

_ALL_PAIRS = 2000
"""Up to so many particles all are landmarks, unless a number is asked for."""

_SAMPLE = 633
"""Particles whose distances are shown: about 200,000 pairs."""


@dataclass(frozen=True)
class FeatureEmbedding:
    """Orientations of P particles, up to R -> A R B and R -> R^T (docs/gauge.md).

    Attributes:
        embedding: of all particles, with the certificate of the landmarks; its loss is the mean
            over all pairs, or where there are more particles than landmarks the mean square of
            the residuals.
        residuals: (P,) root mean square, over a particle's distances to the landmarks, of what the
            orientations leave, rad.
        landmarks: (L,) which particles they are, rising.
    """

    embedding: Embedding
    residuals: NDArray[np.float64]
    landmarks: NDArray[np.intp]


@dataclass(frozen=True)
class Landmarks:
    """Particles that have been embedded on all pairs.

    Attributes:
        rows: (L,) which of the particles they are, rising.
        features: (L, D).
        embedding: of them.
        residuals: (L,) as in `FeatureEmbedding`.
    """

    rows: NDArray[np.intp]
    features: NDArray[np.floating]
    embedding: Embedding
    residuals: NDArray[np.float64]


class FeaturePlacer:
    """Places particles by their features, as they come.

    Args:
        features: (L, D) of the landmarks.
        quaternions: (L, 4) of them.
        head: gives the distances, under its point group.
    """

    def __init__(
        self, features: NDArray[np.floating], quaternions: NDArray[np.floating], head: Head
    ) -> None:
        self._features, self._head = features, head
        self._placer = LandmarkPlacer(quaternions, symmetry=head.symmetry)

    def place(self, features: NDArray[np.floating]) -> Placement:
        """Places the particles of features (P, D), a batch at a time.

        Raises:
            InputError: features of another length, or not finite.
        """
        if features.ndim != 2 or features.shape[1] != self._features.shape[1]:
            raise InputError(
                f"features must be (P, {self._features.shape[1]}), as those of the landmarks are, "
                f"not {features.shape}"
            )
        placed = [self._place(features[start : start + BATCH]) for start in _starts(len(features))]
        return Placement(
            np.concatenate([part.quaternions for part in placed]),
            np.concatenate([part.residuals for part in placed]),
        )

    def _place(self, features: NDArray[np.floating]) -> Placement:
        _check_finite(features)
        distances = self._head.distances_in_numpy(features, self._features)
        return self._placer.place(np.clip(distances, 0, np.pi))


def embed_features(
    features: NDArray[np.floating],
    head: Head,
    *,
    landmarks: int | None = None,
    among: NDArray[np.bool_] | None = None,
    seed: int = 0,
    threads: int = 1,
    progress: Callable[[int], None] = lambda count: None,
) -> FeatureEmbedding:
    """Finds the orientations of any number of particles from their features.

    The result depends on the features, `landmarks`, `among` and the seed alone.

    Args:
        features: (P, D), P >= 4, in memory or mapped (`np.load(mmap_mode="r")`): rows are read a
            batch at a time.
        head: of the estimator, as `cryotwin.models.siamese.head_of` gives it; the point group is
            its own.
        landmarks: how many particles to embed on all pairs; 1,000 when None, or all of up to 2,000.
        among: (P,), which particles may be landmarks; None for any.
        seed: of the choice of the landmarks and of the random starts.
        threads: how many place particles at the same time.
        progress: called with the number of particles that have been placed more.

    Raises:
        InputError: features of another shape or not finite, or too few landmarks.
    """
    if features.ndim != 2 or len(features) < LEAST_LANDMARKS:
        raise InputError(f"features must be (P, D) with P >= 4, not {features.shape}")
    eligible = np.arange(len(features)) if among is None else np.flatnonzero(among)
    rows = eligible[choose_landmarks(len(eligible), landmarks, seed)]
    known = embed_landmarks(np.asarray(features[rows]), rows, head, seed=seed)
    if len(rows) == len(features):
        return FeatureEmbedding(known.embedding, known.residuals, rows)
    placer = FeaturePlacer(known.features, known.embedding.quaternions, head)
    quaternions, residuals = np.empty((len(features), 4)), np.empty(len(features))

    def place(start: int) -> int:
        part = slice(start, start + BATCH)
        placement = placer.place(np.asarray(features[part]))
        quaternions[part], residuals[part] = placement.quaternions, placement.residuals
        return len(placement.residuals)

    with ThreadPoolExecutor(threads) as pool:
        for count in pool.map(place, _starts(len(features))):
            progress(count)
    quaternions[rows], residuals[rows] = known.embedding.quaternions, known.residuals
    loss = float(np.mean(residuals**2))
    embedding = replace(known.embedding, quaternions=quaternions, loss=loss)
    return FeatureEmbedding(embedding, residuals, rows)


def sample_distances(
    features: NDArray[np.floating], head: Head, *, seed: int = 0
) -> NDArray[np.float64]:
    """Gives the distances between all pairs of some hundred particles, drawn at random.

    Args:
        features: (P, D).
        head: gives the distances.
        seed: of the choice.

    Returns:
        (pairs, 3): i < j and their distance in rad, for at most 200,028 pairs.
    """
    rows = np.arange(len(features))
    if len(features) > _SAMPLE:
        rows = np.sort(np.random.default_rng(seed).choice(len(features), _SAMPLE, replace=False))
    chosen = np.asarray(features[rows])
    distances = np.clip(head.distances_in_numpy(chosen, chosen), 0, np.pi)
    first, second = np.triu_indices(len(rows), 1)
    return np.stack([rows[first], rows[second], distances[first, second]], axis=1)


def choose_landmarks(count: int, landmarks: int | None, seed: int) -> NDArray[np.intp]:
    """Draws which of `count` particles are landmarks; all of them when there are too few.

    Raises:
        InputError: `landmarks` is below 4.
    """
    if landmarks is None:
        landmarks = count if count <= _ALL_PAIRS else LANDMARKS
    if landmarks < LEAST_LANDMARKS:
        raise InputError(f"landmarks must be at least {LEAST_LANDMARKS}, not {landmarks}")
    if landmarks >= count:
        return np.arange(count)
    return np.sort(np.random.default_rng(seed).choice(count, landmarks, replace=False))


def embed_landmarks(
    features: NDArray[np.floating], rows: NDArray[np.intp], head: Head, *, seed: int = 0
) -> Landmarks:
    """Embeds landmarks on all pairs.

    Args:
        features: (L, D).
        rows: (L,) which of the particles they are.
        head: gives the distances.
        seed: of the random starts.

    Raises:
        InputError: features that are not finite, or fewer than 4.
    """
    _check_finite(features)
    distances = head.distances_in_numpy(features, features)
    distances = np.clip((distances + distances.T) / 2, 0, np.pi)
    np.fill_diagonal(distances, 0)
    embedding = embed_distances(distances, symmetry=head.symmetry, seed=seed)
    left = distances - pairwise_distances(embedding.quaternions, symmetry=head.symmetry)
    np.fill_diagonal(left, 0)
    residuals = np.sqrt(np.einsum("ij,ij->i", left, left) / (len(rows) - 1))
    return Landmarks(rows, features, embedding, residuals)


def _starts(count: int) -> range:
    return range(0, count, BATCH)


def _check_finite(features: NDArray[np.floating]) -> None:
    if not np.isfinite(features).all():
        raise InputError("features must be finite, but some are NaN or infinite")
