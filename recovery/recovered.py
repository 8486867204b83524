"""What comes out of a recovery."""

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cryotwin.recovery.confidence import Trust
from cryotwin.recovery.embedding import Embedding
from cryotwin.recovery.evaluation import MapComparison
from cryotwin.recovery.gauge import Gauge
from cryotwin.recovery.handedness import mirror_orientations, mirror_volume
from cryotwin.recovery.refinement import Round


@dataclass
class Recovery:
    """What `cryotwin.recovery.recover` found.

    Attributes:
        quaternions: (P, 4), w >= 0, in the frame of `volume`; the hand is unknown.
        shifts_px: (P, 2) as x, y: displacement of each image's content, pixels.
        confidence: (P,) in [0, 1]: how likely a particle at least as odd as this one is, if all
            are alike; low for images whose distances, common lines or map do not fit.
        kept: (P,) whether the maps are made of an image; others are likelier noise than views.
        halves: (P,) 0 or 1: which of the half maps each particle is in.
        volume: (N, N, N) as z, y, x, the map of all particles, shells weighted by the FSC.
        mask: (N, N, N) in [0, 1], soft, around the particle in the half maps.
        half_maps: two (N, N, N), unweighted, of the two halves.
        metrics: the figures of metrics.json that need no ground truth.
        embedding: the embedding and its certificate, which speaks of the distances alone.
        trust: whether the orientations from the embedding are to be trusted, images considered.
        gauge: the gauge and its scores.
        rounds: the rounds of the refinement; empty without.
        distances: (pairs, 3): a sample of pairs i, j and their estimated distance in rad.
        half_maps_compared: their Fourier shell correlation and resolution.
    """

    quaternions: NDArray[np.float64]
    shifts_px: NDArray[np.float64]
    confidence: NDArray[np.float64]
    kept: NDArray[np.bool_]
    halves: NDArray[np.int64]
    volume: NDArray[np.float32]
    mask: NDArray[np.float32]
    half_maps: tuple[NDArray[np.float32], NDArray[np.float32]]
    metrics: dict[str, Any]
    embedding: Embedding
    trust: Trust
    gauge: Gauge
    rounds: list[Round] = field(default_factory=list)
    distances: NDArray[np.float64] = field(default_factory=lambda: np.zeros((0, 3)))
    half_maps_compared: MapComparison | None = None


def with_other_hand(recovery: Recovery) -> Recovery:
    """Mirrors maps and orientations, so that they go together as before."""
    first, second = recovery.half_maps
    return replace(
        recovery,
        quaternions=mirror_orientations(recovery.quaternions),
        volume=mirror_volume(recovery.volume),
        mask=mirror_volume(recovery.mask),
        half_maps=(mirror_volume(first), mirror_volume(second)),
        rounds=[
            replace(entry, quaternions=mirror_orientations(entry.quaternions))
            for entry in recovery.rounds
        ],
    )
