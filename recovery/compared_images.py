"""The images as matching sees them: Fourier coefficients below a limit, with their CTF."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cryotwin.imaging.ctf import CtfParameters, disc_contrast_transfer
from cryotwin.imaging.fourier import FourierDisc, fourier_disc, images_to_disc

_BATCH = 512


@dataclass(frozen=True)
class ComparedImages:
    """Fourier coefficients of P images.

    Attributes:
        disc: the K frequencies; `disc.size` is the box N of the images that shifts are told in.
        coefficients: (P, K).
        transfer: (P, K) the CTF of each image, or (1, K) ones.
    """

    disc: FourierDisc
    coefficients: NDArray[np.complex64]
    transfer: NDArray[np.float32]

    @classmethod
    def of(
        cls,
        images: NDArray[np.floating],
        ctf: CtfParameters | None = None,
        pixel_size_angstrom: float = 1.0,
    ) -> "ComparedImages":
        """Transforms images (P, N, N)."""
        disc = fourier_disc(images.shape[-1])
        coefficients = np.empty((len(images), len(disc.kx)), dtype=np.complex64)
        for start in range(0, len(images), _BATCH):
            part = slice(start, start + _BATCH)
            coefficients[part] = images_to_disc(images[part], disc)
        transfer = np.ones((1, len(disc.kx)), dtype=np.float32)
        if ctf is not None:
            transfer = disc_contrast_transfer(ctf, disc, pixel_size_angstrom)
        return cls(disc, coefficients, transfer)

    def below(self, limit: float, size: int) -> "ComparedImages":
        """Keeps the frequencies up to `limit`, on the scale of images resized to `size` pixels."""
        used = self.disc.radius <= limit
        scale = np.float32((size / self.disc.size) ** 2)
        coefficients = self.coefficients[:, used] * scale
        return ComparedImages(self.disc.part(used), coefficients, self.transfer[:, used])

    @property
    def rings(self) -> int:
        """How many rings, whole numbers of cycles per box from zero, the frequencies lie in."""
        return int(self.disc.shells.max()) + 1

    @property
    def ring_weights(self) -> NDArray[np.float64]:
        """How many frequencies of the whole plane each ring holds, (rings,)."""
        counts = np.bincount(self.disc.shells, self.disc.weights, minlength=self.rings)
        return counts.astype(np.float64)

    @property
    def ring_power(self) -> NDArray[np.float64]:
        """Mean of |coefficient|^2 in each ring over all images, (rings,)."""
        power = (np.abs(self.coefficients) ** 2).mean(axis=0) * self.disc.weights
        return np.bincount(self.disc.shells, power, minlength=self.rings) / self.ring_weights
