"""Training of an estimator: all pairs of a batch, perturbed afresh, on any Keras backend.

A batch of B images has B (B - 1) / 2 pairs and costs B forward passes.
"""

import hashlib
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray

from cryotwin.datasets.augmentation import random_exact_views
from cryotwin.datasets.perturbation import Perturbation, PerturbedImages
from cryotwin.imaging.errors import InputError
from cryotwin.imaging.randomness import keyed_generator
from cryotwin.imaging.rotations import pairwise_distances, quaternions_to_matrices
from cryotwin.models.architectures import find_architecture
from cryotwin.models.checkpoints import Checkpoint
from cryotwin.models.features import extract_features
from cryotwin.models.heads import pairwise_feature_distances
from cryotwin.models.inputs import estimator_inputs
from cryotwin.models.pair_loss import weighted_pair_loss
from cryotwin.models.siamese import build, takes_ctf

LEAST_NOISE_LEVEL = 0.25
"""The noise of each image is drawn between this part of the standard deviation asked for and all
of it, so that an estimator also serves cleaner images; it makes the start easier, too."""

_WARM_UP = 0.02


@dataclass(frozen=True)
class TrainingSettings:
    """How to train.

    Attributes:
        model: an architecture of `cryotwin.models.architectures.ARCHITECTURES`.
        head: a distance head of `cryotwin.models.heads.HEADS`.
        feature_dim: length of the features.
        perturbation: what each image goes through afresh whenever it is seen.
        pixel_size_angstrom: edge of a pixel; a CTF and a noise spectrum need it.
        phase_flip: whether images get their phases flipped after the perturbation.
        epochs: passes over the training images; None trains by `minutes`.
        minutes: wall-clock time of training, validation included; None trains by `epochs`.
        batch_size: images in a batch.
        learning_rate: the highest of the schedule (a short warm-up, then a cosine to zero).
        seed: of the initial weights and of all that is drawn in training.
    """

    model: str
    head: str = "so3"
    feature_dim: int = 512
    perturbation: Perturbation = field(default_factory=Perturbation)
    pixel_size_angstrom: float | None = None
    phase_flip: bool = False
    epochs: int | None = None
    minutes: float | None = None
    batch_size: int = 128
    learning_rate: float = 2e-3
    seed: int = 0

    def __post_init__(self) -> None:
        if (self.epochs is None) == (self.minutes is None):
            raise InputError("give either epochs or minutes, one of the two")
        if self.epochs is not None and self.epochs < 1:
            raise InputError(f"epochs must be at least 1, not {self.epochs}")
        if self.minutes is not None and not 0 < self.minutes < math.inf:
            raise InputError(f"minutes must be above 0, not {self.minutes}")
        if self.batch_size < 2:
            raise InputError(f"batch_size must be at least 2, not {self.batch_size}")
        if not 0 < self.learning_rate < math.inf:
            raise InputError(f"learning_rate must be above 0, not {self.learning_rate}")
        if not 0 <= self.seed < 2**32:
            raise InputError(f"seed must be from 0 to 2^32 - 1, not {self.seed}")
        self._check_ctf()

    def _check_ctf(self) -> None:
        if self.perturbation.ctf is not None:
            return
        if self.phase_flip:
            raise InputError("phase_flip needs images with a CTF, but the perturbation has none")
        if find_architecture(self.model).takes_ctf:
            raise InputError(
                f"model {self.model!r} takes the CTF of each image, but the perturbation has none"
            )


@dataclass(frozen=True)
class Views:
    """Images with their orientations.

    Attributes:
        images: (P, N, N).
        quaternions: (P, 4).
        ctf: (P, N, N) of perturbed images, as `cryotwin.models.inputs.fit_ctf` gives it, for a
            model that takes it; else None.
    """

    images: NDArray[np.float32]
    quaternions: NDArray[np.floating]
    ctf: NDArray[np.float32] | None = None


@dataclass(frozen=True)
class EpochReport:
    """What is known after an epoch: its number, how far training is (0 to 1), and the figures."""

    epoch: int
    fraction: float
    loss: float
    validation_mse_rad2: float


class PairTrainer(keras.Model):
    """Wraps an extractor in the loss over all pairs of a batch."""

    def __init__(self, extractor: keras.Model, head: str) -> None:
        super().__init__()
        self.extractor = extractor
        self.head = head
        self.built = True

    def call(self, images: Any, training: bool = False) -> Any:
        """Gives the features (B, D) of images (B, N, N, 1), or of images and CTF (B, N, N, 2)."""
        if takes_ctf(self.extractor):
            images = [images[..., :1], images[..., 1:]]
        return self.extractor(images, training=training)

    def compute_loss(
        self,
        x: Any = None,
        y: Any = None,
        y_pred: Any = None,
        sample_weight: Any = None,
        training: bool = True,
    ) -> Any:
        """Gives the weighted squared error of all distances; y holds rotations as (B, 9)."""
        return weighted_pair_loss(ops.cast(y_pred, "float32"), y, self.head)


class PairBatches(keras.utils.PyDataset):
    """Batches of perturbed views; batch b of epoch e depends on the seed, e and b alone.

    A model that takes the CTF gets it as a second channel of the images.
    """

    def __init__(self, views: Views, settings: TrainingSettings) -> None:
        super().__init__()
        self._views = views
        self._settings = settings
        self._takes_ctf = find_architecture(settings.model).takes_ctf
        self._rotations = quaternions_to_matrices(views.quaternions).astype(np.float32)
        self.epoch = 0

    def __len__(self) -> int:
        return max(1, len(self._views.images) // self._settings.batch_size)

    def __getitem__(self, index: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        seed, size = self._settings.seed, self._settings.batch_size
        order = keyed_generator(seed, "order", self.epoch).permutation(len(self._views.images))
        rng = keyed_generator(seed, "batch", self.epoch, index)
        chosen = order[index * size : (index + 1) * size]
        images, rotations = random_exact_views(
            self._views.images[chosen], self._rotations[chosen], rng
        )
        levels = rng.uniform(LEAST_NOISE_LEVEL, 1, len(chosen))
        perturbed = self._settings.perturbation.perturb_and_tell(
            images,
            rng,
            pixel_size_angstrom=self._settings.pixel_size_angstrom,
            noise_levels=levels,
        )
        return self._inputs(perturbed), rotations.reshape(len(chosen), 9)

    def _inputs(self, perturbed: PerturbedImages) -> NDArray[np.float32]:
        """Gives images (B, N, N, 1), or images and CTF (B, N, N, 2)."""
        metadata = {"takes_ctf": self._takes_ctf, "phase_flip": self._settings.phase_flip}
        pixel_size = self._settings.pixel_size_angstrom or 1.0  # Only a CTF asks for it.
        images, ctf = estimator_inputs(perturbed.images, pixel_size, metadata, perturbed.ctf)
        return np.stack([images] if ctf is None else [images, ctf], axis=-1)


def train(
    training: Views,
    validation: Views,
    settings: TrainingSettings,
    *,
    checkpoints: Path,
    report: Callable[[EpochReport], None] = lambda _: None,
) -> keras.Model:
    """Trains an estimator and returns it.

    Args:
        training: clean views.
        validation: perturbed views, never trained on.
        settings: how.
        checkpoints: a folder that keeps the state after each epoch. If it holds one of the same
            settings and views, training goes on from there.
        report: called after each epoch.

    Raises:
        InputError: too few views, or a checkpoint of other settings or views.
    """
    for name, views in (("training", training), ("validation", validation)):
        if len(views.images) < 2:
            raise InputError(
                f"the {name} split has {len(views.images)} images, but pairs need at least 2"
            )
    keras.utils.set_random_seed(settings.seed)
    model = build(settings.model, head=settings.head, feature_dim=settings.feature_dim)
    trainer = PairTrainer(model.get_layer("extractor"), settings.head)
    trainer.compile(optimizer=keras.optimizers.AdamW(settings.learning_rate, weight_decay=1e-4))
    identity = {"settings": repr(settings), "views": _fingerprint(training)}
    checkpoint = Checkpoint(checkpoints, identity)
    epochs_over, seconds_spent = checkpoint.restore(trainer)
    batches = PairBatches(training, settings)
    schedule = _Schedule(settings, batches, checkpoint, seconds_spent)
    trainer.fit(
        batches,
        initial_epoch=epochs_over,
        epochs=settings.epochs or 10**6,
        shuffle=False,
        verbose=0,
        callbacks=[schedule, _Validation(validation, settings, schedule, report)],
    )
    return model


def _fingerprint(views: Views) -> str:
    """Tells views from others in a checkpoint: by their orientations and a sample of images."""
    digest = hashlib.sha256(np.ascontiguousarray(views.quaternions).tobytes())
    digest.update(np.ascontiguousarray(views.images[:64]).tobytes())
    return f"{len(views.images)} of {views.images.shape[-1]} px, {digest.hexdigest()[:16]}"


class _Schedule(keras.callbacks.Callback):
    """Sets the learning rate by how much of the training is over, keeps its state, and ends it.

    Time already spent is kept with the state, so that a run that was killed goes on.
    """

    def __init__(
        self,
        settings: TrainingSettings,
        batches: PairBatches,
        checkpoint: Checkpoint,
        seconds_spent: float,
    ) -> None:
        super().__init__()
        self._settings = settings
        self._batches = batches
        self._checkpoint = checkpoint
        self._spent = seconds_spent
        self._epoch = 0
        self._began = time.monotonic()
        self.fraction = 0.0

    def on_train_begin(self, logs: Any = None) -> None:
        self._began = time.monotonic()

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self._epoch = self._batches.epoch = epoch

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        settings = self._settings
        if settings.minutes is not None:
            self.fraction = min(1.0, self._seconds() / (60 * settings.minutes))
        else:
            assert settings.epochs is not None
            self.fraction = (self._epoch + batch / len(self._batches)) / settings.epochs
        cosine = 0.5 * (1 + math.cos(math.pi * self.fraction))
        warm_up = min(1.0, (self.fraction + 1e-3) / _WARM_UP)
        self.model.optimizer.learning_rate = settings.learning_rate * max(cosine, 1e-3) * warm_up

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self._checkpoint.save(self.model, epoch=epoch + 1, seconds=self._seconds())
        if self._settings.minutes is not None and self._seconds() >= 60 * self._settings.minutes:
            self.model.stop_training = True

    def _seconds(self) -> float:
        return self._spent + time.monotonic() - self._began


class _Validation(keras.callbacks.Callback):
    """Measures the squared error of the distances on the validation split after each epoch."""

    def __init__(
        self,
        validation: Views,
        settings: TrainingSettings,
        schedule: _Schedule,
        report: Callable[[EpochReport], None],
    ) -> None:
        super().__init__()
        self._validation = validation
        self._settings = settings
        self._schedule = schedule
        self._report = report

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        views = self._validation
        features = extract_features(self.model.extractor, views.images, views.ctf)
        estimated = pairwise_feature_distances(features, features, self._settings.head)
        error = (estimated - pairwise_distances(self._validation.quaternions)) ** 2
        mse = float(error.sum() / (len(error) * (len(error) - 1)))
        loss = float((logs or {}).get("loss", math.nan))
        self._report(EpochReport(epoch + 1, self._schedule.fraction, loss, mse))
