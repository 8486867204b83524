"""Rotated and mirrored volumes, by trigonometric interpolation.

Turning a volume turns its Fourier transform alike. The transform is evaluated at the turned
frequencies by a non-uniform FFT (finufft type 2), so that nothing is interpolated in space.
"""

import finufft
import numpy as np
import scipy.fft
from numpy.typing import ArrayLike, NDArray

from cryotwin.imaging.errors import InputError

_TOLERANCE = 1e-8


def rotate_volume(
    volume: ArrayLike, rotation: ArrayLike, *, inverted: bool = False
) -> NDArray[np.float32]:
    """Turns a volume about its origin voxel: V'(x) = V(B^T x), x in the order x, y, z.

    Seen under the orientation R, the turned volume looks as the given one does under R B:
    `project_volume(rotate_volume(V, B), R) == project_volume(V, R B)`. The inverted one is the
    mirror image, and looks as the given one does under diag(-1, -1, 1) R B.

    Args:
        volume: (N, N, N) as z, y, x; its origin is voxel N // 2 on every axis.
        rotation: B, (3, 3), acting on (x, y, z).
        inverted: give V(-B^T x) instead: the turned mirror image (other handedness).

    Returns:
        (N, N, N), limited to frequencies below the Nyquist frequency. What the turn takes out of
        the box comes in at the other side.

    Raises:
        InputError: the volume is no cube, or `rotation` is no rotation matrix.
    """
    data, matrix = _cube(volume), _rotation(rotation)
    size = len(data)
    k = np.rint(np.fft.fftfreq(size, 1 / size))
    kz, ky, kx = np.meshgrid(k, k, np.arange(size // 2 + 1), indexing="ij", sparse=True)
    inside = kx**2 + ky**2 + kz**2 < (size / 2) ** 2
    kz, ky, kx = (np.broadcast_to(axis, inside.shape)[inside] for axis in (kz, ky, kx))
    # The transform of V(B^T x) at k is that of V at B^T k, and of V(-B^T x) its conjugate.
    x, y, z = matrix.T @ np.stack([kx, ky, kz]) * (2 * np.pi / size)
    values = finufft.nufft3d2(
        z, y, x, data.astype(np.complex128), isign=-1, eps=_TOLERANCE, nthreads=1
    )
    spectrum = np.zeros(inside.shape, dtype=np.complex128)
    spectrum[inside] = values.conj() if inverted else values
    turned = scipy.fft.irfftn(spectrum, s=data.shape)
    return np.fft.fftshift(turned).astype(np.float32)


def _cube(volume: ArrayLike) -> NDArray[np.float64]:
    data = np.asarray(volume, dtype=np.float64)
    if data.ndim != 3 or len(set(data.shape)) != 1:
        raise InputError(f"volume must be a cube (N, N, N), not of shape {data.shape}")
    return data


def _rotation(rotation: ArrayLike) -> NDArray[np.float64]:
    matrix = np.asarray(rotation, dtype=np.float64)
    if matrix.shape != (3, 3):
        raise InputError(f"rotation must be of shape (3, 3), not {matrix.shape}")
    if not np.allclose(matrix @ matrix.T, np.eye(3), atol=1e-6) or np.linalg.det(matrix) < 0:
        raise InputError(f"rotation must be a rotation matrix, not {matrix.tolist()}")
    return matrix
