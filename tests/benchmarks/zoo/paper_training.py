"""Training as the paper has it: Siamese pairs at uniform distances, RMSProp, plain squared error.

Its section 3.1 and Appendix A: 1% of the pairs of the training split, drawn once so that their
distances are uniform, in batches of 256 pairs, which are 512 forward passes. It can be stopped at
any moment and goes on from the last evaluation.
"""

import json
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from cryotwin.datasets.pairs import pair_distances, sample_pairs
from cryotwin.imaging.randomness import keyed_generator
from cryotwin.models.siamese import build
from zoo.estimates import distance_errors
from zoo.projections import (
    PAPER_COUNT,
    PAPER_TRAINING,
    PAPER_VALIDATION,
    Frame,
    dataset,
    fitted_views,
)
from zoo.records import settings_name, write_json

EPOCHS, STEPS_AN_EPOCH = 150, 247
PASSES_A_PAIR = 2


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


class PaperRun:
    """A training as in the paper, with its clock and its curve, in a folder of the cache.

    Attributes:
        points: rows (seconds, forward passes, squared error over all pairs in rad^2, the same as
            if distances were uniform), one an evaluation; the clock stands still in evaluations.
    """

    def __init__(self, cache: Path, settings: PaperTraining) -> None:
        self._settings = settings
        self._folder = cache / "trainings" / settings_name("paper", settings)
        self.points: list[list[float]] = []
        self._step = 0
        state = self._folder / "state.json"
        if state.is_file():
            saved = json.loads(state.read_text())
            self.points, self._step = saved["points"], saved["step"]
            self.model = keras.models.load_model(self._folder / saved["model"])
        else:
            keras.utils.set_random_seed(settings.seed)
            self.model = compiled_as_in_the_paper(settings)
        folder = dataset(cache, settings.target, settings.count)
        images, self._quaternions = fitted_views(
            cache, folder, "train", settings.training_views, settings.frame
        )
        self._images = images[..., None]
        self._validation = fitted_views(
            cache, folder, "validation", settings.validation_views, settings.frame
        )
        rng = keyed_generator(settings.seed, "pairs")
        self._pairs = sample_pairs(self._quaternions, settings.pairs, rng)
        self._distances = pair_distances(self._quaternions, self._pairs).astype(np.float32)

    @property
    def seconds(self) -> float:
        """Time spent on training until the last evaluation."""
        return self.points[-1][0] if self.points else 0.0

    def train_until(self, seconds: float) -> None:
        """Trains until so many seconds were spent on it, in all."""
        while self.seconds < seconds:
            spent = self._train_for(min(self._settings.evaluated_every_s, seconds - self.seconds))
            self._evaluate(self.seconds + spent)
            self._save()

    def _train_for(self, seconds: float) -> float:
        began = time.perf_counter()
        while (spent := time.perf_counter() - began) < seconds:
            chosen = self._batch(self._step)
            first, second = (self._images[side] for side in self._pairs[chosen].T)
            self.model.train_on_batch([first, second], self._distances[chosen, None])
            self._step += 1
        return spent

    def _batch(self, step: int) -> NDArray[np.int64]:
        size = self._settings.pairs_a_batch
        epoch, place = divmod(step, len(self._pairs) // size)
        order = keyed_generator(self._settings.seed, "order", epoch).permutation(len(self._pairs))
        return order[place * size : (place + 1) * size]

    def _evaluate(self, seconds: float) -> None:
        errors = distance_errors(self.model, *self._validation)
        passes = float(self._step * self._settings.pairs_a_batch * PASSES_A_PAIR)
        all_pairs, uniform = errors.mean_squared_error, errors.uniform_squared_error
        self.points.append([seconds, passes, all_pairs, uniform])
        print(
            f"{self._settings.model} as in the paper: {seconds / 60:.1f} min, "
            f"{passes:,.0f} forward passes, validation {all_pairs:.4f} rad^2",
            flush=True,
        )

    def _save(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        model = f"step{self._step}.keras"
        self.model.save(self._folder / model)
        content = {"model": model, "step": self._step, "points": self.points}
        write_json(self._folder / "state.json", content)
        for old in self._folder.glob("step*.keras"):
            if old.name != model:
                old.unlink()


def compiled_as_in_the_paper(settings: PaperTraining) -> Any:
    """Builds the Siamese model with the paper's optimizer and loss: equation (3), no weights."""
    model = build(settings.model, head=settings.head)
    model.compile(optimizer=keras.optimizers.RMSprop(settings.learning_rate), loss="mse")
    return model


def seconds_a_step(settings: PaperTraining, size_px: int, steps: int) -> float:
    """Measures a step of the paper's training on images of `size_px`: the median of so many."""
    model = compiled_as_in_the_paper(settings)
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
