"""What the report of a run shows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating]


@dataclass
class ReportContent:
    """What a report shows. What is not known stays None or empty and its figure is left out.

    Attributes:
        title: heading, such as "7cfn, 1,650 particles".
        command: the command line that was run.
        particles_source: where the particles came from.
        pixel_size_angstrom: pixel size of images and map.
        images_sample: (k, N, N) some of the images; up to 12 are shown.
        quaternions: (P, 4) the orientations found.
        volume: (N, N, N) the map.
        symmetry: point group that was imposed.
        notes: sentences on how the images were used, such as at which pixel size.
        defocus_angstrom: (P,) mean defocus of each image, where its CTF is known.
        microscope: what is known of it, by name, ready to print.
        estimated_distances: (m,) rad, distances that the estimator gave for a sample of pairs.
        true_distances: (m,) rad, the true ones of the same pairs, when the truth is known.
        embedding_losses: (starts,) rad^2, the final loss of each start.
        embedding_loss: rad^2, of the start that was kept.
        embedding_trusted: whether the certificate holds.
        embedding_reason: the certificate in words.
        common_line: {"before": score, "after": score}.
        gauge_candidates: score of each candidate, {"as estimated": score, "transposed": score}.
        flip_command: the command that gives the other hand; "" if there is none.
        refinement_rounds: for each round {"round", "resolution_limit_angstrom",
            "mean_change_rad", "physical_error_rad" (or None)}, and where they are known "search",
            "size" and "particles", of which the maps were made.
        shifts_angstrom: (P, 2) as (x, y), how far particles lie off the centre of their images.
        searched_shift_angstrom: how far they were looked for.
        physical_errors: (P,) rad, when the truth is known.
        o4_error_rad: mean error after the paper's alignment, when the truth is known.
        confidence: (P,) in [0, 1], of the particles.
        doubtful_below: confidence below which a particle is doubtful.
        left_out: how many images are not in the maps, as likelier noise than views.
        doubtful_images: (k, N, N) the images of least confidence.
        curves: Fourier shell correlations (n,) by the names of `report_figures.CURVES`.
        resolution_rows: for each figure {"what", "criterion", "mask", "angstrom"}.
        resolutions: {"half_maps_0143": angstrom, "against_truth_05": angstrom}, None if unknown.
        mask_description: the mask of the curves, in words.
        next_steps: (what it is for, command) to go on with.
        next_steps_where: in which folder they run.
        seconds: by stage.
        versions: of the programs used.
        estimator: metadata of the estimator.
        settings: of the run.
        warnings: sentences to read first.
    """

    title: str
    command: str
    particles_source: str
    pixel_size_angstrom: float
    images_sample: Array
    quaternions: Array
    volume: Array
    symmetry: str = "C1"
    notes: Sequence[str] = ()
    defocus_angstrom: Array | None = None
    microscope: Mapping[str, str] = field(default_factory=dict)
    estimated_distances: Array | None = None
    true_distances: Array | None = None
    embedding_losses: Array | None = None
    embedding_loss: float | None = None
    embedding_trusted: bool | None = None
    embedding_reason: str = ""
    common_line: Mapping[str, float] = field(default_factory=dict)
    gauge_candidates: Mapping[str, float] = field(default_factory=dict)
    flip_command: str = ""
    refinement_rounds: Sequence[Mapping[str, Any]] = ()
    shifts_angstrom: Array | None = None
    searched_shift_angstrom: float | None = None
    physical_errors: Array | None = None
    o4_error_rad: float | None = None
    confidence: Array | None = None
    doubtful_below: float = 0.0
    left_out: int | None = None
    doubtful_images: Array | None = None
    curves: Mapping[str, Array] = field(default_factory=dict)
    resolution_rows: Sequence[Mapping[str, Any]] = ()
    resolutions: Mapping[str, float | None] = field(default_factory=dict)
    mask_description: str = "no mask"
    next_steps: Sequence[tuple[str, str]] = ()
    next_steps_where: str = "the folder of this report"
    seconds: Mapping[str, float] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    estimator: Mapping[str, Any] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    warnings: Sequence[str] = ()
