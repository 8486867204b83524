"""The whole way from particle images to orientations and a map, without ground truth."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
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
from cryotwin.recovery.confidence import (
    Trust,
    judge_orientations,
    likely_particles,
    particle_confidence,
)
from cryotwin.recovery.embedding import Embedding
from cryotwin.recovery.evaluation import MapComparison, compare_half_maps, evaluation_metrics
from cryotwin.recovery.feature_embedding import embed_features, sample_distances
from cryotwin.recovery.gauge import Gauge, common_line_score, find_gauge
from cryotwin.recovery.handedness import mirror_orientations, mirror_volume
from cryotwin.recovery.line_significance import line_significance
from cryotwin.recovery.masking import soft_particle_mask
from cryotwin.recovery.reconstruction import combine_half_maps, reconstruct_halves
from cryotwin.recovery.refinement import Round, refine_orientations
from cryotwin.recovery.view_spread import check_views

if TYPE_CHECKING:
    import keras

LEAST_PARTICLES = 50

_LEAST_RESIDUAL_RAD = 1e-6

_VIEWS = 400
"""Particles whose distances tell whether all are seen from one side."""


@dataclass
class Recovery:
    """What `recover` found.

    Attributes:
        quaternions: (P, 4), w >= 0, in the frame of `volume`; the hand is unknown.
        shifts_px: (P, 2) as x, y: displacement of each image's content, pixels.
        confidence: (P,) in [0, 1]: how likely a particle at least as odd as this one is, if all
            are alike; low for images whose distances, common lines or map do not fit.
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


class _Stages:
    """Times the stages and tells the caller when one begins."""

    def __init__(self, progress: Callable[[str], None]) -> None:
        self.progress = progress
        self.seconds: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        self.progress(name)
        began = time.perf_counter()
        yield
        self.seconds[name] = round(time.perf_counter() - began, 2)

    def counting(self, name: str, total: int) -> Callable[[int], None]:
        """Gives a function that takes how many particles are done more, and tells each tenth."""
        done = 0

        def count(more: int) -> None:
            nonlocal done
            before, done = done, done + more
            if 10 * done // total > 10 * before // total and done < total:
                self.progress(f"{name} ({10 * (10 * done // total)}%)")

        return count


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
    images = _scaled(images)
    stages = _Stages(progress)
    with stages.stage("features"):
        features = particle_features(
            estimator.get_layer("extractor"),
            images,
            pixel_size_angstrom,
            estimator_metadata,
            ctf,
            progress=stages.counting("features", len(images)),
        )
    _check_views(features, head, estimator_metadata)
    with stages.stage("embedding"):
        counting = stages.counting("embedding", len(images))
        embedded = embed_features(features, head, seed=seed, threads=threads, progress=counting)
        embedding = embedded.embedding
    with stages.stage("gauge"):
        gauge = find_gauge(
            images,
            embedding.quaternions,
            max_shift_px=max_shift_px,
            ctf=ctf,
            pixel_size_angstrom=pixel_size_angstrom,
            symmetry=symmetry,
            seed=seed,
        )
    quaternions = gauge.apply(embedding.quaternions)
    with stages.stage("confidence"):
        likely = likely_particles(embedded.residuals)
        significance = line_significance(
            images,
            quaternions,
            max_shift_px=max_shift_px,
            ctf=ctf,
            pixel_size_angstrom=pixel_size_angstrom,
            symmetry=symmetry,
            likely=likely,
            seed=seed,
        )
        oddness = [np.log(np.maximum(embedded.residuals, _LEAST_RESIDUAL_RAD))]
        confidence = particle_confidence(*oddness, -significance)
    trust = judge_orientations(embedding.trusted, embedding.reason, significance)
    shifts = np.zeros((len(images), 2))
    kept = np.ones(len(images), dtype=bool)
    halves = np.random.default_rng(seed).permutation(len(images)) % 2
    rounds: list[Round] = []
    if refine:
        with stages.stage("refinement"):
            refined = refine_orientations(
                images,
                quaternions,
                halves,
                pixel_size_angstrom=pixel_size_angstrom,
                ctf=ctf,
                symmetry=symmetry,
                max_shift_px=max_shift_px,
                confidence=confidence,
                threads=threads,
                progress=progress,
            )
            quaternions, shifts = refined.quaternions, refined.shifts_px
            kept, rounds = refined.kept, refined.rounds
            significance = line_significance(
                images,
                quaternions,
                shifts_px=shifts,
                ctf=ctf,
                pixel_size_angstrom=pixel_size_angstrom,
                symmetry=symmetry,
                likely=kept,
                seed=seed,
            )
            oddness += [refined.misfits, -refined.scales]
            confidence = particle_confidence(*oddness, -significance)
    with stages.stage("reconstruction"):
        half_maps = reconstruct_halves(
            images,
            quaternions_to_matrices(quaternions),
            np.where(kept, halves, -1),
            shifts_px=shifts,
            ctf=ctf,
            pixel_size_angstrom=pixel_size_angstrom,
            symmetry=symmetry,
            threads=threads,
        )
        mask = soft_particle_mask((half_maps[0] + half_maps[1]) / 2)
        halves_compared = compare_half_maps(*half_maps, pixel_size_angstrom, mask=mask)
        volume = combine_half_maps(half_maps, halves_compared.fsc)
    recovery = Recovery(
        quaternions=quaternions,
        shifts_px=shifts,
        confidence=confidence,
        halves=halves,
        volume=volume,
        mask=mask,
        half_maps=half_maps,
        metrics={
            **evaluation_metrics(particles=len(images), half_maps=halves_compared),
            "embedding_loss_rad2": embedding.loss,
            "embedding_trusted": trust.trusted,
            "embedding_trust_reason": trust.reason,
            "handedness": "unknown",
            "hand_flipped": flip_hand,
            "common_line_score": {
                "before": gauge.score_before,
                "after": common_line_score(
                    images,
                    quaternions,
                    shifts_px=shifts,
                    ctf=ctf,
                    pixel_size_angstrom=pixel_size_angstrom,
                    symmetry=symmetry,
                    seed=seed,
                ),
            },
            "seconds": stages.seconds,
        },
        embedding=embedding,
        trust=trust,
        gauge=gauge,
        rounds=rounds,
        distances=sample_distances(features, head, seed=seed),
        half_maps_compared=halves_compared,
    )
    return _with_other_hand(recovery) if flip_hand else recovery


def _with_other_hand(recovery: Recovery) -> Recovery:
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
