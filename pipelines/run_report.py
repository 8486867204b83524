"""What the report of a run says: the recovery beside the truth, where that is known."""

from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cryotwin.datasets.particle_set import ParticleSet
from cryotwin.imaging.rotations import orientation_distances
from cryotwin.recovery.alignment import align_orientations
from cryotwin.recovery.evaluation import (
    Evaluation,
    MapComparison,
    compare_maps,
    evaluate_orientations,
    evaluation_metrics,
    read_true_map,
)
from cryotwin.recovery.from_images import Recovery
from cryotwin.recovery.report import ReportContent

_SAMPLE_IMAGES = 12
_PROGRAMS = ("cryotwin", "tensorflow", "keras", "finufft", "numpy", "scipy")


@dataclass(frozen=True)
class Truth:
    """A recovery against the truth; None and empty where that is not known."""

    orientations: Evaluation | None = None
    map: MapComparison | None = None
    metrics: dict[str, Any] = field(default_factory=dict)


def evaluate_recovery(recovery: Recovery, particles: ParticleSet, *, symmetry: str = "C1") -> Truth:
    """Compares a recovery with the truth that a dataset folder holds.

    Orientations in a particle file are somebody's estimate: `cryotwin evaluate` compares with them.
    """
    if particles.quaternions is None or not particles.metadata:
        return Truth()
    orientations = evaluate_orientations(
        recovery.quaternions, particles.quaternions, symmetry=symmetry
    )
    against_truth = None
    if particles.volume_path is not None:
        true = read_true_map(
            particles.volume_path,
            size=len(recovery.volume),
            pixel_size_angstrom=particles.pixel_size_angstrom,
        )
        against_truth = compare_maps(
            recovery.volume, true, orientations.physical, particles.pixel_size_angstrom
        )
    metrics = evaluation_metrics(
        particles=len(particles), orientations=orientations, against_truth=against_truth
    )
    metrics["resolution_angstrom"] = recovery.metrics["resolution_angstrom"] | metrics.get(
        "resolution_angstrom", {}
    )
    return Truth(orientations, against_truth, metrics)


def report_content(
    recovery: Recovery,
    particles: ParticleSet,
    truth: Truth,
    metrics: dict[str, Any],
    estimator: dict[str, Any],
    command: str,
) -> ReportContent:
    """Gathers what the report shows."""
    first, second = recovery.distances[:, :2].astype(np.int64).T
    known = None if truth.orientations is None else particles.quaternions
    return ReportContent(
        title=f"Recovery of {len(particles):,} particles",
        command=command,
        particles_source=particles.source,
        pixel_size_angstrom=particles.pixel_size_angstrom,
        images_sample=particles.images[:_SAMPLE_IMAGES],
        quaternions=recovery.quaternions,
        volume=recovery.volume,
        estimated_distances=recovery.distances[:, 2],
        true_distances=None
        if known is None
        else orientation_distances(known[first], known[second]),
        embedding_losses=recovery.embedding.start_losses,
        embedding_loss=recovery.embedding.loss,
        embedding_trusted=recovery.embedding.trusted,
        embedding_reason=recovery.embedding.reason,
        common_line=metrics["common_line_score"],
        gauge_candidates={
            "as estimated": recovery.gauge.score_as_estimated,
            "transposed": recovery.gauge.score_transposed,
        },
        refinement_rounds=[_round(entry, known) for entry in recovery.rounds],
        physical_errors=None if truth.orientations is None else truth.orientations.physical.errors,
        o4_error_rad=None if truth.orientations is None else truth.orientations.o4.mean_error,
        fsc_half=recovery.fsc,
        fsc_truth=None if truth.map is None else truth.map.fsc,
        resolutions=metrics["resolution_angstrom"],
        mask_description=metrics["resolution_angstrom"]["mask"],
        seconds=metrics["seconds"],
        versions={name: version(name) for name in _PROGRAMS},
        estimator=estimator,
        settings={"refinement": bool(recovery.rounds), "particles": len(particles)},
        warnings=_warnings(recovery),
    )


def _round(entry: Any, known: NDArray[np.floating] | None) -> dict[str, Any]:
    return {
        "round": entry.number,
        "resolution_limit_angstrom": entry.resolution_limit_angstrom,
        "mean_change_rad": entry.mean_change_rad,
        "physical_error_rad": None
        if known is None
        else align_orientations(entry.quaternions, known).mean_error,
    }


def _warnings(recovery: Recovery) -> list[str]:
    warnings = []
    if not recovery.embedding.trusted:
        warnings.append(
            f"The embedding is not to be trusted: {recovery.embedding.reason}. The estimator may "
            "not fit this particle, or the images may be noisier than it was trained for."
        )
    scores = recovery.gauge
    if abs(scores.score_as_estimated - scores.score_transposed) < 0.02:
        warnings.append(
            "Common lines hardly tell the orientations from their transposes "
            f"({scores.score_as_estimated:.3f} and {scores.score_transposed:.3f}): "
            "the map may be wrong."
        )
    return warnings
