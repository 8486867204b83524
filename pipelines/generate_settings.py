"""The numbers that decide the particles of a dataset, checked where they are given."""

import hashlib
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from cryotwin.datasets.orientation_lists import is_orientation_list, read_orientation_list
from cryotwin.datasets.perturbation import Perturbation
from cryotwin.datasets.splits import SPLIT_BY, split_sizes
from cryotwin.datasets.synthesis import PROJECTOR
from cryotwin.imaging.ctf import CtfDistribution
from cryotwin.imaging.errors import InputError
from cryotwin.imaging.microscope import snr_from_db
from cryotwin.imaging.noise import NoiseSpectrum
from cryotwin.imaging.orientations import parse_orientations
from cryotwin.imaging.point_groups import parse_point_group
from cryotwin.imaging.projection import check_backend


@dataclass(frozen=True)
class GenerateSettings:
    """What decides the particles of a dataset, besides the structures.

    Attributes:
        count: particles per structure, over all splits.
        seed: where all randomness comes from, at least 0.
        orientations: a distribution of `cryotwin.imaging.orientations`, or a .star file whose row
            i is the orientation of particle i of each structure.
        projector: a backend of `cryotwin.imaging.projection`.
        symmetry: point group that every structure has, about RELION's axes.
        align_symmetry: turn structures whose axes are elsewhere.
        snr_db: signal to noise in decibels; or
        noise_variance: the variance of the noise, clean projections having 1.
        max_shift_px: no component of a shift is further from zero.
        shift_distribution: a key of `cryotwin.imaging.shifts.SHIFT_DISTRIBUTIONS`.
        ctf: what the CTF of each particle is drawn from; None applies none.
        noise_spectrum: the noise's power by frequency; None for white noise.
        perturb_train: store the training split perturbed too.
        split_by: what is dealt to the splits: "particle", or "cluster" of structures.
        orientations_digest: of the rows of a .star file, by which a changed one is told.

    Raises:
        InputError: a value is out of its range, both kinds of noise are given, a spectrum or a
            distribution of what there is not, or a .star file that cannot be used.
    """

    count: int = 5000
    seed: int = 0
    orientations: str = "so3"
    projector: str = PROJECTOR
    symmetry: str = "C1"
    align_symmetry: bool = False
    snr_db: float | None = None
    noise_variance: float | None = None
    max_shift_px: float = 0.0
    perturb_train: bool = False
    shift_distribution: str = "uniform"
    ctf: CtfDistribution | None = None
    noise_spectrum: NoiseSpectrum | None = None
    split_by: str = "particle"
    orientations_digest: str | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        split_sizes(self.count)
        if self.seed < 0:
            raise InputError(f"seed must be at least 0, not {self.seed}")
        check_backend(self.projector)
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
        if self.split_by not in SPLIT_BY:
            raise InputError(
                f"split by must be one of {', '.join(SPLIT_BY)}, not {self.split_by!r}"
            )
        perturbation = self.perturbation  # Checks its own numbers.
        if self.noise_spectrum is not None and not perturbation.noise_variance:
            raise InputError("a noise spectrum needs noise: give an SNR or a noise variance")
        if self.shift_distribution != "uniform" and not self.max_shift_px:
            raise InputError(
                f"shift distribution {self.shift_distribution!r} needs a max shift above 0"
            )

    def listed_orientations(self) -> NDArray[np.float64] | None:
        """Reads the orientations (count, 4) of a .star file; None for a distribution."""
        if not is_orientation_list(self.orientations):
            return None
        return read_orientation_list(self.orientations, self.count)

    @property
    def perturbation(self) -> Perturbation:
        """Shift, CTF and noise of the splits that are stored perturbed."""
        variance = self.noise_variance or 0.0
        if self.snr_db is not None:
            variance = 1 / snr_from_db(self.snr_db)
        return Perturbation(
            noise_variance=variance,
            max_shift_px=self.max_shift_px,
            shift_distribution=self.shift_distribution,
            ctf=self.ctf,
            noise_spectrum=self.noise_spectrum,
        )
