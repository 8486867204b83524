"""Central slices of a volume's transform by a non-uniform FFT: the reference of all projectors.

By the central-slice theorem the transform of a projection is a plane through the origin of the
volume's transform. The plane is evaluated directly at its frequencies by finufft (type 2), its
adjoint is type 1: no interpolation of our own, and errors near the tolerance asked for.
"""

import finufft
import numpy as np
from numpy.typing import NDArray

from cryotwin.imaging.fourier import FourierDisc, disc_to_images, fourier_disc, images_to_disc

_TOLERANCE = 2e-6
_COARSE = {"eps": 1e-4, "upsampfac": 1.25, "showwarn": 0}
"""On a doubled grid most time goes into the FFT, which less oversampling makes small. In
single precision a smaller tolerance makes a larger error with it: 3e-4 at 1e-5, 1e-4 at 1e-4."""

_BATCH = 512
"""Images in one call of finufft; fixed, so that results do not depend on the caller's batches."""


class NufftProjector:
    """Projects a volume (N, N, N) by finufft; see `cryotwin.imaging.projection.Projector`."""

    def __init__(self, volume: NDArray[np.floating], tolerance: float | None = None) -> None:
        self.size = volume.shape[0]
        self.batch = _BATCH
        self._volume = volume.astype(np.complex64)
        self._tolerance = tolerance or _TOLERANCE

    def project(self, rotations: NDArray[np.floating]) -> NDArray[np.float32]:
        """Projects along `rotations` (P, 3, 3): images (P, N, N)."""
        disc = fourier_disc(self.size)
        images = np.empty((len(rotations), self.size, self.size), dtype=np.float32)
        for start in range(0, len(rotations), _BATCH):
            part = slice(start, start + _BATCH)
            slices = volume_to_slices(
                self._volume, rotations[part], disc, tolerance=self._tolerance
            )
            images[part] = disc_to_images(slices, disc)
        return images


def backproject(
    images: NDArray[np.floating],
    rotations: NDArray[np.floating],
    tolerance: float | None = None,
) -> NDArray[np.float32]:
    """Adds images (P, N, N) up in a volume (N, N, N): the adjoint of `NufftProjector.project`."""
    disc = fourier_disc(images.shape[-1])
    volume = np.zeros((disc.size,) * 3, dtype=np.float32)
    for start in range(0, len(images), _BATCH):
        part = slice(start, start + _BATCH)
        slices = images_to_disc(images[part], disc) * disc.adjoint_scale
        volume += slices_to_volume(slices, rotations[part], disc, tolerance=tolerance or _TOLERANCE)
    return volume


def volume_to_slices(
    volume: NDArray[np.floating] | NDArray[np.complexfloating],
    rotations: NDArray[np.floating],
    disc: FourierDisc,
    *,
    tolerance: float = _TOLERANCE,
    threads: int = 1,
) -> NDArray[np.complex64]:
    """Evaluates the transform of a volume (N, N, N) on central slices: (P, K) coefficients.

    The frequencies are those of `disc`, in cycles per box.
    """
    z, y, x = slice_frequencies(rotations, disc)
    values = finufft.nufft3d2(
        z,
        y,
        x,
        volume.astype(np.complex64, copy=False),
        isign=-1,
        eps=tolerance,
        nthreads=threads,
        showwarn=0,  # It would tell at every call that OMP_NUM_THREADS is less than `threads`.
    )
    return values.reshape(len(rotations), -1)


def slices_to_volume(
    slices: NDArray[np.complexfloating],
    rotations: NDArray[np.floating],
    disc: FourierDisc,
    *,
    size: int | None = None,
    tolerance: float = _TOLERANCE,
    threads: int = 1,
) -> NDArray[np.float32]:
    """Sums Re(c exp(2 pi i k.x / N)) over all coefficients c (P, K): adjoint of `volume_to_slices`.

    Args:
        slices: coefficients (P, K).
        rotations: (P, 3, 3).
        disc: the frequencies of a slice.
        size: edge of the result in voxels, `disc.size` unless told; a larger one continues the
            sum beyond the box, as the kernel of the normal operator needs.
        tolerance: relative error, unless `size` asks for a larger sum.
        threads: threads of finufft; more than one changes the last bits from run to run.
    """
    z, y, x = slice_frequencies(rotations, disc)
    values = np.ascontiguousarray(slices, dtype=np.complex64).ravel()
    precision = {"eps": tolerance, "showwarn": 0} if size is None else _COARSE
    shape = (size or disc.size,) * 3
    volume = finufft.nufft3d1(z, y, x, values, shape, isign=1, nthreads=threads, **precision)
    return volume.real.copy()


def slice_frequencies(
    rotations: NDArray[np.floating], disc: FourierDisc
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """Places the frequencies of a disc in the volume: three flat arrays (P K,) for z, y and x.

    In radians per voxel, as finufft takes them.
    """
    plane = (np.stack([disc.kx, disc.ky]) * (2 * np.pi / disc.size)).astype(np.float32)
    axes = rotations[:, :2].astype(np.float32)
    z, y, x = ((axes[:, :, axis] @ plane).ravel() for axis in (2, 1, 0))
    return z, y, x
