"""A map from images of known orientation: least squares by conjugate gradients (CGLS).

Minimises the sum over images of |P V - y|^2 with the projector P of `cryotwin.imaging.projection`
and its adjoint. P^T P is a convolution, so it is applied by FFTs with a kernel that takes one
adjoint NUFFT to make: an iteration costs the same for a hundred images and for a million.
"""

from collections.abc import Callable

import numpy as np
import scipy.fft
from numpy.typing import ArrayLike, NDArray

from cryotwin.imaging.fourier import FourierDisc, fourier_disc, images_to_disc, shift_phases
from cryotwin.imaging.nufft import slices_to_volume

_BATCH = 2048
"""Images in one call of the NUFFT: its grid costs the same for one image and for thousands."""


def reconstruct(
    images: NDArray[np.floating],
    rotations: NDArray[np.floating],
    *,
    shifts_px: ArrayLike | None = None,
    damping: float = 1e-3,
    iterations: int = 20,
    threads: int = 1,
) -> NDArray[np.float32]:
    """Reconstructs a volume from images and their orientations.

    Args:
        images: (P, N, N) as y, x.
        rotations: (P, 3, 3).
        shifts_px: (P, 2) as x, y: how far the content of each image is displaced; zero if None.
        damping: Tikhonov term in units of the mean diagonal entry of the normal operator over N;
            it holds frequencies that no image measures at zero.
        iterations: steps of conjugate gradients; fewer regularise more.
        threads: threads of the NUFFT.

    Returns:
        (N, N, N) as z, y, x, in the units of the images per voxel of path, so that its
        projections are on the images' scale; zero outside the sphere that fits the box.
    """
    size = images.shape[-1]
    shifts = np.zeros((len(images), 2)) if shifts_px is None else np.asarray(shifts_px, np.float64)
    disc = fourier_disc(size)
    right_side = _adjoint(images, rotations, shifts, disc, threads)
    transfer = _normal_transfer(rotations, disc, threads)
    level = damping * float(len(images) * disc.weights.sum() / size**2) / size
    support = sphere_support(size)

    def normal(volume: NDArray[np.float32]) -> NDArray[np.float32]:
        spectrum = scipy.fft.rfftn(volume, s=(2 * size,) * 3) * transfer
        convolved = scipy.fft.irfftn(spectrum, s=(2 * size,) * 3)[:size, :size, :size]
        return (convolved + level * volume) * support

    return _conjugate_gradients(normal, right_side * support, iterations)


def reconstruct_halves(
    images: NDArray[np.floating],
    rotations: NDArray[np.floating],
    halves: NDArray[np.integer],
    *,
    shifts_px: NDArray[np.floating],
    threads: int = 1,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Reconstructs two maps, of the images whose entry in `halves` (P,) is 0 and 1."""
    first, second = (
        reconstruct(images[rows], rotations[rows], shifts_px=shifts_px[rows], threads=threads)
        for rows in (halves == 0, halves == 1)
    )
    return first, second


def combine_half_maps(
    half_maps: tuple[NDArray[np.float32], NDArray[np.float32]], fsc: NDArray[np.floating]
) -> NDArray[np.float32]:
    """Averages two half maps and weights each shell by its reliability, 2 FSC / (1 + FSC)."""
    fsc = np.clip(fsc, 0, 1)
    return filter_shells((half_maps[0] + half_maps[1]) / 2, 2 * fsc / (1 + fsc))


def filter_shells(volume: NDArray[np.floating], gains: NDArray[np.floating]) -> NDArray[np.float32]:
    """Multiplies the shells of a volume's transform by gains (N // 2 + 1,), and beyond by 0."""
    size = volume.shape[0]
    full, half = np.fft.fftfreq(size) * size, np.fft.rfftfreq(size) * size
    radius = np.sqrt(full[:, None, None] ** 2 + full[None, :, None] ** 2 + half**2)
    gain = np.interp(radius, np.arange(len(gains)), gains, right=0)
    return scipy.fft.irfftn(scipy.fft.rfftn(volume) * gain, s=volume.shape).astype(np.float32)


def sphere_support(size: int) -> NDArray[np.float32]:
    """Marks the voxels inside the largest sphere of a box: (N, N, N) of 0 and 1."""
    axis = np.arange(size) - size // 2
    squares = axis[:, None, None] ** 2 + axis[None, :, None] ** 2 + axis[None, None, :] ** 2
    return (squares < (size / 2) ** 2).astype(np.float32)


def _adjoint(
    images: NDArray[np.floating],
    rotations: NDArray[np.floating],
    shifts: NDArray[np.float64],
    disc: FourierDisc,
    threads: int,
) -> NDArray[np.float32]:
    volume = np.zeros((disc.size,) * 3, dtype=np.float32)
    scale = disc.adjoint_scale
    for start in range(0, len(images), _BATCH):
        part = slice(start, start + _BATCH)
        coefficients = images_to_disc(images[part], disc) * scale
        coefficients *= shift_phases(disc, shifts[part]).conj()
        volume += slices_to_volume(coefficients, rotations[part], disc, threads=threads)
    return volume


def _normal_transfer(
    rotations: NDArray[np.floating], disc: FourierDisc, threads: int
) -> NDArray[np.float32]:
    """Transforms the kernel of P^T P, on the doubled grid that a linear convolution needs."""
    double = 2 * disc.size
    kernel = np.zeros((double,) * 3, dtype=np.float32)
    scale = disc.adjoint_scale.astype(np.complex64)
    for start in range(0, len(rotations), _BATCH):
        part = rotations[start : start + _BATCH]
        ones = np.broadcast_to(scale, (len(part), len(scale)))
        kernel += slices_to_volume(ones, part, disc, size=double, threads=threads)
    return scipy.fft.rfftn(np.fft.ifftshift(kernel)).real.astype(np.float32)


def _conjugate_gradients(
    normal: Callable[[NDArray[np.float32]], NDArray[np.float32]],
    right_side: NDArray[np.float32],
    iterations: int,
) -> NDArray[np.float32]:
    solution = np.zeros_like(right_side)
    residual = right_side.copy()
    direction = residual.copy()
    energy = float(np.vdot(residual, residual))
    first = energy
    for _ in range(iterations):
        if energy <= 1e-12 * first:
            break
        moved = normal(direction)
        step = energy / float(np.vdot(direction, moved))
        solution += step * direction
        residual -= step * moved
        updated = float(np.vdot(residual, residual))
        direction = residual + (updated / energy) * direction
        energy = updated
    return solution
