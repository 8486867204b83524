"""Maps from recovered orientations, as the paper makes them: of noiseless projections.

Only the orientations come from what the estimator saw, so that the maps tell what their errors do
and nothing else (section 3.5). They are made in the frame of the truth and compared with it.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cryotwin.imaging.orientations import draw_quaternions
from cryotwin.imaging.randomness import keyed_generator
from cryotwin.imaging.rotations import quaternions_to_matrices
from cryotwin.pipelines.reproduction.map_slices import shown_slice
from cryotwin.pipelines.reproduction.own_column import OwnTraining
from cryotwin.pipelines.reproduction.paper_column import PaperTraining
from cryotwin.pipelines.reproduction.recovery_cases import try_training
from cryotwin.pipelines.reproduction.trial import ORIENTATIONS_FILE
from cryotwin.pipelines.reproduction.views import SplitViews, ViewSettings, make_views
from cryotwin.pipelines.reproduction.workspace import Record, Workspace
from cryotwin.recovery.alignment import align_orientations
from cryotwin.recovery.reconstruction import reconstruct
from cryotwin.recovery.resolution import fourier_shell_correlation, resolution_at

AIDED, UNAIDED = "after O(4)", "physical"
"""How orientations are brought into the frame of the truth before a map is made of them: by any
isometry of the distances, which is the paper's evaluation, or by what images leave open alone."""

TRUE, RANDOM = "true orientations", "random orientations"

_THRESHOLD = 0.5


@dataclass(frozen=True)
class _Bounds:
    views: ViewSettings
    symmetry: str


def recovered_maps(workspace: Workspace, training: PaperTraining | OwnTraining) -> Record:
    """Gives the map's numbers (`map_numbers`) of a training, by how it was aligned.

    The paper's column has both ways of `AIDED` and `UNAIDED`. Ours has the second alone, of the
    whole recovery, whose orientations need no other.
    """

    def work(folder: Path) -> Record:
        _, trial = try_training(workspace, training)
        made = make_views(workspace, training.views)
        own = isinstance(training, OwnTraining)
        symmetry = training.symmetry if isinstance(training, OwnTraining) else "C1"
        with np.load(trial / ORIENTATIONS_FILE) as kept:
            found, true = kept["whole" if own else "embedded"], kept["true"]
        ways = {UNAIDED: "object"} if own else {AIDED: "o4", UNAIDED: "object"}
        record = {}
        for way, ambiguity in ways.items():
            aligned = align_orientations(found, true, ambiguity=ambiguity, symmetry=symmetry)
            record[way] = map_numbers(
                made, aligned.quaternions, symmetry=symmetry, threads=workspace.threads
            )
        return record

    return workspace.step(f"maps-{training.views.target.name}", training, work)[0]


def bounding_maps(workspace: Workspace, training: PaperTraining | OwnTraining) -> Record:
    """Gives `map_numbers` of the best and the worst orientations: `TRUE` and `RANDOM`."""
    symmetry = training.symmetry if isinstance(training, OwnTraining) else "C1"

    def work(folder: Path) -> Record:
        made = make_views(workspace, training.views)
        true = made.splits["test"].quaternions
        drawn = draw_quaternions("so3", len(true), keyed_generator(0, "random orientations"))
        return {
            name: map_numbers(made, quaternions, symmetry=symmetry, threads=workspace.threads)
            for name, quaternions in ((TRUE, true), (RANDOM, drawn))
        }

    bounds = _Bounds(training.views, symmetry)
    return workspace.step(f"bounds-{training.views.target.name}", bounds, work)[0]


def map_numbers(
    made: SplitViews, quaternions: NDArray[np.floating], *, symmetry: str = "C1", threads: int = 1
) -> Record:
    """Reconstructs the noiseless test images with orientations, and compares with the true map.

    Args:
        made: the projections and the true map.
        quaternions: (P, 4), in the frame of the true ones.
        symmetry: point group that the map is given.
        threads: of the FFTs.

    Returns:
        `fsc` (N // 2 + 1,), `resolution_angstrom` where it falls below 0.5, and `slice`, see
        `shown_slice`.
    """
    volume = reconstruct(
        made.splits["test"].images,
        quaternions_to_matrices(quaternions),
        symmetry=symmetry,
        threads=threads,
    )
    fsc = fourier_shell_correlation(volume, made.volume)
    return {
        "fsc": fsc.round(4).tolist(),
        "resolution_angstrom": resolution_at(
            fsc, made.pixel_size_angstrom, _THRESHOLD, size=len(volume)
        ),
        "slice": shown_slice(volume),
    }
