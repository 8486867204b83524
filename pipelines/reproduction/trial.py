"""An estimator tried on the test split: its distances, and the orientations that follow.

Every experiment that trains an estimator tries it in the same way, so that figures can be compared
across experiments, and what two of them share is done once.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cryotwin.datasets.pairs import Pairs, pair_distances, sample_pairs
from cryotwin.imaging.randomness import keyed_generator
from cryotwin.models.features import extract_features
from cryotwin.models.inputs import estimator_inputs
from cryotwin.models.model_files import metadata_of
from cryotwin.models.siamese import head_of
from cryotwin.pipelines.reproduction.estimator import (
    Estimator,
    distance_loss,
    symmetric_distances,
)
from cryotwin.pipelines.reproduction.own_column import OwnTraining, train_our_way
from cryotwin.pipelines.reproduction.paper_column import PaperTraining, train_as_in_the_paper
from cryotwin.pipelines.reproduction.recovered import (
    recover_as_in_the_paper,
    recover_our_way,
    recovery_numbers,
)
from cryotwin.pipelines.reproduction.views import SplitViews, make_views, perturbed
from cryotwin.pipelines.reproduction.workspace import Record, Workspace
from cryotwin.recovery.evaluation import evaluate_orientations
from cryotwin.recovery.from_images import recover
from cryotwin.recovery.recovered import Recovery

SHOWN_PAIRS = 1000
"""Of the test split that the paper's Figure 8b and 17 show."""

ORIENTATIONS_FILE = "orientations.npz"


@dataclass(frozen=True)
class TrialSettings:
    """What a trial depends on.

    Attributes:
        training: of the estimator, in the paper's way or ours.
        recovered: whether orientations are recovered from its distances.
        whole_way: whether our whole recovery is run on the images too, gauge and refinement.
    """

    training: PaperTraining | OwnTraining
    recovered: bool
    whole_way: bool


def train(workspace: Workspace, training: PaperTraining | OwnTraining) -> Estimator:
    """Trains in the way that the settings are for, or gives what was trained."""
    if isinstance(training, PaperTraining):
        return train_as_in_the_paper(workspace, training)
    return train_our_way(workspace, training)


def try_estimator(
    workspace: Workspace,
    training: PaperTraining | OwnTraining,
    *,
    recovered: bool = True,
    whole_way: bool = False,
) -> tuple[Record, Path]:
    """Trains an estimator, and tries it on the test split.

    Args:
        workspace: where.
        training: of the estimator.
        recovered: recover orientations from its distances, as the paper or as we do.
        whole_way: run `cryotwin.recovery.recover` on the images too; for a training of ours.

    Returns:
        A record, and the folder with the orientations. The record has `distance_loss` (rad^2, as
        if distances were uniform: the paper's L_DE on the test split), `curve` (training and
        validation loss by epoch), `training_seconds`, `pairs` (rows of true and estimated
        distance, rad); with `recovered` also `o4_error`, `physical_error`, `loss`, `steps` and
        `losses` of the embedding and `errors` (rad, one a particle, O(4)); with `whole_way` also
        `whole_o4_error`, `whole_physical_error` and `whole_errors` (physical) of the recovery.
        orientations.npz holds `true`, `embedded` and `whole`, quaternions (P, 4).
    """
    settings = TrialSettings(training, recovered, whole_way)

    def work(folder: Path) -> Record:
        return _try(workspace, settings, folder)

    kind = "paper" if isinstance(training, PaperTraining) else "own"
    return workspace.step(f"trial-{kind}-{training.views.target.name}", settings, work)


def test_images(
    workspace: Workspace, training: PaperTraining | OwnTraining
) -> tuple[SplitViews, NDArray[np.float32], NDArray[np.float32] | None]:
    """Gives the projections, and the test images (P, N, N) with what the network gets of a CTF."""
    made = make_views(workspace, training.views)
    metadata = metadata_of(train(workspace, training).load())
    seen = perturbed(
        made.splits["test"], training.condition, made.pixel_size_angstrom, "frozen", "test"
    )
    images, ctf = estimator_inputs(seen.images, made.pixel_size_angstrom, metadata, seen.ctf)
    return made, images, ctf


def recover_test_images(workspace: Workspace, training: OwnTraining) -> Recovery:
    """Runs our whole recovery on the perturbed test images, without the truth."""
    made = make_views(workspace, training.views)
    seen = perturbed(
        made.splits["test"], training.condition, made.pixel_size_angstrom, "frozen", "test"
    )
    return recover(
        seen.images,
        train(workspace, training).load(),
        pixel_size_angstrom=made.pixel_size_angstrom,
        symmetry=training.symmetry,
        ctf=seen.ctf,
        max_shift_px=training.condition.at(training.views.box_px).max_shift_px,
        threads=workspace.threads,
    )


def shown_pairs(quaternions: NDArray[np.floating], symmetry: str) -> Pairs:
    """Draws the test pairs (1,000, 2) that figures show; their distances are uniform."""
    return sample_pairs(quaternions, SHOWN_PAIRS, keyed_generator(0, "shown"), symmetry=symmetry)


def _try(workspace: Workspace, settings: TrialSettings, folder: Path) -> Record:
    training = settings.training
    symmetry = training.symmetry if isinstance(training, OwnTraining) else "C1"
    estimator = train(workspace, training)
    model = estimator.load()
    made, images, ctf = test_images(workspace, training)
    true = made.splits["test"].quaternions
    features = extract_features(model.get_layer("extractor"), images, ctf)
    # As the head gives them: those of the Euclidean one are not bounded by pi.
    distances = head_of(model).distances_in_numpy(features, features)
    pairs = shown_pairs(true, symmetry)
    record: Record = {
        "distance_loss": distance_loss(distances, true, symmetry=symmetry),
        "curve": estimator.curve,
        "training_seconds": estimator.seconds,
        "pairs": np.stack(
            [pair_distances(true, pairs, symmetry=symmetry), distances[tuple(pairs.T)]], axis=1
        )
        .round(4)
        .tolist(),
    }
    kept: dict[str, Any] = {"true": true}
    if settings.recovered:
        way = recover_as_in_the_paper if isinstance(training, PaperTraining) else recover_our_way
        found = way(symmetric_distances(distances), true, symmetry=symmetry)
        record |= recovery_numbers(found)
        kept["embedded"] = found.quaternions
    if settings.whole_way:
        assert isinstance(training, OwnTraining), "the whole way is ours"
        recovery = recover_test_images(workspace, training)
        errors = evaluate_orientations(recovery.quaternions, true, symmetry=symmetry)
        record |= {
            "whole_o4_error": errors.o4.mean_error,
            "whole_physical_error": errors.physical.mean_error,
            "whole_errors": errors.physical.errors.round(5).tolist(),
        }
        kept["whole"] = recovery.quaternions
    np.savez(folder / ORIENTATIONS_FILE, **kept)
    return record
