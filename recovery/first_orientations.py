"""Orientations before refinement: embedding, gauge and confidence, and once more without junk.

Junk has distances too, and they pull at the particles that they are embedded with. Once common
lines tell which images are junk, the others are embedded without them, and junk is placed by its
distances like any particle that is no landmark.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cryotwin.imaging.ctf import CtfParameters
from cryotwin.models.plain_heads import Head
from cryotwin.recovery.confidence import likely_particles, particle_confidence
from cryotwin.recovery.doubtful_particles import DOUBTFUL_BELOW
from cryotwin.recovery.feature_embedding import FeatureEmbedding, embed_features
from cryotwin.recovery.gauge import Gauge, find_gauge
from cryotwin.recovery.line_significance import line_significance
from cryotwin.recovery.stages import Stages

_LEAST_JUNK = 0.02
"""Share of junk among what was embedded that is worth another embedding."""

_MOST_REPEATS = 2
_LEAST_PARTICLES = 50
_LEAST_RESIDUAL_RAD = 1e-6


@dataclass(frozen=True)
class Views:
    """Images of P particles, as far as they are known.

    Attributes:
        images: (P, N, N).
        pixel_size_angstrom: of the images.
        ctf: of the images, or None.
        symmetry: point group of the particle.
        max_shift_px: how far particles lie off the centre of their images, in x and in y.
    """

    images: NDArray[np.float32]
    pixel_size_angstrom: float
    ctf: CtfParameters | None
    symmetry: str
    max_shift_px: float

    @property
    def imaging(self) -> dict[str, Any]:
        """How the images came about, as keyword arguments."""
        return {
            "pixel_size_angstrom": self.pixel_size_angstrom,
            "ctf": self.ctf,
            "symmetry": self.symmetry,
        }


@dataclass(frozen=True)
class FirstOrientations:
    """Orientations of P particles before refinement.

    Attributes:
        embedded: from the distances, with their certificate.
        gauge: from the common lines.
        quaternions: (P, 4), of the embedding in the gauge.
        significance: (P,) of the common lines.
        residuals: (P,) logarithm of what the embedding leaves of a particle's distances.
        confidence: (P,) in [0, 1], by the last two.
    """

    embedded: FeatureEmbedding
    gauge: Gauge
    quaternions: NDArray[np.float64]
    significance: NDArray[np.float64]
    residuals: NDArray[np.float64]
    confidence: NDArray[np.float64]

    @property
    def junk(self) -> NDArray[np.bool_]:
        """Marks (P,) the images that are hardly views of the particle."""
        return self.confidence < DOUBTFUL_BELOW


def find_first_orientations(
    views: Views,
    features: NDArray[np.floating],
    head: Head,
    *,
    seed: int,
    threads: int,
    stages: Stages,
) -> FirstOrientations:
    """Embeds particles by their features and finds the gauge and the confidence of each.

    Args:
        views: of the particles.
        features: (P, D).
        head: gives the distances of features.
        seed: of whatever is random.
        threads: how many place particles at the same time.
        stages: times the stages and tells of them.
    """

    def once(among: NDArray[np.bool_]) -> FirstOrientations:
        with stages.stage("embedding"):
            embedded = embed_features(
                features,
                head,
                among=among,
                seed=seed,
                threads=threads,
                progress=stages.counting("embedding", len(features)),
            )
        with stages.stage("gauge"):
            gauge = find_gauge(
                views.images,
                embedded.embedding.quaternions,
                max_shift_px=views.max_shift_px,
                likely=among,
                seed=seed,
                **views.imaging,
            )
        quaternions = gauge.apply(embedded.embedding.quaternions)
        with stages.stage("confidence"):
            significance = line_significance(
                views.images,
                quaternions,
                max_shift_px=views.max_shift_px,
                likely=among & likely_particles(embedded.residuals),
                seed=seed,
                **views.imaging,
            )
        residuals = np.log(np.maximum(embedded.residuals, _LEAST_RESIDUAL_RAD))
        confidence = particle_confidence(residuals, -significance)
        return FirstOrientations(embedded, gauge, quaternions, significance, residuals, confidence)

    among = np.ones(len(features), dtype=bool)
    found = once(among)
    for _ in range(_MOST_REPEATS):
        told = found.junk & among
        if told.sum() < _LEAST_JUNK * among.sum() or (~found.junk).sum() < _LEAST_PARTICLES:
            break
        among = ~found.junk
        found = once(among)
    return found
