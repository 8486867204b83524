"""Training as the paper has it: Siamese pairs at uniform distances, RMSProp, plain squared error.

Its section 3.1 and Appendix A: 1% of the pairs of the training split, drawn once so that their
distances are uniform, in batches of 256 pairs, which are 512 forward passes; equation (3). The
images are what they are: their noise is frozen.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from cryotwin.datasets.pairs import pair_distances, sample_pairs
from cryotwin.imaging.interrupts import interrupts_held
from cryotwin.imaging.randomness import keyed_generator
from cryotwin.models.siamese import build
from cryotwin.pipelines.staging import write_json

PASSES_A_PAIR = 2


@dataclass(frozen=True)
class PairSettings:
    """The paper's settings.

    Attributes:
        model: the paper's network.
        head: the paper's head.
        feature_dim: length of the features.
        learning_rate: of RMSProp.
        pairs_a_batch: pairs of a step.
        pairs: that are drawn once, about 1% of those of the training split.
        seed: of weights, pairs and their order.
    """

    model: str = "banjac2021"
    head: str = "cosine"
    feature_dim: int = 512
    learning_rate: float = 1e-3
    pairs_a_batch: int = 256
    pairs: int = 256 * 247
    seed: int = 0

    @property
    def steps_per_epoch(self) -> int:
        """Batches in a pass over the pairs."""
        return self.pairs // self.pairs_a_batch


class PairTraining:
    """A training as in the paper, a step at a time.

    Attributes:
        model: the Siamese model, compiled.
        step: how many steps were taken.
    """

    def __init__(
        self,
        images: NDArray[np.floating],
        quaternions: NDArray[np.floating],
        settings: PairSettings,
    ) -> None:
        """Draws the pairs and builds the model.

        Args:
            images: (P, N, N), as the network sees them.
            quaternions: (P, 4).
            settings: how.
        """
        self.settings = settings
        self.step = 0
        keras.utils.set_random_seed(settings.seed)
        self.model = compiled_as_in_the_paper(settings)
        self._images = np.asarray(images, np.float32)[..., None]
        rng = keyed_generator(settings.seed, "pairs")
        self._pairs = sample_pairs(quaternions, settings.pairs, rng)
        self._distances = pair_distances(quaternions, self._pairs).astype(np.float32)

    @property
    def passes(self) -> int:
        """Forward passes until now."""
        return self.step * self.settings.pairs_a_batch * PASSES_A_PAIR

    def train_step(self) -> float:
        """Takes a step and gives its loss in rad^2."""
        chosen = self._batch(self.step)
        first, second = (self._images[side] for side in self._pairs[chosen].T)
        with interrupts_held():
            loss = self.model.train_on_batch(
                [first, second], self._distances[chosen, None], return_dict=True
            )
            self.model.reset_metrics()
            self.step += 1
        return float(loss["loss"])

    def save(self, folder: Path, content: dict[str, Any]) -> None:
        """Keeps the state with some JSON-able content, in place of what was kept before."""
        folder.mkdir(parents=True, exist_ok=True)
        model = f"step{self.step}.keras"
        self.model.save(folder / model)
        write_json(folder / "state.json", {"model": model, "step": self.step, "content": content})
        for old in folder.glob("step*.keras"):
            if old.name != model:
                old.unlink()

    def restore(self, folder: Path) -> dict[str, Any] | None:
        """Goes on from what was saved and gives the content; None if nothing was."""
        state = folder / "state.json"
        if not state.is_file():
            return None
        saved = json.loads(state.read_text(encoding="utf-8"))
        self.model = keras.models.load_model(folder / saved["model"])
        self.step = saved["step"]
        return dict(saved["content"])

    def _batch(self, step: int) -> NDArray[np.int64]:
        size = self.settings.pairs_a_batch
        epoch, place = divmod(step, self.settings.steps_per_epoch)
        order = keyed_generator(self.settings.seed, "order", epoch).permutation(len(self._pairs))
        return order[place * size : (place + 1) * size]


def compiled_as_in_the_paper(settings: PairSettings) -> Any:
    """Builds the Siamese model with the paper's optimizer and loss, with new weights."""
    model = build(settings.model, head=settings.head, feature_dim=settings.feature_dim)
    model.compile(optimizer=keras.optimizers.RMSprop(settings.learning_rate), loss="mse")
    return model
