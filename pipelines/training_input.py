"""What an estimator sees in training: in which box, and after which perturbation."""

import argparse
import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cryotwin.datasets.folder import DatasetFolder
from cryotwin.datasets.perturbation import Perturbation
from cryotwin.imaging.ctf import CtfParameters
from cryotwin.imaging.errors import InputError
from cryotwin.imaging.microscope import snr_from_db
from cryotwin.models.inputs import LEAST_SIZE, estimator_inputs, fit_images

_PART = 1000


@dataclass(frozen=True)
class InputFrame:
    """The box that images are brought to before an estimator sees them, and where they come from.

    Attributes:
        size: edge of the estimator's box in pixels.
        pixel_size_angstrom: edge of its pixels.
        stored_size: of the dataset's images.
        stored_pixel_size_angstrom: of the dataset's images.
    """

    size: int
    pixel_size_angstrom: float
    stored_size: int
    stored_pixel_size_angstrom: float

    def fit(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """Brings the dataset's images (P, N, N) to the box, a part at a time."""
        fitted = np.empty((len(images), self.size, self.size), np.float32)
        for start in range(0, len(images), _PART):
            part = slice(start, start + _PART)
            fitted[part] = fit_images(images[part], self.stored_pixel_size_angstrom, self._target)
        return fitted

    def fit_perturbed(
        self,
        images: NDArray[np.float32],
        ctf: CtfParameters | None,
        *,
        takes_ctf: bool,
        phase_flip: bool,
    ) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
        """Brings images that are stored perturbed to the box, as `recover` will.

        Args:
            images: (P, N, N).
            ctf: of the P images; None without.
            takes_ctf: whether the estimator takes the CTF.
            phase_flip: whether it wants phases flipped.

        Returns:
            Images (P, n, n), and the CTF (P, n, n) if it is taken.
        """
        target = self._target | {"takes_ctf": takes_ctf, "phase_flip": phase_flip}
        return estimator_inputs(images, self.stored_pixel_size_angstrom, target, ctf)

    @property
    def _target(self) -> dict[str, Any]:
        return {"box_px": self.size, "pixel_size_angstrom": self.pixel_size_angstrom}

    def seen(self, perturbation: Perturbation) -> Perturbation:
        """Gives what the images in the box have gone through, from what the dataset's have."""
        return perturbation.resampled(
            self.stored_size, self.stored_pixel_size_angstrom, self.pixel_size_angstrom
        )


def input_frame(args: argparse.Namespace, folder: DatasetFolder) -> InputFrame:
    """Reads --size and --pixel-size; without them images stay as the dataset has them.

    Raises:
        InputError: a box or pixels that the dataset's images do not fill.
    """
    stored_size, stored = (
        int(folder.metadata["size"]),
        float(folder.metadata["pixel_size_angstrom"]),
    )
    size = stored_size if args.size is None else args.size
    if not LEAST_SIZE <= size <= stored_size:
        raise InputError(
            f"--size must be from {LEAST_SIZE} to {stored_size} px, the dataset's, not {size}"
        )
    pixel_size = stored * stored_size / size if args.pixel_size is None else args.pixel_size
    if not stored * (1 - 1e-6) <= pixel_size < math.inf:
        raise InputError(
            f"--pixel-size must be at least {stored:.4g} A, the dataset's, not {pixel_size:g}"
        )
    return InputFrame(size, pixel_size, stored_size, stored)


def training_perturbation(args: argparse.Namespace, folder: DatasetFolder) -> Perturbation:
    """Gives what images go through in training, at the dataset's pixel size."""
    frozen = bool(folder.metadata.get("perturb_train"))
    stored = Perturbation() if frozen else Perturbation.from_metadata(folder.metadata)
    variance, shift = stored.noise_variance, stored.max_shift_px
    if args.noise_variance is not None:
        variance = args.noise_variance
    if args.snr_db is not None:
        if not -100 <= args.snr_db <= 100:
            raise InputError(f"SNR must be from -100 to 100 dB, not {args.snr_db:g}")
        variance = 1 / snr_from_db(args.snr_db)
    if args.max_shift is not None:
        shift = args.max_shift
    return replace(stored, noise_variance=variance, max_shift_px=shift)
