"""Projections of a volume and their adjoint: P of equation (1) of the paper.

By the central-slice theorem the transform of a projection is a plane through the origin of the
volume's transform. The plane is evaluated directly at its frequencies by a non-uniform FFT
(finufft type 2), its adjoint is type 1: no interpolation of our own, and errors near 1e-5.
Geometry: the image of orientation R is p(y1, y2) = integral over y3 of V(R^T y), where the rows of
R are the detector's axes and the viewing direction in the object's (x, y, z).
"""

import finufft
import numpy as np
from numpy.typing import ArrayLike, NDArray

from cryotwin.imaging.errors import InputError
from cryotwin.imaging.fourier import FourierDisc, disc_to_images, fourier_disc, images_to_disc

_TOLERANCE = 2e-6
_COARSE = {"eps": 1e-5, "upsampfac": 1.25, "showwarn": 0}
"""On a doubled grid most time goes into the FFT, which less oversampling makes small; finufft
would print that it then stops just short of the tolerance."""

_BATCH = 512
"""Images in one call of finufft; fixed, so that results do not depend on the caller's batches."""


def project_volume(
    volume: NDArray[np.floating], rotations: ArrayLike, *, backend: str = "nufft"
) -> NDArray[np.float32]:
    """Projects a volume along many directions.

    Args:
        volume: (N, N, N) as z, y, x; its origin is voxel N // 2 on every axis.
        rotations: (P, 3, 3), see the module's docstring.
        backend: "nufft" (finufft, on the CPU).

    Returns:
        Images (P, N, N) as y, x: line integrals in units of the volume times one voxel, limited
        to frequencies below the Nyquist frequency.

    Raises:
        InputError: the volume is no cube, or the backend is unknown.
    """
    _check_backend(backend)
    disc = fourier_disc(_cube_size(volume))
    rotations = _as_matrices(rotations)
    images = np.empty((len(rotations), disc.size, disc.size), dtype=np.float32)
    for start in range(0, len(rotations), _BATCH):
        part = slice(start, start + _BATCH)
        images[part] = disc_to_images(volume_to_slices(volume, rotations[part], disc), disc)
    return images


def backproject_images(
    images: NDArray[np.floating], rotations: ArrayLike, *, backend: str = "nufft"
) -> NDArray[np.float32]:
    """Smears images back through the volume: the exact adjoint of `project_volume`.

    Args:
        images: (P, N, N) as y, x.
        rotations: (P, 3, 3).
        backend: "nufft" (finufft, on the CPU).

    Returns:
        The volume (N, N, N) with <project(V), images> = <V, volume> for every V.

    Raises:
        InputError: images and rotations do not match, or the backend is unknown.
    """
    _check_backend(backend)
    rotations = _as_matrices(rotations)
    if images.ndim != 3 or images.shape[1] != images.shape[2] or len(images) != len(rotations):
        raise InputError(
            "images and rotations must be (P, N, N) and (P, 3, 3), "
            f"not {images.shape} and {rotations.shape}"
        )
    disc = fourier_disc(images.shape[-1])
    scale = disc.weights / disc.size**2
    volume = np.zeros((disc.size,) * 3, dtype=np.float32)
    for start in range(0, len(images), _BATCH):
        part = slice(start, start + _BATCH)
        volume += slices_to_volume(
            images_to_disc(images[part], disc) * scale, rotations[part], disc
        )
    return volume


def volume_to_slices(
    volume: NDArray[np.floating],
    rotations: NDArray[np.floating],
    disc: FourierDisc,
    *,
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
        volume.astype(np.complex64),
        isign=-1,
        eps=_TOLERANCE,
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
    threads: int = 1,
) -> NDArray[np.float32]:
    """Sums Re(c exp(2 pi i k.x / N)) over all coefficients c (P, K): adjoint of `volume_to_slices`.

    Args:
        slices: coefficients (P, K).
        rotations: (P, 3, 3).
        disc: the frequencies of a slice.
        size: edge of the result in voxels, `disc.size` unless told; a larger one continues the
            sum beyond the box, as the kernel of the normal operator needs.
        threads: threads of finufft; more than one changes the last bits from run to run.
    """
    z, y, x = slice_frequencies(rotations, disc)
    values = np.ascontiguousarray(slices, dtype=np.complex64).ravel()
    precision = {"eps": _TOLERANCE, "showwarn": 0} if size is None else _COARSE
    shape = (size or disc.size,) * 3
    volume = finufft.nufft3d1(z, y, x, values, shape, isign=1, nthreads=threads, **precision)
    return volume.real.copy()


def slice_frequencies(
    rotations: NDArray[np.floating], disc: FourierDisc
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """Places the frequencies of a disc in the volume: three flat arrays (P K,) for z, y and x.

    In radians per voxel, as finufft takes them.
    """
    plane = np.stack([disc.kx, disc.ky], axis=1) * (2 * np.pi / disc.size)
    points = np.einsum("kd,pdc->cpk", plane, rotations[:, :2, :]).astype(np.float32)
    return tuple(np.ascontiguousarray(points[axis]).ravel() for axis in (2, 1, 0))  # type: ignore[return-value]


def _check_backend(backend: str) -> None:
    if backend != "nufft":
        raise InputError(f"backend must be 'nufft', not {backend!r}")


def _cube_size(volume: NDArray[np.floating]) -> int:
    if volume.ndim != 3 or len(set(volume.shape)) != 1:
        raise InputError(f"volume must be a cube (N, N, N), not of shape {volume.shape}")
    return volume.shape[0]


def _as_matrices(rotations: ArrayLike) -> NDArray[np.float64]:
    matrices = np.asarray(rotations, dtype=np.float64)
    if matrices.ndim != 3 or matrices.shape[1:] != (3, 3):
        raise InputError(f"rotations must be of shape (P, 3, 3), not {matrices.shape}")
    return matrices
