"""Training as the paper has it, against the clock: for so many minutes, with its curve.

It can be stopped at any moment and goes on from the last evaluation.
"""

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from cryotwin.pipelines.reproduction.pair_training import (
    PairSettings,
    PairTraining,
    compiled_as_in_the_paper,
)
from zoo.estimates import distance_errors
from zoo.projections import (
    PAPER_COUNT,
    PAPER_TRAINING,
    PAPER_VALIDATION,
    Frame,
    dataset,
    fitted_views,
)
from zoo.records import settings_name

EPOCHS, STEPS_AN_EPOCH = 150, 247


@dataclass(frozen=True)
class PaperTraining:
    """The paper's settings, and the box that its network is given here.

    Attributes:
        model: the paper's network.
        head: the paper's head.
        learning_rate: of RMSProp.
        pairs_a_batch: pairs of a step.
        pairs: of the training split, drawn once: 1%.
        frame: the box that the network sees.
        target: a protein of `zoo.projections.TARGETS`.
        count: projections of the dataset, over all splits.
        training_views: of the training split, from its start.
        validation_views: of the validation split, from its start.
        seed: of weights and pairs.
        evaluated_every_s: seconds of training between evaluations.
    """

    model: str = "banjac2021"
    head: str = "cosine"
    learning_rate: float = 1e-3
    pairs_a_batch: int = 256
    pairs: int = 256 * STEPS_AN_EPOCH
    frame: Frame = field(default_factory=Frame)
    target: str = "5j0n"
    count: int = PAPER_COUNT
    training_views: int = PAPER_TRAINING
    validation_views: int = PAPER_VALIDATION
    seed: int = 0
    evaluated_every_s: float = 30.0

    @property
    def of_pairs(self) -> PairSettings:
        """Those of the training itself."""
        return PairSettings(
            model=self.model,
            head=self.head,
            learning_rate=self.learning_rate,
            pairs_a_batch=self.pairs_a_batch,
            pairs=self.pairs,
            seed=self.seed,
        )


class PaperRun:
    """A training as in the paper, with its clock and its curve, in a folder of the cache.

    Attributes:
        points: rows (seconds, forward passes, squared error over all pairs in rad^2, the same as
            if distances were uniform), one an evaluation; the clock stands still in evaluations.
    """

    def __init__(self, cache: Path, settings: PaperTraining) -> None:
        self._settings = settings
        self._folder = cache / "trainings" / settings_name("paper", settings)
        folder = dataset(cache, settings.target, settings.count)
        views = fitted_views(cache, folder, "train", settings.training_views, settings.frame)
        self._training = PairTraining(*views, settings.of_pairs)
        saved = self._training.restore(self._folder) or {"points": []}
        self.points: list[list[float]] = saved["points"]
        self._validation = fitted_views(
            cache, folder, "validation", settings.validation_views, settings.frame
        )

    @property
    def model(self) -> Any:
        """The Siamese model."""
        return self._training.model

    @property
    def seconds(self) -> float:
        """Time spent on training until the last evaluation."""
        return self.points[-1][0] if self.points else 0.0

    def train_until(self, seconds: float) -> None:
        """Trains until so many seconds were spent on it, in all."""
        while self.seconds < seconds:
            spent = self._train_for(min(self._settings.evaluated_every_s, seconds - self.seconds))
            self._evaluate(self.seconds + spent)
            self._training.save(self._folder, {"points": self.points})

    def _train_for(self, seconds: float) -> float:
        began = time.perf_counter()
        while (spent := time.perf_counter() - began) < seconds:
            self._training.train_step()
        return spent

    def _evaluate(self, seconds: float) -> None:
        errors = distance_errors(self.model, *self._validation)
        passes = float(self._training.passes)
        all_pairs, uniform = errors.mean_squared_error, errors.uniform_squared_error
        self.points.append([seconds, passes, all_pairs, uniform])
        print(
            f"{self._settings.model} as in the paper: {seconds / 60:.1f} min, "
            f"{passes:,.0f} forward passes, validation {all_pairs:.4f} rad^2",
            flush=True,
        )


def seconds_a_step(settings: PaperTraining, size_px: int, steps: int) -> float:
    """Measures a step of the paper's training on images of `size_px`: the median of so many."""
    model = compiled_as_in_the_paper(settings.of_pairs)
    rng = np.random.default_rng(0)
    shape = (settings.pairs_a_batch, size_px, size_px, 1)
    first, second = (rng.standard_normal(shape, np.float32) for _ in range(2))
    distances = rng.uniform(0, np.pi, (settings.pairs_a_batch, 1)).astype(np.float32)
    model.train_on_batch([first, second], distances)  # Compiles.
    seconds = []
    for _ in range(steps):
        began = time.perf_counter()
        model.train_on_batch([first, second], distances)
        seconds.append(time.perf_counter() - began)
    return float(np.median(seconds))
