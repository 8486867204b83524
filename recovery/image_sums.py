"""What least squares need of the images: the right side P^T C y and the kernel of P^T C^2 P.

P is the projector, C the CTF, y the images. Both are sums over central slices, made by either
adjoint on the CPU: "gridding" keeps one grid for all images and transforms it once, "nufft"
(finufft) transforms its own for every batch.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cryotwin.imaging.ctf import CtfParameters, disc_contrast_transfer
from cryotwin.imaging.errors import InputError
from cryotwin.imaging.fourier import FourierDisc, fourier_disc, images_to_disc, shift_phases
from cryotwin.imaging.gridding import SliceSum
from cryotwin.imaging.lattice_turns import split_point_group, sum_moved_voxels
from cryotwin.imaging.nufft import slices_to_volume
from cryotwin.imaging.projection import check_backend

_BATCH = {"gridding": 256, "nufft": 2048}
"""Images at a time: of few the coefficients stay small, but finufft's grid costs the same for one
image and for thousands."""

_TOLERANCE = 1e-4


@dataclass(frozen=True)
class ImageSums:
    """Sums over images, each in all of its equivalent orientations.

    Attributes:
        right_side: P^T C y, (N, N, N) as z, y, x.
        kernel: (2N, 2N, 2N), about voxel N: P^T C^2 P convolves with it.
        energy: sum of |y|^2 over the frequencies of the disc.
        values: how many independent values (pixels) that energy is of.
        views: the number of images, times the order of the point group.
        order: of the point group.
    """

    right_side: NDArray[np.float32]
    kernel: NDArray[np.float32]
    energy: float
    values: float
    views: int
    order: int

    @property
    def size(self) -> int:
        """N, the edge of the volume in voxels."""
        return len(self.right_side)


def sum_images(
    images: NDArray[np.floating],
    rotations: NDArray[np.floating],
    *,
    shifts_px: ArrayLike | None = None,
    ctf: CtfParameters | None = None,
    pixel_size_angstrom: float | None = None,
    symmetry: str = "C1",
    backend: str = "gridding",
    threads: int = 1,
) -> ImageSums:
    """Adds images up; arguments as of `cryotwin.recovery.reconstruction.reconstruct`.

    Raises:
        InputError: the symmetry or the backend is unknown, or the CTF does not fit the images.
    """
    _check_ctf(images, ctf, pixel_size_angstrom)
    disc = fourier_disc(images.shape[-1])
    turns, moves = split_point_group(symmetry)
    right_side = _slice_sum(disc, disc.size, backend, threads)
    kernel = _slice_sum(disc, 2 * disc.size, backend, threads)
    shifts = None if shifts_px is None else np.asarray(shifts_px, dtype=np.float64)
    energy = 0.0
    for start in range(0, len(images), _BATCH[backend]):
        part = slice(start, start + _BATCH[backend])
        coefficients = images_to_disc(images[part], disc)
        energy += float(np.sum(np.abs(coefficients) ** 2 @ disc.adjoint_scale.astype(np.float64)))
        coefficients *= disc.adjoint_scale
        weights = np.broadcast_to(disc.adjoint_scale.astype(np.complex64), coefficients.shape)
        if shifts is not None and shifts[part].any():
            coefficients *= shift_phases(disc, shifts[part]).conj()
        if ctf is not None and pixel_size_angstrom is not None:
            transfer = disc_contrast_transfer(ctf.part(part), disc, pixel_size_angstrom)
            coefficients *= transfer
            weights = weights * transfer**2
        for turn in turns:
            right_side.add(coefficients, rotations[part] @ turn)
            kernel.add(weights, rotations[part] @ turn)
    return ImageSums(
        right_side=sum_moved_voxels(right_side.volume(), moves),
        kernel=sum_moved_voxels(kernel.volume(), moves),
        energy=energy,
        values=len(images) * float(disc.weights.sum()),
        views=len(images) * len(turns) * len(moves),
        order=len(turns) * len(moves),
    )


class _AnySum(Protocol):
    def add(self, slices: NDArray[np.complexfloating], rotations: NDArray[np.floating]) -> None:
        """Adds coefficients (P, K) on the slices of rotations (P, 3, 3)."""

    def volume(self) -> NDArray[np.float32]:
        """Gives the sum."""
        ...


class _NufftSum:
    """Does with finufft what `SliceSum` does by gridding."""

    def __init__(self, disc: FourierDisc, size: int, threads: int) -> None:
        self._disc, self._threads = disc, threads
        self._total = np.zeros((size,) * 3, dtype=np.float32)

    def add(self, slices: NDArray[np.complexfloating], rotations: NDArray[np.floating]) -> None:
        size = len(self._total)
        self._total += slices_to_volume(
            slices,
            rotations,
            self._disc,
            size=None if size == self._disc.size else size,
            threads=self._threads,
        )

    def volume(self) -> NDArray[np.float32]:
        return self._total


def _slice_sum(disc: FourierDisc, size: int, backend: str, threads: int) -> _AnySum:
    check_backend(backend)
    if backend == "gridding":
        return SliceSum(disc, size=size, tolerance=_TOLERANCE)
    if backend == "nufft":
        return _NufftSum(disc, size, threads)
    raise InputError(
        f"reconstruction takes the projectors 'gridding' and 'nufft', not {backend!r}, "
        "whose adjoint does not match its projections"
    )


def _check_ctf(
    images: NDArray[np.floating], ctf: CtfParameters | None, pixel_size_angstrom: float | None
) -> None:
    if ctf is None:
        return
    if pixel_size_angstrom is None:
        raise InputError("a CTF needs pixel_size_angstrom, the pixel size of the images")
    count = len(ctf.columns()["voltage_kv"])
    if count not in (1, len(images)):
        raise InputError(f"the CTF must be of one or of all {len(images)} images, not of {count}")
