"""The whole way from particle images to orientations and a map, without ground truth."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cryotwin.imaging.ctf import CtfParameters
from cryotwin.imaging.errors import InputError
from cryotwin.imaging.rotations import quaternions_to_matrices
from cryotwin.models.features import BATCH, particle_features
from cryotwin.models.inputs import check_estimator_symmetry, check_images
from cryotwin.models.model_files import metadata_of
from cryotwin.models.plain_heads import Head
from cryotwin.models.siamese import head_of
from cryotwin.recovery.confidence import judge_orientations, particle_confidence
from cryotwin.recovery.evaluation import MapComparison, compare_half_maps, evaluation_metrics
from cryotwin.recovery.feature_embedding import sample_distances
from cryotwin.recovery.first_orientations import (
    FirstOrientations,
    Views,
    find_first_orientations,
)
from cryotwin.recovery.gauge import common_line_score
from cryotwin.recovery.line_significance import line_significance
from cryotwin.recovery.masking import soft_particle_mask
from cryotwin.recovery.reconstruction import combine_half_maps, reconstruct_halves
from cryotwin.recovery.recovered import Recovery, with_other_hand
from cryotwin.recovery.refinement import Round, refine_orientations
from cryotwin.recovery.stages import Stages
from cryotwin.recovery.view_spread import check_views

if TYPE_CHECKING:
    import keras

LEAST_PARTICLES = 50

_VIEWS = 400
"""Particles whose distances tell whether all are seen from one side."""


def recover(
    images: NDArray[np.floating],
    estimator: "keras.Model",
    *,
    pixel_size_angstrom: float,
    symmetry: str = "C1",
    refine: bool = True,
    seed: int = 0,
    ctf: CtfParameters | None = None,
    estimator_metadata: dict[str, Any] | None = None,
    max_shift_px: float = 0.0,
    flip_hand: bool = False,
    threads: int = 2,
    progress: Callable[[str], None] = lambda text: None,
) -> Recovery:
    """Recovers orientations and a map from particle images alone.

    Features in one pass, orientations that fit the distances between them (equation (4) of the
    paper), the gauge from common lines, refinement, reconstruction.

    Args:
        images: (P, N, N) as y, x, particles brighter than the background, P >= 50.
        estimator: a Siamese model, as `cryotwin.models.load` gives it.
        pixel_size_angstrom: of the images.
        symmetry: point group of the particle, which the estimator must have been trained for.
        refine: whether to refine the orientations against maps made from the images.
        seed: of the random starts and the split into halves.
        ctf: of the P images; None for images without.
        estimator_metadata: what the estimator was trained for; None takes what
            `cryotwin.models.load` found in its file. If its pixel size differs from the
            images', they are resampled for it.
        max_shift_px: how far particles may lie off the centre of their images, pixels.
        flip_hand: give the other hand: the mirror image of the map, with the orientations that
            belong to it. Images do not tell which of the two is the particle.
        threads: how many to run.
        progress: called with the name of each stage as it begins, and in between.

    Raises:
        InputError: images or settings that cannot be used, said in one line.
    """
    check_images(images)
    if estimator_metadata is None:
        estimator_metadata = metadata_of(estimator)
    head = head_of(estimator)
    check_estimator_symmetry(symmetry, {"symmetry": head.symmetry} | estimator_metadata)
    if len(images) < LEAST_PARTICLES:
        raise InputError(f"recovery needs at least {LEAST_PARTICLES} particles, not {len(images)}")
    if seed < 0:
        raise InputError(f"seed must be at least 0, not {seed}")
    particles = _Particles(
        _scaled(images),
        pixel_size_angstrom=pixel_size_angstrom,
        ctf=ctf,
        symmetry=symmetry,
        max_shift_px=max_shift_px,
        halves=np.random.default_rng(seed).permutation(len(images)) % 2,
        seed=seed,
        threads=threads,
    )
    stages = Stages(progress)
    with stages.stage("features"):
        features = particle_features(
            estimator.get_layer("extractor"),
            particles.images,
            pixel_size_angstrom,
            estimator_metadata,
            ctf,
            progress=stages.counting("features", len(images)),
        )
    _check_views(features, head, estimator_metadata)
    first = find_first_orientations(
        particles,
        features,
        head,
        seed=seed,
        threads=threads,
        stages=stages,
    )
    embedding, gauge = first.embedded.embedding, first.gauge
    trust = judge_orientations(embedding.trusted, embedding.reason, first.significance)
    found = _at_first(first)
    if refine:
        with stages.stage("refinement"):
            found = _refine(particles, found, progress)
    with stages.stage("reconstruction"):
        maps = _reconstruct(particles, found)
    recovery = Recovery(
        quaternions=found.quaternions,
        shifts_px=found.shifts_px,
        confidence=found.confidence,
        kept=found.kept,
        halves=particles.halves,
        volume=maps.volume,
        mask=maps.mask,
        half_maps=maps.halves,
        metrics={
            **evaluation_metrics(particles=len(images), half_maps=maps.compared),
            "embedding_loss_rad2": embedding.loss,
            "embedding_trusted": trust.trusted,
            "embedding_trust_reason": trust.reason,
            "handedness": "unknown",
            "hand_flipped": flip_hand,
            "common_line_score": {
                "before": gauge.score_before,
                "after": common_line_score(
                    particles.images,
                    found.quaternions,
                    shifts_px=found.shifts_px,
                    seed=seed,
                    **particles.imaging,
                ),
            },
            "seconds": stages.seconds,
        },
        embedding=embedding,
        trust=trust,
        gauge=gauge,
        rounds=found.rounds,
        distances=sample_distances(features, head, seed=seed),
        half_maps_compared=maps.compared,
    )
    return with_other_hand(recovery) if flip_hand else recovery


@dataclass(frozen=True)
class _Particles(Views):
    """What all stages work on, as the arguments of `recover` say."""

    halves: NDArray[np.int64]
    seed: int
    threads: int


@dataclass(frozen=True)
class _Found:
    """What is known of each particle after a stage; all (P, ...).

    `oddness` has the numbers that `confidence` comes from, but for `significance`, that of the
    common lines; `kept` marks those that the maps are made of; `independent` has quaternions and
    shifts from before the halves were matched to one map.
    """

    quaternions: NDArray[np.float64]
    shifts_px: NDArray[np.float64]
    kept: NDArray[np.bool_]
    oddness: list[NDArray[np.float64]]
    significance: NDArray[np.float64]
    confidence: NDArray[np.float64]
    rounds: list[Round] = field(default_factory=list)
    independent: tuple[NDArray[np.float64], NDArray[np.float64]] | None = None


@dataclass(frozen=True)
class _Maps:
    halves: tuple[NDArray[np.float32], NDArray[np.float32]]
    mask: NDArray[np.float32]
    compared: MapComparison
    volume: NDArray[np.float32]


def _at_first(first: FirstOrientations) -> _Found:
    return _Found(
        quaternions=first.quaternions,
        shifts_px=np.zeros((len(first.quaternions), 2)),
        kept=~first.junk,
        oddness=[first.residuals],
        significance=first.significance,
        confidence=first.confidence,
    )


def _refine(particles: _Particles, found: _Found, progress: Callable[[str], None]) -> _Found:
    refined = refine_orientations(
        particles.images,
        found.quaternions,
        particles.halves,
        max_shift_px=particles.max_shift_px,
        confidence=found.confidence,
        threads=particles.threads,
        progress=progress,
        **particles.imaging,
    )
    significance = line_significance(
        particles.images,
        refined.quaternions,
        shifts_px=refined.shifts_px,
        likely=refined.kept,
        seed=particles.seed,
        **particles.imaging,
    )
    oddness = [*found.oddness, refined.misfits, -refined.scales]
    return _Found(
        quaternions=refined.quaternions,
        shifts_px=refined.shifts_px,
        kept=refined.kept,
        oddness=oddness,
        significance=significance,
        confidence=particle_confidence(*oddness, -significance),
        rounds=refined.rounds,
        independent=(refined.independent_quaternions, refined.independent_shifts_px),
    )


def _reconstruct(particles: _Particles, found: _Found) -> _Maps:
    """Makes half maps that may be compared, and the best map of all particles."""

    def halves_at(
        quaternions: NDArray[np.float64], shifts_px: NDArray[np.float64]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        return reconstruct_halves(
            particles.images,
            quaternions_to_matrices(quaternions),
            np.where(found.kept, particles.halves, -1),
            shifts_px=shifts_px,
            threads=particles.threads,
            **particles.imaging,
        )

    last = found.quaternions, found.shifts_px
    independent = last if found.independent is None else found.independent
    halves = halves_at(*independent)
    mask = soft_particle_mask((halves[0] + halves[1]) / 2)
    compared = compare_half_maps(*halves, particles.pixel_size_angstrom, mask=mask)
    best = halves if np.array_equal(independent[0], last[0]) else halves_at(*last)
    return _Maps(halves, mask, compared, combine_half_maps(best, compared.fsc))


def _scaled(images: NDArray[np.floating]) -> NDArray[np.float32]:
    """Gives images of variance 1 over all of them; beside these it holds little."""
    scaled = images.astype(np.float32)
    parts = [scaled[start : start + BATCH] for start in range(0, len(scaled), BATCH)]
    mean = sum(float(part.sum(dtype=np.float64)) for part in parts) / scaled.size
    squares = sum(float(np.square(part - mean, dtype=np.float64).sum()) for part in parts)
    scaled /= np.float32(np.sqrt(squares / scaled.size))
    return scaled


def _check_views(
    features: NDArray[np.floating], head: Head, estimator_metadata: dict[str, Any]
) -> None:
    """Refuses particles that are all seen from one side, as far as the estimator can tell."""
    some = features[:_VIEWS]
    distances = np.clip(head.distances_in_numpy(some, some), 0, np.pi)
    known = estimator_metadata.get("accuracy") or {}
    check_views(
        distances, symmetry=head.symmetry, error_rad=float(known.get("distance_rmse_rad", 0))
    )
