"""The numbers that decide the particles of a dataset, checked where they are given."""

import hashlib
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from cryotwin.datasets.orientation_lists import is_orientation_list, read_orientation_list
from cryotwin.datasets.perturbation import Perturbation
from cryotwin.datasets.splits import split_sizes
from cryotwin.imaging.errors import InputError
from cryotwin.imaging.microscope import snr_from_db
from cryotwin.imaging.orientations import parse_orientations
from cryotwin.imaging.point_groups import parse_point_group


@dataclass(frozen=True)
class GenerateSettings:
    """What decides the particles of a dataset, besides the structures.

    Attributes:
        count: particles per structure, over all splits.
        seed: where all randomness comes from, at least 0.
        orientations: a distribution of `cryotwin.imaging.orientations`, or a .star file whose row
            i is the orientation of particle i of each structure.
        symmetry: point group that every structure has, about RELION's axes.
        align_symmetry: turn structures whose axes are elsewhere.
        snr_db: signal to noise in decibels; or
        noise_variance: the variance of the noise, clean projections having 1.
        max_shift_px: both components of a shift are uniform within it.
        perturb_train: store the training split with noise and shifts too.

        orientations_digest: of the rows of a .star file, by which a changed one is told.

    Raises:
        InputError: a value is out of its range, both kinds of noise are given, or a .star file
            cannot be used.
    """

    count: int = 5000
    seed: int = 0
    orientations: str = "so3"
    symmetry: str = "C1"
    align_symmetry: bool = False
    snr_db: float | None = None
    noise_variance: float | None = None
    max_shift_px: float = 0.0
    perturb_train: bool = False
    orientations_digest: str | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        split_sizes(self.count)
        if self.seed < 0:
            raise InputError(f"seed must be at least 0, not {self.seed}")
        object.__setattr__(self, "symmetry", parse_point_group(self.symmetry))
        listed = self.listed_orientations()
        if listed is None:
            parse_orientations(self.orientations)
        else:
            digest = hashlib.sha256(listed.tobytes()).hexdigest()
            object.__setattr__(self, "orientations_digest", digest)
        if self.snr_db is not None and self.noise_variance is not None:
            raise InputError("give the SNR or the noise variance, not both")
        if self.snr_db is not None and not -100 <= self.snr_db <= 100:
            raise InputError(f"SNR must be from -100 to 100 dB, not {self.snr_db}")
        _ = self.perturbation  # Checks its own numbers.

    def listed_orientations(self) -> NDArray[np.float64] | None:
        """Reads the orientations (count, 4) of a .star file; None for a distribution."""
        if not is_orientation_list(self.orientations):
            return None
        return read_orientation_list(self.orientations, self.count)

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
