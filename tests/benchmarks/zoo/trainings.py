"""Trainings by cryotwin's own loop: all of equal length, kept in the cache, never repeated."""

import json
import shutil
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cryotwin.datasets.perturbation import Perturbation
from cryotwin.models.model_files import load, save_estimator
from cryotwin.pipelines.staging import write_json
from zoo.claims import claimed
from zoo.projections import SIZE_PX, TARGETS, Frame, dataset, fitted_views, noise_variance
from zoo.records import settings_name

if TYPE_CHECKING:
    from cryotwin.models.pair_batches import Views
    from cryotwin.models.training import EpochReport
    from cryotwin.models.training_settings import TrainingSettings

_VALIDATION_VIEWS = 500


@dataclass(frozen=True)
class Training:
    """All that a training depends on.

    Attributes:
        model: an architecture of the zoo.
        head: a distance head.
        seed: of weights, batches, noise.
        images: how many images it sees, each once a pass over the training split.
        target: a protein of `zoo.projections.TARGETS`.
        count: projections of the dataset, over all splits.
        training_views: of the training split, from its start.
        frame: the box that the network sees.
        snr_db: the noise goes down to this ratio at 116 px; None is none.
        max_shift_px: shifts, in pixels of the 116.
        batch_size: images in a batch.
        learning_rate: the highest of the schedule.
        validation_views: of the validation split, from its start.
    """

    model: str
    head: str = "so3"
    seed: int = 0
    images: int = 120_000
    target: str = "5j0n"
    count: int = 20_000
    training_views: int = 10_000
    frame: Frame = field(default_factory=Frame)
    snr_db: float | None = None
    max_shift_px: float = 0.0
    batch_size: int = 128
    learning_rate: float = 2e-3
    validation_views: int = _VALIDATION_VIEWS

    @property
    def name(self) -> str:
        """What the progress calls it."""
        return f"{self.model} {self.head} seed {self.seed}, {self.images:,} images"


def trained(cache: Path, training: Training) -> tuple[Any, list[list[float]]]:
    """Gives the model of a training, and its curve.

    The curve has rows (seconds, forward passes, squared error over all pairs of the validation
    views in rad^2), one an epoch. Seconds are those of the loop, its validation and checkpoints
    included; of a training that was stopped, what came after its last epoch is not counted.
    """
    path = cache / "trainings" / f"{settings_name(_slug(training), training)}.keras"
    curve = path.with_suffix(".json")
    with claimed(path.with_suffix(".lock")):
        if not path.is_file():
            model = _train(cache, training, path.with_suffix(""), curve)
            save_estimator(model, path, _metadata(training))
            shutil.rmtree(path.with_suffix(""))
    return load(path), json.loads(curve.read_text())


def _train(cache: Path, training: Training, checkpoints: Path, curve: Path) -> Any:
    from cryotwin.models.training import train

    views, validation = (
        _views(cache, training, "train", training.training_views),
        _views(cache, training, "validation", training.validation_views),
    )
    settings = _training_settings(training, len(views.images))
    passes = training.batch_size * (len(views.images) // training.batch_size)
    points = json.loads(curve.read_text()) if curve.is_file() else []
    began = time.perf_counter() - (points[-1][0] if points else 0.0)

    def report(epoch: "EpochReport") -> None:
        seconds = time.perf_counter() - began
        points.append([seconds, float(epoch.epoch * passes), epoch.validation_mse_rad2])
        write_json(curve, points)
        print(
            f"{training.name}: {epoch.fraction:4.0%}, {seconds:.0f} s, "
            f"validation {epoch.validation_mse_rad2:.4f} rad^2",
            flush=True,
        )

    return train(views, validation, settings, checkpoints=checkpoints, report=report)


def _views(cache: Path, training: Training, split: str, limit: int) -> "Views":
    from cryotwin.models.pair_batches import Views

    folder = dataset(cache, training.target, training.count)
    return Views(*fitted_views(cache, folder, split, limit, training.frame))


def _training_settings(training: Training, views: int) -> "TrainingSettings":
    from cryotwin.models.training_settings import TrainingSettings

    stored = Perturbation(noise_variance(training.snr_db), training.max_shift_px)
    frame, pixel_size = training.frame, TARGETS[training.target].pixel_size_angstrom
    an_epoch = training.batch_size * max(1, views // training.batch_size)
    return TrainingSettings(
        model=training.model,
        head=training.head,
        perturbation=stored.resampled(SIZE_PX, pixel_size, frame.pixel_size_angstrom),
        pixel_size_angstrom=frame.pixel_size_angstrom,
        epochs=max(1, round(training.images / an_epoch)),
        batch_size=training.batch_size,
        learning_rate=training.learning_rate,
        seed=training.seed,
    )


def _metadata(training: Training) -> dict[str, Any]:
    return {
        "name": _slug(training),
        "architecture": training.model,
        "head": training.head,
        "structure": training.target,
        "symmetry": TARGETS[training.target].symmetry,
        "pixel_size_angstrom": training.frame.pixel_size_angstrom,
        "box_px": training.frame.box_px,
    }


def _slug(training: Training) -> str:
    return f"{training.target}-{training.model}-{training.head}-seed{training.seed}"
