"""An estimator as cryotwin trains it: all pairs of a batch, perturbed afresh, the so3 head."""

from dataclasses import dataclass, field
from pathlib import Path

from cryotwin.models.architectures import find_architecture
from cryotwin.models.checkpoints import saved_progress
from cryotwin.models.inputs import estimator_inputs
from cryotwin.models.model_files import save_estimator
from cryotwin.models.pair_batches import Views
from cryotwin.models.training import EpochReport, train
from cryotwin.models.training_settings import TrainingSettings
from cryotwin.pipelines.reproduction.epoch_curve import EpochCurve
from cryotwin.pipelines.reproduction.estimator import Estimator, frame_metadata
from cryotwin.pipelines.reproduction.views import (
    Condition,
    SplitViews,
    ViewSettings,
    make_views,
    perturbed,
)
from cryotwin.pipelines.reproduction.workspace import Record, Workspace

_VALIDATION_VIEWS = 400


@dataclass(frozen=True)
class OwnTraining:
    """A training of ours on the projections of an experiment.

    Attributes:
        views: the projections.
        condition: what they go through, afresh whenever they are seen.
        symmetry: point group of the distances.
        model: the network.
        head: the distance head.
        feature_dim: length of the features.
        phase_flip: flip their phases by the CTF before the network sees them.
        epochs: passes over the training projections.
        batch_size: images of a step; all of their pairs count.
        seed: of weights and batches.
    """

    views: ViewSettings
    condition: Condition = field(default_factory=Condition)
    symmetry: str = "C1"
    model: str = "polar_search"
    head: str = "so3"
    feature_dim: int = 512
    phase_flip: bool = False
    epochs: int = 40
    batch_size: int = 64
    seed: int = 0


def own_training(
    workspace: Workspace,
    views: ViewSettings,
    condition: Condition | None = None,
    *,
    symmetry: str = "C1",
    model: str = "polar_search",
    head: str = "so3",
    feature_dim: int = 512,
    phase_flip: bool = False,
) -> OwnTraining:
    """Gives our settings at the size of the workspace."""
    return OwnTraining(
        views,
        condition or Condition(),
        symmetry=symmetry,
        model=model,
        head=head,
        feature_dim=feature_dim,
        phase_flip=phase_flip,
        epochs=workspace.scale.own_epochs,
        batch_size=workspace.scale.own_batch,
    )


def train_our_way(workspace: Workspace, settings: OwnTraining) -> Estimator:
    """Trains a network of ours, or gives the one that was trained."""

    def work(folder: Path) -> Record:
        return _train(workspace, settings, folder)

    record, folder = workspace.step(f"own-{settings.views.target.name}", settings, work)
    path = folder / "estimator.keras"
    return Estimator(path, record["curve"], record["seconds"], record["passes"])


def _train(workspace: Workspace, settings: OwnTraining, folder: Path) -> Record:
    made = make_views(workspace, settings.views)
    metadata = frame_metadata(
        settings.views,
        made.pixel_size_angstrom,
        settings.condition,
        head=settings.head,
        symmetry=settings.symmetry,
    )
    metadata |= {
        "phase_flip": settings.phase_flip,
        "takes_ctf": find_architecture(settings.model).takes_ctf,
    }
    curve = EpochCurve(folder / "curve.json")

    def report(epoch: EpochReport) -> None:
        validation = curve.add(epoch)
        workspace.say(
            f"    epoch {epoch.epoch} of {settings.epochs}: validation {validation:.4f} rad^2"
        )

    model = train(
        made.splits["train"],
        _validation(made, settings, metadata),
        TrainingSettings(
            model=settings.model,
            head=settings.head,
            feature_dim=settings.feature_dim,
            symmetry=settings.symmetry,
            perturbation=settings.condition.at(settings.views.box_px),
            pixel_size_angstrom=made.pixel_size_angstrom,
            phase_flip=settings.phase_flip,
            epochs=settings.epochs,
            batch_size=settings.batch_size,
            seed=settings.seed,
        ),
        checkpoints=folder / "training",
        report=report,
    )
    save_estimator(model, folder / "estimator.keras", metadata)
    progress = saved_progress(folder / "training")
    return {
        "curve": curve.rows,
        "seconds": progress.seconds,
        "passes": progress.step * settings.batch_size,
    }


def _validation(made: SplitViews, settings: OwnTraining, metadata: dict[str, object]) -> Views:
    clean = made.splits["validation"]
    some = Views(clean.images[:_VALIDATION_VIEWS], clean.quaternions[:_VALIDATION_VIEWS])
    seen = perturbed(some, settings.condition, made.pixel_size_angstrom, "frozen", "validation")
    images, ctf = estimator_inputs(seen.images, made.pixel_size_angstrom, metadata, seen.ctf)
    return Views(images, some.quaternions, ctf)
