"""The half disc of frequencies on which images live, and cropping in Fourier space.

A real image of N x N pixels is held by its coefficients at the frequencies k = (kx, ky) with
kx >= 0 and |k| < N / 2: about pi N^2 / 8 complex numbers. The corners of the Fourier square and
the Nyquist lines are left out, so that every orientation sees the same sphere of the volume.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import scipy.fft
from numpy.typing import NDArray


@dataclass(frozen=True)
class FourierDisc:
    """Frequencies of an N x N image; all arrays are (K,), in one order.

    Attributes:
        size: N, in pixels.
        kx: frequency along x in cycles per box, 0 <= kx < N / 2.
        ky: frequency along y in cycles per box.
        weights: how often a coefficient counts in a sum over the whole disc: 2, or 1 at kx = 0,
            where both k and -k are listed.
    """

    size: int
    kx: NDArray[np.int64]
    ky: NDArray[np.int64]
    weights: NDArray[np.float32]

    @property
    def radius(self) -> NDArray[np.float64]:
        """|k| in cycles per box, (K,)."""
        return np.hypot(self.kx, self.ky)

    @property
    def shells(self) -> NDArray[np.int64]:
        """|k| rounded to a whole number, (K,)."""
        return np.rint(self.radius).astype(np.int64)

    @property
    def adjoint_scale(self) -> NDArray[np.float32]:
        """Factors (K,) of `images_to_disc` that make it the adjoint of `disc_to_images`."""
        return self.weights / np.float32(self.size**2)

    def part(self, used: NDArray[np.bool_]) -> "FourierDisc":
        """Keeps the frequencies that `used` (K,) marks."""
        return FourierDisc(self.size, self.kx[used], self.ky[used], self.weights[used])


@lru_cache(maxsize=32)
def fourier_disc(size: int) -> FourierDisc:
    """Lists the frequencies of an image of `size` pixels."""
    reach = (size - 1) // 2
    kx, ky = np.meshgrid(np.arange(reach + 1), np.arange(-reach, reach + 1))
    inside = kx**2 + ky**2 < (size / 2) ** 2
    kx, ky = kx[inside], ky[inside]
    return FourierDisc(size, kx, ky, np.where(kx == 0, 1, 2).astype(np.float32))


def shift_phases(disc: FourierDisc, shifts_px: NDArray[np.floating]) -> NDArray[np.complex64]:
    """Gives the factors (P, K) by which a displacement (P, 2) multiplies Fourier coefficients."""
    # A phase is the product of one for x and one for y: 2 N exponentials, not N^2.
    reach = np.arange(-(disc.size // 2), disc.size // 2 + 1)
    turns = np.exp(-2j * np.pi / disc.size * np.multiply.outer(shifts_px, reach))
    along_x, along_y = turns.astype(np.complex64).transpose(1, 0, 2)
    phases: NDArray[np.complex64] = along_x[:, disc.kx + disc.size // 2]
    phases *= along_y[:, disc.ky + disc.size // 2]
    return phases


def images_to_disc(images: NDArray[np.floating], disc: FourierDisc) -> NDArray[np.complex64]:
    """Transforms images (P, N, N) about their origin pixel N // 2 into coefficients (P, K).

    The coefficient at k is the sum over pixels y of image(y) exp(-2 pi i k.y / N).
    """
    shifted = np.fft.ifftshift(images.astype(np.float32, copy=False), axes=(-2, -1))
    return scipy.fft.rfft2(shifted)[..., disc.ky, disc.kx]


def disc_to_images(
    coefficients: NDArray[np.complexfloating], disc: FourierDisc
) -> NDArray[np.float32]:
    """Inverts `images_to_disc` for images that are zero outside the disc: (P, K) to (P, N, N)."""
    size = disc.size
    half = np.zeros((*coefficients.shape[:-1], size, size // 2 + 1), dtype=np.complex64)
    half[..., disc.ky, disc.kx] = coefficients
    images = scipy.fft.irfft2(half, s=(size, size))
    return np.fft.fftshift(images, axes=(-2, -1)).astype(np.float32, copy=False)


def _crop_axes(spectrum: NDArray[np.complexfloating], size: int) -> NDArray[np.complexfloating]:
    """Cuts (or pads with zeros) centred spectra to `size` on all axes but the first."""
    for axis in range(1, spectrum.ndim):
        old = spectrum.shape[axis]
        start = old // 2 - size // 2
        if size <= old:
            spectrum = np.take(spectrum, range(start, start + size), axis=axis)
        else:
            pad = [(0, 0)] * spectrum.ndim
            pad[axis] = (-start, size - old + start)
            spectrum = np.pad(spectrum, pad)
        if min(size, old) % 2 == 0 and size != old:
            # The Nyquist plane has no partner on the other side: without it the result is real.
            edge = (size // 2 if size > old else 0) - (old // 2 if size > old else 0)
            index = [slice(None)] * spectrum.ndim
            index[axis] = slice(edge, edge + 1)
            spectrum[tuple(index)] = 0
    return spectrum


def _resize(stack: NDArray[np.floating], size: int) -> NDArray[np.float32]:
    axes = tuple(range(1, stack.ndim))
    spectrum = scipy.fft.fftn(np.fft.ifftshift(stack, axes=axes), axes=axes)
    spectrum = _crop_axes(np.fft.fftshift(spectrum, axes=axes), size)
    resized = scipy.fft.ifftn(np.fft.ifftshift(spectrum, axes=axes), axes=axes).real
    scale = (size / stack.shape[-1]) ** len(axes)
    return (np.fft.fftshift(resized, axes=axes) * scale).astype(np.float32)


def resize_images(images: NDArray[np.floating], size: int) -> NDArray[np.float32]:
    """Resamples images (P, N, N) to (P, size, size) in Fourier space: the box stays, pixels change.

    Values are kept (a constant image stays the same constant); the origin pixel goes from N // 2
    to size // 2.
    """
    if images.shape[-1] == size:
        return images.astype(np.float32, copy=False)
    return np.concatenate(
        [_resize(part, size) for part in np.array_split(images, -(-len(images) // 512))]
    )


def resize_volume(volume: NDArray[np.floating], size: int) -> NDArray[np.float32]:
    """Resamples a volume (N, N, N) to (size, size, size) in Fourier space, values kept."""
    if volume.shape[-1] == size:
        return volume.astype(np.float32, copy=False)
    return _resize(volume[None], size)[0]
