"""An estimator as in the paper: trained on pairs with frozen noise, kept in the workspace."""

import time
from dataclasses import dataclass, field
from pathlib import Path

import keras
import numpy as np
from numpy.typing import NDArray

from cryotwin.datasets.pairs import pair_distances, sample_pairs
from cryotwin.imaging.randomness import keyed_generator
from cryotwin.models.features import extract_features
from cryotwin.models.inputs import estimator_inputs
from cryotwin.models.model_files import save_estimator
from cryotwin.models.siamese import head_of
from cryotwin.pipelines.reproduction.estimator import Estimator, frame_metadata
from cryotwin.pipelines.reproduction.pair_training import PairSettings, PairTraining
from cryotwin.pipelines.reproduction.views import Condition, ViewSettings, make_views, perturbed
from cryotwin.pipelines.reproduction.workspace import Record, Workspace

_VALIDATION_SHARE = 28 / 247
"""Pairs of the validation split for each of the training split, as in the paper's Table 1."""


@dataclass(frozen=True)
class PaperTraining:
    """A training of the paper.

    Attributes:
        views: the projections.
        condition: what they go through, once and for all.
        phase_flip: flip their phases by the CTF before the network sees them.
        pairs: network, head, optimizer and pairs.
        epochs: passes over the pairs.
    """

    views: ViewSettings
    condition: Condition = field(default_factory=Condition)
    phase_flip: bool = False
    pairs: PairSettings = field(default_factory=PairSettings)
    epochs: int = 150


def paper_training(
    workspace: Workspace,
    views: ViewSettings,
    condition: Condition | None = None,
    *,
    phase_flip: bool = False,
    head: str = "cosine",
    feature_dim: int = 512,
) -> PaperTraining:
    """Gives the settings of the paper at the size of the workspace."""
    scale = workspace.scale
    pairs = PairSettings(head=head, feature_dim=feature_dim, pairs=256 * scale.paper_steps)
    return PaperTraining(views, condition or Condition(), phase_flip, pairs, scale.paper_epochs)


def train_as_in_the_paper(workspace: Workspace, settings: PaperTraining) -> Estimator:
    """Trains the paper's network, or gives the one that was trained."""

    def work(folder: Path) -> Record:
        return _train(workspace, settings, folder)

    record, folder = workspace.step(f"paper-{settings.views.target.name}", settings, work)
    path = folder / "estimator.keras"
    return Estimator(path, record["curve"], record["seconds"], record["passes"])


def _train(workspace: Workspace, settings: PaperTraining, folder: Path) -> Record:
    made = make_views(workspace, settings.views)
    pixel_size = made.pixel_size_angstrom
    metadata = frame_metadata(
        settings.views, pixel_size, settings.condition, head=settings.pairs.head, symmetry="C1"
    ) | {"phase_flip": settings.phase_flip, "takes_ctf": False}
    seen = {}
    for split in ("train", "validation"):
        images = perturbed(made.splits[split], settings.condition, pixel_size, "frozen", split)
        seen[split], _ = estimator_inputs(images.images, pixel_size, metadata, images.ctf)
    training = PairTraining(seen["train"], made.splits["train"].quaternions, settings.pairs)
    kept = training.restore(folder / "training") or {"curve": [], "seconds": 0.0}
    validation = _Validation(seen["validation"], made.splits["validation"].quaternions, settings)
    while len(kept["curve"]) < settings.epochs:
        began = time.monotonic()
        losses = [training.train_step() for _ in range(settings.pairs.steps_per_epoch)]
        kept["seconds"] += time.monotonic() - began
        kept["curve"].append([float(np.mean(losses)), validation.loss(training.model)])
        training.save(folder / "training", kept)
        workspace.say(
            f"    epoch {len(kept['curve'])} of {settings.epochs}: training "
            f"{kept['curve'][-1][0]:.4f}, validation {kept['curve'][-1][1]:.4f} rad^2"
        )
    save_estimator(training.model, folder / "estimator.keras", metadata)
    return {**kept, "passes": training.passes}


class _Validation:
    """The loss (3) on pairs of the validation split whose distances are uniform too."""

    def __init__(
        self,
        images: NDArray[np.floating],
        quaternions: NDArray[np.floating],
        settings: PaperTraining,
    ) -> None:
        self._images = images
        rng = keyed_generator(settings.pairs.seed, "validation pairs")
        count = max(1, round(settings.pairs.pairs * _VALIDATION_SHARE))
        self._pairs = sample_pairs(quaternions, count, rng)
        self._true = pair_distances(quaternions, self._pairs)

    def loss(self, model: keras.Model) -> float:
        features = extract_features(model.get_layer("extractor"), self._images)
        distances = head_of(model).distances_in_numpy(features, features)
        return float(np.mean((distances[tuple(self._pairs.T)] - self._true) ** 2))
