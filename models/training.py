"""Training of an estimator: all pairs of a batch, perturbed afresh, on any Keras backend.

A batch of B images has B (B - 1) / 2 pairs and costs B forward passes. Whatever happens in a step
follows from the seed and the number of the step, and what a step changes is in the checkpoint: a
training that was killed ends as one that was not.
"""

import hashlib
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray

from cryotwin.imaging.errors import InputError
from cryotwin.imaging.interrupts import interrupts_held
from cryotwin.models.batch_streams import BatchSource, DrawnBatches, GivenBatches, made_ahead
from cryotwin.models.checkpoints import Checkpoint
from cryotwin.models.devices import Devices
from cryotwin.models.pair_batches import PairBatches, Views, check_views
from cryotwin.models.pair_trainer import PairTrainer
from cryotwin.models.precision import computing_in, with_loss_scaling
from cryotwin.models.schedule import highest_noise_level, learning_rate_factor
from cryotwin.models.siamese import build, head_of
from cryotwin.models.training_settings import TrainingSettings
from cryotwin.models.validation import Validation

CHECKPOINT_SECONDS = 60.0
"""Between two checkpoints within an epoch."""


@dataclass(frozen=True)
class EpochReport:
    """What is known after an epoch.

    Attributes:
        epoch: its number, from 1.
        fraction: how far training is, 0 to 1.
        loss: mean over its steps, with the auxiliary heads' part.
        validation_mse_rad2: squared error of the distances of the validation split.
        learning_rate: of its last step.
        estimated: distances in rad of the pairs i < j of the validation split.
        true: those they should be.
    """

    epoch: int
    fraction: float
    loss: float
    validation_mse_rad2: float
    learning_rate: float
    estimated: NDArray[np.float64]
    true: NDArray[np.float64]


def train(
    training: Views | None,
    validation: Views,
    settings: TrainingSettings,
    *,
    checkpoints: Path,
    report: Callable[[EpochReport], None] = lambda _: None,
    batches: Iterable[Any] | None = None,
    steps_per_epoch: int | None = None,
    checkpoint_seconds: float = CHECKPOINT_SECONDS,
) -> keras.Model:
    """Trains an estimator and returns it.

    Args:
        training: clean views; None with `batches`.
        validation: perturbed views, never trained on.
        settings: how.
        checkpoints: a folder that keeps the state. If it holds one of the same settings and
            views, training goes on from there.
        report: called after each epoch.
        batches: anything that Keras trains from, in the place of views: a `tf.data.Dataset`, a
            generator, a `keras.utils.PyDataset`, of images (B, N, N, 1) and rotations (B, 3, 3)
            or (B, 9), or of dictionaries as `cryotwin.datasets.loading.PairLoader` gives them, of
            one structure. They are already perturbed. Training that goes on passes over those
            that it had: it needs an iterable that gives them again.
        steps_per_epoch: batches in an epoch, where `batches` has no length.
        checkpoint_seconds: time between checkpoints within an epoch.

    Raises:
        InputError: views that cannot be used, both or neither of views and batches, batches with
            a curriculum, more devices than there are, or a checkpoint of other settings or views.
    """
    if (training is None) == (batches is None):
        raise InputError("give either training views or batches, one of the two")
    source: BatchSource
    if training is not None:
        check_views(training, "training", settings.devices)
        source, views = DrawnBatches(PairBatches(training, settings)), _fingerprint(training)
    else:
        assert batches is not None
        if settings.curriculum:
            raise InputError("curriculum is for views: batches have a noise of their own")
        source, views = GivenBatches(batches, steps_per_epoch), "batches"
    check_views(validation, "validation")
    keras.utils.set_random_seed(settings.seed)
    devices = Devices(settings.devices)
    checkpoint = Checkpoint(checkpoints, {"settings": repr(settings), "views": views})
    with devices.scope():
        model = build(
            settings.model,
            head=settings.head,
            feature_dim=settings.feature_dim,
            symmetry=settings.symmetry,
        )
        extractor, head = model.get_layer("extractor"), head_of(model)
        trainer = devices.trainer_class(PairTrainer)(extractor, head, settings.auxiliary_weight)
        optimizer = keras.optimizers.AdamW(settings.learning_rate, weight_decay=1e-4)
        trainer.compile(
            optimizer=with_loss_scaling(optimizer, settings.precision),
            # TensorFlow's XLA does not know the antialiased resampling of the polar networks.
            jit_compile=keras.backend.backend() == "jax",
        )
        # Not in the first step: replicas cannot make variables there.
        trainer.optimizer.build(trainer.trainable_variables)
        with computing_in(extractor, settings.precision), devices.synchronised(extractor):
            loop = _Loop(trainer, settings, source, devices, checkpoint, checkpoint_seconds)
            loop.run(Validation(validation, head), report)
    return model


class _Loop:
    """Steps until the training is over: by its epochs, its minutes or its patience."""

    def __init__(
        self,
        trainer: keras.Model,
        settings: TrainingSettings,
        source: BatchSource,
        devices: Devices,
        checkpoint: Checkpoint,
        checkpoint_seconds: float,
    ) -> None:
        self._trainer = trainer
        self._settings = settings
        self._source = source
        self._devices = devices
        self._checkpoint = checkpoint
        self._checkpoint_seconds = checkpoint_seconds
        self._progress, self._best = checkpoint.restore(trainer)
        self._began = self._saved = time.monotonic() - self._progress.seconds

    def run(self, validation: Validation, report: Callable[[EpochReport], None]) -> None:
        """Trains from where the checkpoint is to the end."""
        progress = self._progress
        self._saved = time.monotonic()
        stream = self._source.stream(progress.step, self._noise_level)
        with made_ahead(stream) as batches:
            while not progress.over:
                batch = next(batches)
                with interrupts_held():
                    self._step(batch)
                if progress.step % self._source.steps_per_epoch == 0 or self._is_last():
                    report(self._end_epoch(validation))
                elif time.monotonic() - self._saved >= self._checkpoint_seconds:
                    self._save()
        if self._best is not None:
            self._trainer.extractor.set_weights(self._best)

    def _step(self, batch: Any) -> None:
        progress, settings = self._progress, self._settings
        factor = learning_rate_factor(self._fraction(progress.step))
        self._trainer.optimizer.learning_rate = settings.learning_rate * factor
        progress.loss_sum += self._devices.step(self._trainer, batch)["loss"]
        progress.loss_count += 1
        progress.step += 1

    def _end_epoch(self, validation: Validation) -> EpochReport:
        progress = self._progress
        estimated = validation.estimate(self._trainer.extractor)
        mse = float(np.mean((estimated - validation.true) ** 2))
        last, loss = self._is_last(), progress.loss_sum / progress.loss_count
        progress.epoch += 1
        progress.loss_sum, progress.loss_count = 0.0, 0
        progress.over = last or self._patience_is_over(mse)
        self._save()
        return EpochReport(
            epoch=progress.epoch,
            fraction=1.0 if progress.over else self._fraction(progress.step),
            loss=loss,
            validation_mse_rad2=mse,
            learning_rate=float(ops.convert_to_numpy(self._trainer.optimizer.learning_rate)),
            estimated=estimated,
            true=validation.true,
        )

    def _patience_is_over(self, mse: float) -> bool:
        """Keeps the best weights, and tells whether none better came for too long."""
        progress, patience = self._progress, self._settings.patience
        if patience is None:
            return False
        if mse < progress.best_mse:
            progress.best_mse, progress.epochs_without_best = mse, 0
            self._best = self._trainer.extractor.get_weights()
            return False
        if self._fraction(progress.step) < self._settings.curriculum:
            return False  # Not all of the noise has been seen yet.
        progress.epochs_without_best += 1
        return progress.epochs_without_best >= patience

    def _save(self) -> None:
        self._progress.seconds = time.monotonic() - self._began
        self._checkpoint.save(self._trainer, self._progress, self._best)
        self._saved = time.monotonic()

    def _is_last(self) -> bool:
        return self._fraction(self._progress.step) >= 1

    def _fraction(self, step: int) -> float:
        """Tells how much of the training is over, 0 to 1, before `step`."""
        if self._settings.minutes is not None:
            return min(1.0, (time.monotonic() - self._began) / (60 * self._settings.minutes))
        assert self._settings.epochs is not None
        return step / (self._settings.epochs * self._source.steps_per_epoch)

    def _noise_level(self, step: int) -> float:
        return highest_noise_level(self._fraction(step), self._settings.curriculum)


def _fingerprint(views: Views) -> str:
    """Tells views from others in a checkpoint: by their orientations and a sample of images."""
    digest = hashlib.sha256(np.ascontiguousarray(views.quaternions).tobytes())
    digest.update(np.ascontiguousarray(views.images[:64]).tobytes())
    return f"{len(views.images)} of {views.images.shape[-1]} px, {digest.hexdigest()[:16]}"
