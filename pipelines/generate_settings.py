"""The numbers that decide the particles of a dataset, checked where they are given."""

from dataclasses import dataclass

from cryotwin.datasets.perturbation import Perturbation
from cryotwin.datasets.splits import SPLIT_BY, split_sizes
from cryotwin.imaging.errors import InputError
from cryotwin.imaging.microscope import snr_from_db
from cryotwin.imaging.orientations import check_orientations


@dataclass(frozen=True)
class GenerateSettings:
    """What decides the particles of a dataset, besides the structures.

    Attributes:
        count: particles per structure, over all splits.
        seed: where all randomness comes from, at least 0.
        orientations: a distribution of `cryotwin.imaging.orientations`.
        snr_db: signal to noise in decibels; or
        noise_variance: the variance of the noise, clean projections having 1.
        max_shift_px: both components of a shift are uniform within it.
        perturb_train: store the training split with noise and shifts too.
        split_by: what is dealt to the splits: "particle", or "cluster" of structures.

    Raises:
        InputError: a value is out of its range, or both kinds of noise are given.
    """

    count: int = 5000
    seed: int = 0
    orientations: str = "so3"
    snr_db: float | None = None
    noise_variance: float | None = None
    max_shift_px: float = 0.0
    perturb_train: bool = False
    split_by: str = "particle"

    def __post_init__(self) -> None:
        split_sizes(self.count)
        if self.seed < 0:
            raise InputError(f"seed must be at least 0, not {self.seed}")
        check_orientations(self.orientations)
        if self.snr_db is not None and self.noise_variance is not None:
            raise InputError("give the SNR or the noise variance, not both")
        if self.snr_db is not None and not -100 <= self.snr_db <= 100:
            raise InputError(f"SNR must be from -100 to 100 dB, not {self.snr_db}")
        if self.split_by not in SPLIT_BY:
            raise InputError(
                f"split by must be one of {', '.join(SPLIT_BY)}, not {self.split_by!r}"
            )
        _ = self.perturbation  # Checks its own numbers.

    @property
    def perturbation(self) -> Perturbation:
        """Shift and noise of the splits that are stored perturbed."""
        variance = self.noise_variance or 0.0
        if self.snr_db is not None:
            variance = 1 / snr_from_db(self.snr_db)
        return Perturbation(noise_variance=variance, max_shift_px=self.max_shift_px)

    def perturbation_of(self, split: str) -> Perturbation:
        """Shift and noise of one split: the training split is clean unless told otherwise."""
        clean = split == "train" and not self.perturb_train
        return Perturbation() if clean else self.perturbation
