"""How an estimator is trained: the settings, and what of them cannot be."""

import math
from dataclasses import dataclass, field

from cryotwin.datasets.perturbation import Perturbation
from cryotwin.imaging.errors import InputError

PRECISIONS = ("float32", "mixed_bfloat16", "mixed_float16")


@dataclass(frozen=True)
class TrainingSettings:
    """How to train.

    Attributes:
        model: an architecture of `cryotwin.models.architectures.ARCHITECTURES`.
        head: a distance head of `cryotwin.models.heads.HEADS`.
        feature_dim: length of the features.
        symmetry: point group of the particle.
        perturbation: what each image goes through afresh whenever it is seen.
        pixel_size_angstrom: edge of a pixel; a CTF and a noise spectrum need it.
        phase_flip: whether images get their phases flipped after the perturbation.
        epochs: passes over the training images; None trains by `minutes`.
        minutes: wall-clock time of training, validation included; None trains by `epochs`.
        batch_size: images in a batch.
        learning_rate: the highest of the schedule (a short warm-up, then a cosine to zero).
        auxiliary_weight: in the loss, of what read-outs of the direction and the in-plane angle
            from the features are off (`cryotwin.models.auxiliary_heads`); 0 has none. Only without
            symmetry.
        curriculum: share of the training, 0 to 1, over which the strongest noise that is drawn
            rises to all of it; 0 has all of it from the start.
        patience: training ends after so many epochs in a row without a lower validation error, and
            the best weights are kept; those of a curriculum do not count. None trains to the end
            and keeps the last.
        precision: of the network's arithmetic, one of `PRECISIONS`; weights, features and
            distances are float32 in all of them.
        devices: how many devices share a batch.
        seed: of the initial weights and of all that is drawn in training.
    """

    model: str
    head: str = "so3"
    feature_dim: int = 512
    symmetry: str = "C1"
    perturbation: Perturbation = field(default_factory=Perturbation)
    pixel_size_angstrom: float | None = None
    phase_flip: bool = False
    epochs: int | None = None
    minutes: float | None = None
    batch_size: int = 64
    learning_rate: float = 2e-3
    auxiliary_weight: float = 0.0
    curriculum: float = 0.0
    patience: int | None = None
    precision: str = "float32"
    devices: int = 1
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
        self._check_auxiliary()
        if not 0 <= self.curriculum <= 1:
            raise InputError(f"curriculum must be from 0 to 1, not {self.curriculum}")
        if self.patience is not None and self.patience < 1:
            raise InputError(f"patience must be at least 1, not {self.patience}")
        if self.precision not in PRECISIONS:
            raise InputError(
                f"precision must be one of {', '.join(PRECISIONS)}, not {self.precision!r}"
            )
        self._check_ctf()
        self._check_devices()
        if not 0 <= self.seed < 2**32:
            raise InputError(f"seed must be from 0 to 2^32 - 1, not {self.seed}")

    def _check_auxiliary(self) -> None:
        if not 0 <= self.auxiliary_weight < math.inf:
            raise InputError(f"auxiliary_weight must be 0 or above, not {self.auxiliary_weight}")
        if self.auxiliary_weight > 0 and self.symmetry != "C1":
            raise InputError(
                f"auxiliary_weight must be 0 for a particle of symmetry {self.symmetry}: "
                "its images do not tell an orientation from those that look the same"
            )

    def _check_ctf(self) -> None:
        if self.phase_flip and self.perturbation.ctf is None:
            raise InputError("phase_flip needs images with a CTF, but the perturbation has none")

    def _check_devices(self) -> None:
        if self.devices < 1:
            raise InputError(f"devices must be at least 1, not {self.devices}")
        if self.batch_size % self.devices:
            raise InputError(
                f"batch_size must be a multiple of the {self.devices} devices, "
                f"not {self.batch_size}"
            )
