"""An estimator trained on many proteins at once: each batch is of one of them, all of its pairs."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryotwin.datasets.loading import PairLoader
from cryotwin.models.model_files import save_estimator
from cryotwin.models.training import EpochReport, train
from cryotwin.models.training_settings import TrainingSettings
from cryotwin.pipelines.reproduction.epoch_curve import EpochCurve
from cryotwin.pipelines.reproduction.estimator import Estimator
from cryotwin.pipelines.reproduction.protein_views import (
    ProteinViews,
    load_proteins,
    make_protein_views,
)
from cryotwin.pipelines.reproduction.workspace import Record, Workspace

_EPOCHS = 10
"""Reports of a training; batches are dealt anew whenever the proteins are through."""


@dataclass(frozen=True)
class ProteinTraining:
    """A training of ours, of any network and head, on the projections of proteins.

    Attributes:
        views: the projections.
        model: the network.
        head: the distance head.
        steps: batches, a tenth of them an epoch.
        batch_size: images of a batch, all of one protein.
        seed: of weights and batches.
    """

    views: ProteinViews
    model: str
    head: str
    steps: int
    batch_size: int = 64
    seed: int = 0


def train_on_proteins(
    workspace: Workspace, files: Sequence[Path], settings: ProteinTraining
) -> Estimator:
    """Trains on the proteins of the files, or gives what was trained."""

    def work(folder: Path) -> Record:
        return _train(workspace, files, settings, folder)

    record, folder = workspace.step(f"proteins-{settings.model}", settings, work)
    return Estimator(
        folder / "estimator.keras", record["curve"], record["seconds"], record["passes"]
    )


def _train(
    workspace: Workspace, files: Sequence[Path], settings: ProteinTraining, folder: Path
) -> Record:
    dataset = make_protein_views(workspace, files, settings.views)
    curve = EpochCurve(folder / "curve.json")

    def report(epoch: EpochReport) -> None:
        validation_loss = curve.add(epoch)
        workspace.say(
            f"    {epoch.fraction:.0%}: validation on a protein seen {validation_loss:.4f} rad^2"
        )

    (validation,) = load_proteins(dataset, "validation", most=1)
    batches = PairLoader(dataset, particles_per_structure=settings.batch_size, seed=settings.seed)
    model = train(
        None,
        validation.views,
        TrainingSettings(
            model=settings.model,
            head=settings.head,
            epochs=_EPOCHS,
            batch_size=settings.batch_size,
            seed=settings.seed,
        ),
        checkpoints=folder / "training",
        report=report,
        batches=batches.dataset(),
        steps_per_epoch=settings.steps // _EPOCHS,
    )
    structure = f"{settings.views.proteins} proteins"
    # Without a pixel size: each protein has its own, and images are taken as they are.
    metadata = {"structure": structure, "head": settings.head, "symmetry": "C1"}
    save_estimator(model, folder / "estimator.keras", metadata)
    return {"curve": curve.rows, "passes": settings.steps * settings.batch_size}
