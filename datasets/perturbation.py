"""Shift, CTF and noise of equation (1), drawn afresh at training time or stored with a dataset.

The training split is stored clean and perturbed on the fly, the others are stored perturbed
(docs/datasets.md): one implementation serves both.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cryotwin.imaging.ctf import CtfDistribution, CtfParameters
from cryotwin.imaging.errors import InputError
from cryotwin.imaging.microscope import shift_and_apply_ctf, shift_images
from cryotwin.imaging.noise import NoiseSpectrum, colour_noise, power_within
from cryotwin.imaging.shifts import check_shift_distribution, shifts_from_uniform

Randomness = np.random.Generator | Sequence[np.random.Generator]
"""One generator for a whole batch, or one for each image of it."""

_CTF_NUMBERS = 4

_MOST_NOISE = 1e10
"""Of noise on images of variance 1, 100 dB above them: far more would not fit into float32."""


@dataclass(frozen=True)
class PerturbedImages:
    """Images after the microscope, with what was drawn for each.

    Attributes:
        images: (P, N, N).
        shifts_px: (P, 2) as (x, y): image(y) is the clean image at y - t.
        ctf: the CTF of the P images; None when none was applied.
    """

    images: NDArray[np.float32]
    shifts_px: NDArray[np.float32]
    ctf: CtfParameters | None


@dataclass(frozen=True)
class Perturbation:
    """What happens to a clean projection.

    Attributes:
        noise_variance: variance V of the Gaussian noise; clean projections have variance 1, before
            the CTF, so the SNR is 1 / V. Zero adds none.
        max_shift_px: neither component of the shift is further from zero.
        shift_distribution: a key of `cryotwin.imaging.shifts.SHIFT_DISTRIBUTIONS`.
        ctf: what the CTF of each image is drawn from; None applies none.
        noise_spectrum: the noise's power by frequency; None for white noise.

    Raises:
        InputError: a value is negative, not finite or far too large, or the distribution
            is unknown.
    """

    noise_variance: float = 0.0
    max_shift_px: float = 0.0
    shift_distribution: str = "uniform"
    ctf: CtfDistribution | None = None
    noise_spectrum: NoiseSpectrum | None = None

    def __post_init__(self) -> None:
        for name in ("noise_variance", "max_shift_px"):
            value = getattr(self, name)
            if not math.isfinite(value) or value < 0:
                raise InputError(f"{name} must be zero or a positive number, not {value}")
        if self.noise_variance > _MOST_NOISE:
            raise InputError(
                f"noise_variance must be at most {_MOST_NOISE:g} (-100 dB), "
                f"not {self.noise_variance:g}"
            )
        check_shift_distribution(self.shift_distribution)

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, Any]) -> "Perturbation":
        """Reads what `to_metadata` gives; a dataset of before there was a CTF has none.

        Raises:
            InputError: a value is missing, of another kind, or out of its range.
        """
        try:
            ctf, spectrum = metadata.get("ctf"), metadata.get("noise_spectrum")
            return cls(
                noise_variance=float(metadata["noise_variance"]),
                max_shift_px=float(metadata["max_shift_px"]),
                shift_distribution=str(metadata.get("shift_distribution", "uniform")),
                ctf=None if ctf is None else CtfDistribution(**_with_tuples(ctf)),
                noise_spectrum=None
                if spectrum is None
                else NoiseSpectrum(**_with_tuples(spectrum)),
            )
        except (KeyError, TypeError, ValueError) as error:
            if isinstance(error, InputError):
                raise
            raise InputError(f"metadata of a perturbation are damaged ({error!r})") from error

    def of_split(self, split: str, *, perturb_train: bool) -> "Perturbation":
        """Gives that of a stored split: the training split is clean unless told otherwise."""
        return Perturbation() if split == "train" and not perturb_train else self

    def resampled(
        self, size: int, pixel_size_angstrom: float, new_pixel_size_angstrom: float
    ) -> "Perturbation":
        """Gives what images of `size` pixels have gone through once Fourier space was cropped.

        Args:
            size: N of the images before.
            pixel_size_angstrom: of the images before.
            new_pixel_size_angstrom: after; the noise keeps what it has below the new Nyquist
                frequency, shifts stay the same in angstrom.
        """
        ratio = pixel_size_angstrom / new_pixel_size_angstrom
        kept = min(1.0, ratio**2)
        if self.noise_spectrum is not None:
            kept = power_within(self.noise_spectrum, size, pixel_size_angstrom, ratio / 2)
        # A pixel is the mean over 1 / ratio^2 of the pixels before.
        return replace(
            self,
            noise_variance=self.noise_variance * kept,
            max_shift_px=self.max_shift_px * ratio,
        )

    def to_metadata(self) -> dict[str, Any]:
        """Gives everything as numbers, texts, lists and dictionaries, for a JSON file."""
        return asdict(self)

    def perturb(
        self,
        images: NDArray[np.floating],
        rng: Randomness,
        *,
        pixel_size_angstrom: float | None = None,
        noise_levels: NDArray[np.floating] | None = None,
    ) -> NDArray[np.float32]:
        """Does what `perturb_and_tell` does and gives the images alone, (P, N, N)."""
        return self.perturb_and_tell(
            images, rng, pixel_size_angstrom=pixel_size_angstrom, noise_levels=noise_levels
        ).images

    def perturb_and_tell(
        self,
        images: NDArray[np.floating],
        rng: Randomness,
        *,
        pixel_size_angstrom: float | None = None,
        noise_levels: NDArray[np.floating] | None = None,
    ) -> PerturbedImages:
        """Shifts images, applies a CTF to each, and adds noise; tells what was drawn.

        Turning one of the three on or off does not change what is drawn for the others.

        Args:
            images: clean projections (P, N, N).
            rng: a generator, or P of them; with P of them an image depends on its own alone.
            pixel_size_angstrom: edge of a pixel; a CTF and a noise spectrum need it.
            noise_levels: (P,) factors of the standard deviation of each image's noise; all 1 if
                None.

        Raises:
            InputError: the pixel size is needed and not given.
        """
        count, clean = len(images), images
        ctf = None
        if self.ctf is not None:
            # Children leave the numbers of their parents as they are.
            ctf = self.ctf.parameters(_uniform(_child(rng), count, (_CTF_NUMBERS,)))
        shifts = shifts_from_uniform(
            self.shift_distribution, self.max_shift_px, _uniform(rng, count, (2,))
        )
        if ctf is not None:
            images = shift_and_apply_ctf(images, shifts, ctf, _given(pixel_size_angstrom))
        elif self.max_shift_px > 0:
            images = shift_images(images, shifts)
        if self.noise_variance > 0:
            noise = _standard_normal(rng, count, images.shape[1:])
            if self.noise_spectrum is not None:
                noise = colour_noise(noise, self.noise_spectrum, _given(pixel_size_angstrom))
            deviations = np.full(count, math.sqrt(self.noise_variance), dtype=np.float32)
            if noise_levels is not None:
                deviations *= noise_levels.astype(np.float32)
            noise *= deviations[:, None, None]
            noise += images
            images = noise
        return PerturbedImages(images.astype(np.float32, copy=images is clean), shifts, ctf)


def _given(pixel_size_angstrom: float | None) -> float:
    if pixel_size_angstrom is None:
        raise InputError("a CTF and a noise spectrum need pixel_size_angstrom, which is not given")
    return pixel_size_angstrom


def _with_tuples(values: Mapping[str, Any]) -> dict[str, Any]:
    """Turns the lists of a JSON file back into tuples, which can be hashed."""
    return {
        name: tuple(value) if isinstance(value, list) else value for name, value in values.items()
    }


def _child(rng: Randomness) -> Randomness:
    """Gives each generator's next child."""
    if isinstance(rng, np.random.Generator):
        return rng.spawn(1)[0]
    return [one.spawn(1)[0] for one in rng]


def _uniform(rng: Randomness, count: int, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Draws (count, *shape) numbers uniform on [0, 1)."""
    if isinstance(rng, np.random.Generator):
        return rng.random((count, *shape))
    return np.stack([one.random(shape) for one in rng])


def _standard_normal(rng: Randomness, count: int, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Draws (count, *shape) numbers of mean 0 and variance 1."""
    if isinstance(rng, np.random.Generator):
        return rng.standard_normal((count, *shape), dtype=np.float32)
    return np.stack([one.standard_normal(shape, dtype=np.float32) for one in rng])
