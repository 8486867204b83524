"""What the report of a run says: the recovery beside the truth, where that is known."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cryotwin.datasets.particle_set import ParticleSet
from cryotwin.imaging.ctf import CtfParameters
from cryotwin.imaging.rotations import orientation_distances
from cryotwin.pipelines.next_steps import next_steps
from cryotwin.recovery.alignment import align_orientations
from cryotwin.recovery.doubtful_particles import DOUBTFUL_BELOW, least_confident
from cryotwin.recovery.evaluation import (
    Evaluation,
    MapComparison,
    compare_maps,
    evaluate_orientations,
    evaluation_metrics,
    read_true_map,
)
from cryotwin.recovery.recovered import Recovery
from cryotwin.recovery.refinement import Round
from cryotwin.recovery.report_content import ReportContent

_SAMPLE_IMAGES = 12
_DOUBTFUL_IMAGES = 6
_SAME_SCORE = 0.02
_MUCH_JUNK = 0.05
_PROGRAMS = ("cryotwin", "tensorflow", "keras", "finufft", "numpy", "scipy")


@dataclass(frozen=True)
class RunDescription:
    """What was asked for.

    Attributes:
        command: the command line.
        folder: where the results go, as it was named.
        symmetry: point group of the particle.
        max_shift_px: how far particles were looked for off the centre.
        ctf: of the images, if it is known.
        notes: sentences on how the images were used.
    """

    command: str
    folder: str
    symmetry: str = "C1"
    max_shift_px: float = 0.0
    ctf: CtfParameters | None = None
    notes: Sequence[str] = ()


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
            recovery.volume,
            true,
            orientations.physical,
            particles.pixel_size_angstrom,
            symmetry=symmetry,
            mask=recovery.mask,
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
    run: RunDescription,
) -> ReportContent:
    """Gathers what the report shows."""
    first, second = recovery.distances[:, :2].astype(np.int64).T
    known = None if truth.orientations is None else particles.quaternions
    confidence = recovery.confidence
    comparisons = {"half maps": recovery.half_maps_compared, "against the truth": truth.map}
    return ReportContent(
        title=f"Recovery of {len(particles):,} particles",
        command=run.command,
        flip_command=_other_hand_command(run.command),
        particles_source=particles.source,
        pixel_size_angstrom=particles.pixel_size_angstrom,
        images_sample=particles.images[:_SAMPLE_IMAGES],
        quaternions=recovery.quaternions,
        volume=recovery.volume,
        symmetry=run.symmetry,
        notes=run.notes,
        **describe_microscope(run.ctf),
        estimated_distances=recovery.distances[:, 2],
        true_distances=None
        if known is None
        else orientation_distances(known[first], known[second], symmetry=run.symmetry),
        embedding_losses=recovery.embedding.start_losses,
        embedding_loss=recovery.embedding.loss,
        embedding_trusted=recovery.trust.trusted,
        embedding_reason=recovery.trust.reason,
        common_line=metrics["common_line_score"],
        gauge_candidates=_gauge_candidates(recovery),
        refinement_rounds=[_round(entry, known, run.symmetry) for entry in recovery.rounds],
        shifts_angstrom=recovery.shifts_px * particles.pixel_size_angstrom,
        searched_shift_angstrom=run.max_shift_px * particles.pixel_size_angstrom or None,
        physical_errors=None if truth.orientations is None else truth.orientations.physical.errors,
        o4_error_rad=None if truth.orientations is None else truth.orientations.o4.mean_error,
        confidence=confidence,
        doubtful_below=DOUBTFUL_BELOW,
        left_out=int((~recovery.kept).sum()),
        doubtful_images=particles.images[least_confident(confidence)[:_DOUBTFUL_IMAGES]],
        curves=_curves(comparisons),
        resolution_rows=_resolution_rows(comparisons),
        resolutions=metrics["resolution_angstrom"],
        mask_description=metrics["resolution_angstrom"]["mask"],
        next_steps=next_steps(
            particles,
            folder=run.folder,
            symmetry=run.symmetry,
            with_ctf=run.ctf is not None,
            resolution_angstrom=metrics["resolution_angstrom"]["half_maps_0143"],
        ),
        next_steps_where="the folder from which the names of the image stacks hold"
        if particles.as_stored
        else "the folder of this report",
        seconds=metrics["seconds"],
        versions={name: version(name) for name in _PROGRAMS},
        estimator=estimator,
        settings={
            "particles": len(particles),
            "symmetry": run.symmetry,
            "refinement": bool(recovery.rounds),
            "largest shift (px)": run.max_shift_px,
            "contrast inverted": not particles.as_stored and particles.image_names is not None,
        },
        warnings=_warnings(recovery),
    )


def _other_hand_command(command: str) -> str:
    """Gives the command of the same run with the other hand, in its place."""
    flipped = command.replace(" --flip-hand", "")
    return f"{flipped} --overwrite" if flipped != command else f"{command} --flip-hand --overwrite"


def describe_microscope(ctf: CtfParameters | None) -> dict[str, Any]:
    """Gives the defocus of the images and what the microscope was, in words."""
    if ctf is None:
        return {}
    known = ctf.columns()
    mean = (np.asarray(known["defocus_u_angstrom"]) + np.asarray(known["defocus_v_angstrom"])) / 2
    words = {
        "voltage": _span(known["voltage_kv"], "kV"),
        "Cs": _span(known["spherical_aberration_mm"], "mm"),
        "amplitude contrast": _span(known["amplitude_contrast"], ""),
        "defocus": _span(mean / 1e4, "µm"),
    }
    return {"defocus_angstrom": mean, "microscope": words}


def _span(values: NDArray[np.floating], unit: str) -> str:
    low, high = float(np.min(values)), float(np.max(values))
    text = f"{low:.3g}" if np.isclose(low, high) else f"{low:.3g} to {high:.3g}"
    return f"{text} {unit}".strip()


def _gauge_candidates(recovery: Recovery) -> dict[str, float]:
    candidates = {
        "as estimated": recovery.gauge.score_as_estimated,
        "transposed": recovery.gauge.score_transposed,
    }
    return {name: score for name, score in candidates.items() if score is not None}


def _curves(comparisons: dict[str, MapComparison | None]) -> dict[str, NDArray[np.floating]]:
    """Gives the curves that were measured, by the names of the report."""
    curves: dict[str, NDArray[np.floating]] = {}
    for what, comparison in comparisons.items():
        if comparison is not None:
            measured = {
                "corrected": comparison.fsc_corrected,
                "masked": comparison.fsc_masked,
                "in a sphere": comparison.fsc,
                "no mask": comparison.fsc_no_mask,
                "phases randomised": comparison.fsc_randomised,
            }
            curves |= {f"{what}, {n}": curve for n, curve in measured.items() if curve is not None}
    return curves


def _resolution_rows(comparisons: dict[str, MapComparison | None]) -> list[dict[str, Any]]:
    rows = []
    for what, comparison in comparisons.items():
        if comparison is not None:
            shared = {"what": what, "criterion": f"{comparison.threshold:g}"}
            correction = ", corrected" if comparison.fsc_corrected is not None else ""
            rows += [
                shared | {"angstrom": angstrom, "mask": mask}
                for angstrom, mask in (
                    (comparison.resolution_angstrom, comparison.mask),
                    (
                        comparison.resolution_masked_angstrom,
                        comparison.particle_mask + correction,
                    ),
                    (comparison.resolution_no_mask_angstrom, "none"),
                )
            ]
    return rows


def _round(entry: Round, known: NDArray[np.floating] | None, symmetry: str) -> dict[str, Any]:
    return {
        "round": entry.number,
        "search": entry.search,
        "size": entry.size,
        "particles": entry.particles,
        "resolution_limit_angstrom": entry.resolution_limit_angstrom,
        "mean_change_rad": entry.mean_change_rad,
        "physical_error_rad": None
        if known is None
        else align_orientations(entry.quaternions, known, symmetry=symmetry).mean_error,
    }


def _warnings(recovery: Recovery) -> list[str]:
    warnings = []
    if not recovery.trust.trusted:
        warnings.append(
            f"The embedding is not to be trusted: {recovery.trust.reason}. The estimator may "
            "not fit this particle, or the images may be noisier than it was trained for. "
            "Section 3 says what to do."
        )
    scores = recovery.gauge
    other = scores.score_transposed
    if other is not None and abs(scores.score_as_estimated - other) < _SAME_SCORE:
        warnings.append(
            "Common lines hardly tell the orientations from their transposes "
            f"({scores.score_as_estimated:.3f} and {other:.3f}): the map may be wrong."
        )
    junk = int((~recovery.kept).sum())
    if junk > _MUCH_JUNK * len(recovery.kept):
        warnings.append(
            f"{junk:,} of {len(recovery.kept):,} images are likely junk and not in the map: "
            "section 6 shows them, section 10 says how to take them out."
        )
    return warnings
