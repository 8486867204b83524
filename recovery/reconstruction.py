"""A map from images of known orientation: least squares by conjugate gradients (CGLS).

Minimises the sum over images of |C P V - y|^2 with the projector P of
`cryotwin.imaging.projection`, the CTF C and their adjoints. P^T C^2 P is a convolution, so it is
applied by FFTs with a kernel that takes one adjoint NUFFT to make: an iteration costs the same for
a hundred images and for a million. Under a point group every image counts in each of its
equivalent orientations.
"""

from collections.abc import Callable

import numpy as np
import scipy.fft
from numpy.typing import ArrayLike, NDArray

from cryotwin.imaging.ctf import CtfParameters, disc_contrast_transfer
from cryotwin.imaging.errors import InputError
from cryotwin.imaging.fourier import fourier_disc, images_to_disc, shift_phases
from cryotwin.imaging.lattice_turns import split_point_group, sum_moved_voxels
from cryotwin.imaging.nufft import slices_to_volume

_BATCH = 2048
"""Images in one call of the NUFFT: its grid costs the same for one image and for thousands."""


def reconstruct(
    images: NDArray[np.floating],
    rotations: NDArray[np.floating],
    *,
    shifts_px: ArrayLike | None = None,
    ctf: CtfParameters | None = None,
    pixel_size_angstrom: float | None = None,
    symmetry: str = "C1",
    damping: float = 1e-3,
    iterations: int = 20,
    threads: int = 1,
) -> NDArray[np.float32]:
    """Reconstructs a volume from images and their orientations.

    Args:
        images: (P, N, N) as y, x.
        rotations: (P, 3, 3).
        shifts_px: (P, 2) as x, y: how far the content of each image is displaced; zero if None.
        ctf: of the P images, or of one for all; None for images without.
        pixel_size_angstrom: of the images; a CTF needs it.
        symmetry: point group of the particle, about the axes of `rotations` as RELION has them.
        damping: Tikhonov term in units of the mean diagonal entry of the normal operator over N;
            it holds frequencies that no image measures at zero.
        iterations: steps of conjugate gradients; fewer regularise more.
        threads: threads of the NUFFT.

    Returns:
        (N, N, N) as z, y, x, in the units of the images per voxel of path, so that its
        projections are on the images' scale; zero outside the sphere that fits the box. It has
        the symmetry.

    Raises:
        InputError: the symmetry is unknown, or a CTF came without a pixel size or not for every
            image.
    """
    _check(images, ctf, pixel_size_angstrom)
    size = images.shape[-1]
    shifts = np.zeros((len(images), 2)) if shifts_px is None else np.asarray(shifts_px, np.float64)
    sums = _Sums(size, symmetry, threads)
    for start in range(0, len(images), _BATCH):
        part = slice(start, start + _BATCH)
        transfer = None
        if ctf is not None and pixel_size_angstrom is not None:
            transfer = disc_contrast_transfer(ctf.part(part), sums.disc, pixel_size_angstrom)
        sums.add(images[part], rotations[part], shifts[part], transfer)
    right_side, kernel = sums.totals()
    transfer = scipy.fft.rfftn(np.fft.ifftshift(kernel)).real.astype(np.float32)
    level = damping * float(kernel[(size,) * 3]) / size
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
    ctf: CtfParameters | None = None,
    pixel_size_angstrom: float | None = None,
    symmetry: str = "C1",
    threads: int = 1,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Reconstructs two maps, of the images whose entry in `halves` (P,) is 0 and 1."""
    first, second = (
        reconstruct(
            images[rows],
            rotations[rows],
            shifts_px=shifts_px[rows],
            ctf=None if ctf is None else ctf.part(rows),
            pixel_size_angstrom=pixel_size_angstrom,
            symmetry=symmetry,
            threads=threads,
        )
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


def _check(
    images: NDArray[np.floating], ctf: CtfParameters | None, pixel_size_angstrom: float | None
) -> None:
    if ctf is None:
        return
    if pixel_size_angstrom is None:
        raise InputError("a CTF needs pixel_size_angstrom, the pixel size of the images")
    count = len(ctf.columns()["voltage_kv"])
    if count not in (1, len(images)):
        raise InputError(f"the CTF must be of one or of all {len(images)} images, not of {count}")


class _Sums:
    """Sums over images: the right side P^T C y and the kernel of P^T C^2 P.

    The kernel lies on the doubled grid that a linear convolution needs.
    """

    def __init__(self, size: int, symmetry: str, threads: int) -> None:
        self.disc = fourier_disc(size)
        self._turns, self._moves = split_point_group(symmetry)
        self._threads = threads
        self._right_side = np.zeros((size,) * 3, dtype=np.float32)
        self._kernel = np.zeros((2 * size,) * 3, dtype=np.float32)

    def add(
        self,
        images: NDArray[np.floating],
        rotations: NDArray[np.floating],
        shifts: NDArray[np.float64],
        transfer: NDArray[np.float32] | None,
    ) -> None:
        """Adds images with their CTFs `transfer` (P, K), or None for images without."""
        disc, threads = self.disc, self._threads
        coefficients = images_to_disc(images, disc) * disc.adjoint_scale
        coefficients *= shift_phases(disc, shifts).conj()
        weights = np.broadcast_to(disc.adjoint_scale.astype(np.complex64), coefficients.shape)
        if transfer is not None:
            coefficients *= transfer
            weights = weights * transfer**2
        for turn in self._turns:
            turned = rotations @ turn
            self._right_side += slices_to_volume(coefficients, turned, disc, threads=threads)
            self._kernel += slices_to_volume(
                weights, turned, disc, size=2 * disc.size, threads=threads
            )

    def totals(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Gives the right side (N, N, N) and the kernel (2N, 2N, 2N), over the whole group."""
        if len(self._moves) == 1:
            return self._right_side, self._kernel
        return (
            sum_moved_voxels(self._right_side, self._moves),
            sum_moved_voxels(self._kernel, self._moves),
        )


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
