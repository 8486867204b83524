"""The fast projector on the CPU: central slices read from an oversampled transform.

The volume's transform is computed once, on a grid of 1.5 times as many points per axis; a kernel
of 3 to 8 points reads off the slices (see `gridding_kernel`). Only the half of the grid with
x >= 0 is kept (the other is its conjugate), with a rim as wide as the kernel reaches; only the
half disc of an image's frequencies is computed. One thread; the lock of Python is released, so
callers may run several. Every image is computed on its own, so it has the same bits whatever else
is projected with it.

The adjoint is each step's transpose, in reverse order.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from cryotwin.imaging.fourier import FourierDisc, fourier_disc, images_to_disc
from cryotwin.imaging.gridding_kernel import (
    OVERSAMPLING,
    KaiserBessel,
    choose_kernel,
    deapodisation,
)
from cryotwin.imaging.gridding_loops import add_slices, read_slices, row_floats

_TOLERANCE = 1e-4

_BATCH = 64
"""Images whose spectra are held at once."""

_LINE = 8
"""Complex numbers in one line of the processor's cache."""


@dataclass(frozen=True)
class FineGrid:
    """Where the transform of a volume of `size` voxels lies in memory.

    The array is (z, y, x), complex; z and y run from -reach to reach, x from -rim on.

    Attributes:
        size: N, in voxels.
        period: M, grid points per axis.
        kernel: what reads between the points.
        box: edge of the images in voxels; frequencies are in cycles per box.
    """

    size: int
    period: int
    kernel: KaiserBessel
    box: int

    @property
    def rim(self) -> int:
        """How far the kernel reaches beyond a point, in grid points."""
        return self.kernel.width // 2

    @property
    def reach(self) -> int:
        """The last plane (or row) that is kept."""
        return self.period // 2 + self.rim + 1

    @property
    def shape(self) -> tuple[int, int, int]:
        """Rows of an odd number of cache lines: a power of two would crowd a few of its sets."""
        row = self.rim + self.reach + row_floats(self.kernel.width) // 2
        lines = -(-row // _LINE)
        return 2 * self.reach + 1, 2 * self.reach + 1, _LINE * (lines + 1 - lines % 2)

    @property
    def layout(self) -> tuple[int, int, int]:
        """Floats from y to y + 1 and from z to z + 1, and the place of (0, 0, 0)."""
        _, count, row = self.shape
        y, z = 2 * row, 2 * row * count
        return y, z, self.reach * (y + z) + 2 * self.rim

    @property
    def wrapped(self) -> NDArray[np.int64]:
        """Place in the period of each plane (or row) of the array."""
        return np.arange(-self.reach, self.reach + 1) % self.period

    @property
    def factors(self) -> NDArray[np.float32]:
        """Deapodisation along one axis, (N,)."""
        position = (np.arange(self.size) - self.size // 2) / self.period
        return deapodisation(self.kernel, position).astype(np.float32)

    def deapodise(self, volume: NDArray[np.float32]) -> NDArray[np.float32]:
        """Divides the kernel's transform out of a volume (N, N, N)."""
        factors = self.factors
        return volume * factors[:, None, None] * factors[:, None] * factors

    def rows(self, rotations: NDArray[np.floating]) -> NDArray[np.float64]:
        """Gives the detector's axes (P, 2, 3) in grid points per cycle per box."""
        return np.ascontiguousarray(rotations[:, :2] * (self.period / self.box), dtype=np.float64)


def plan_grid(size: int, tolerance: float | None, box: int | None = None) -> FineGrid:
    """Chooses the kernel and the grid for volumes of `size` voxels, of images of `box` pixels."""
    kernel_width = choose_kernel(tolerance or _TOLERANCE, OVERSAMPLING).width
    wanted = max(int(np.ceil(OVERSAMPLING * size)), 2 * kernel_width)
    period = 2 * scipy.fft.next_fast_len(-(-wanted // 2), real=True)
    return FineGrid(size, period, choose_kernel(tolerance or _TOLERANCE, OVERSAMPLING), box or size)


class GriddingProjector:
    """Projects a volume (N, N, N) by gridding; see `cryotwin.imaging.projection.Projector`."""

    def __init__(self, volume: NDArray[np.float32], tolerance: float | None = None) -> None:
        self.size = volume.shape[0]
        self.batch = _BATCH
        self._grid = plan_grid(self.size, tolerance)
        self._values = transform_on_grid(self._grid.deapodise(volume), self._grid)
        self._disc = fourier_disc(self.size)
        self._phases = _centring_phases(self._disc)
        self._polynomials = self._grid.kernel.polynomials()

    def project(self, rotations: NDArray[np.floating]) -> NDArray[np.float32]:
        """Projects along `rotations` (P, 3, 3): images (P, N, N)."""
        size, disc = self.size, self._disc
        images = np.empty((len(rotations), size, size), dtype=np.float32)
        spectra = np.zeros((min(len(rotations), _BATCH), size, size // 2 + 1), dtype=np.complex64)
        rows = self._grid.rows(rotations)
        for start in range(0, len(rotations), _BATCH):
            part = slice(start, min(start + _BATCH, len(rotations)))
            used = spectra[: part.stop - start]
            read_slices(
                self._values.reshape(-1).view(np.float32),
                rows[part],
                self._grid.layout,
                disc.kx,
                disc.ky,
                self._phases,
                self._polynomials,
                (0,) * self._grid.kernel.width,
                used,
            )
            images[part] = scipy.fft.irfft2(used, s=(size, size))
        return images


def backproject(
    images: NDArray[np.floating],
    rotations: NDArray[np.floating],
    tolerance: float | None = None,
) -> NDArray[np.float32]:
    """Adds images (P, N, N) up in a volume: the adjoint of `GriddingProjector.project`."""
    disc = fourier_disc(images.shape[-1])
    total = SliceSum(disc, tolerance=tolerance)
    for start in range(0, len(images), _BATCH):
        part = slice(start, start + _BATCH)
        total.add(images_to_disc(images[part], disc) * disc.adjoint_scale, rotations[part])
    return total.volume()


class SliceSum:
    """Sums Re(c exp(2 pi i k.x / N)) over the coefficients c of central slices.

    Does what `cryotwin.imaging.nufft.slices_to_volume` does, for slices that come in batches: only
    `volume` transforms the grid.
    """

    def __init__(
        self, disc: FourierDisc, *, size: int | None = None, tolerance: float | None = None
    ) -> None:
        """Makes an empty sum over slices on `disc`, for a volume of `size` (N unless told)."""
        self._disc = disc
        self._grid = plan_grid(size or disc.size, tolerance, disc.size)
        self._values = np.zeros(self._grid.shape, dtype=np.complex64)
        self._polynomials = self._grid.kernel.polynomials()

    def add(self, slices: NDArray[np.complexfloating], rotations: NDArray[np.floating]) -> None:
        """Adds coefficients (P, K) on the slices of rotations (P, 3, 3)."""
        add_slices(
            self._values.reshape(-1).view(np.float32),
            self._grid.rows(rotations),
            self._grid.layout,
            self._disc.kx,
            self._disc.ky,
            self._polynomials,
            (0,) * self._grid.kernel.width,
            np.ascontiguousarray(slices, dtype=np.complex64),
        )

    def volume(self) -> NDArray[np.float32]:
        """Gives the sum as a volume (z, y, x), and ends the use of this object."""
        along_y = _planes_adjoint(self._values, self._grid)
        self._values = np.zeros((0, 0, 0), dtype=np.complex64)  # It was the largest array of all.
        return self._grid.deapodise(_rows_adjoint(along_y, self._grid))


def _centring_phases(disc: FourierDisc) -> NDArray[np.complex64]:
    """Factors (K,) that move the origin from pixel 0 to pixel N // 2."""
    turns = (disc.kx + disc.ky) * (disc.size // 2) % disc.size / disc.size
    return np.exp(-2j * np.pi * turns).astype(np.complex64)


def transform_on_grid(volume: NDArray[np.float32], grid: FineGrid) -> NDArray[np.complex64]:
    """Transforms a volume (N, N, N) about its origin voxel onto the grid, rims included.

    Axis by axis, so that what is padded with zeros stays small for as long as possible.
    """
    values = np.zeros(grid.shape, dtype=np.complex64)
    half = grid.period // 2 + 1
    along_x = scipy.fft.rfft(_pad(volume, 2, grid), axis=2)
    along_y = scipy.fft.fft(_pad(along_x, 1, grid), axis=1, overwrite_x=True)
    for row, y in enumerate(grid.wrapped):
        plane = scipy.fft.fft(_pad(along_y[:, y], 0, grid), axis=0, overwrite_x=True)
        values[:, row, grid.rim : grid.rim + half] = plane[grid.wrapped]
    for target, source in _mirrored_columns(grid):
        values[..., target] = values[::-1, ::-1, source].conj()
    return values


def _planes_adjoint(values: NDArray[np.complex64], grid: FineGrid) -> NDArray[np.complex64]:
    """Transposes the second half of `transform_on_grid`, along z; overwrites `values`."""
    half = grid.period // 2 + 1
    for target, source in _mirrored_columns(grid):
        values[::-1, ::-1, source] += values[..., target].conj()
    along_y = np.zeros((grid.size, grid.period, half), dtype=np.complex64)
    for row, y in enumerate(grid.wrapped):
        plane = _wrap(values[:, row, grid.rim : grid.rim + half], grid)
        along_y[:, y] += _crop(scipy.fft.ifft(plane, axis=0, norm="forward"), 0, grid)
    return along_y


def _rows_adjoint(along_y: NDArray[np.complex64], grid: FineGrid) -> NDArray[np.float32]:
    """Transposes the first half of `transform_on_grid`, along y and x."""
    half = grid.period // 2 + 1
    along_x = _crop(scipy.fft.ifft(along_y, axis=1, norm="forward"), 1, grid)
    along_x[..., 1 : half - 1] *= (
        0.5  # `irfft` counts these twice, as a coefficient and its mirror.
    )
    return _crop(scipy.fft.irfft(along_x, n=grid.period, axis=2, norm="forward"), 2, grid)


def _mirrored_columns(grid: FineGrid) -> list[tuple[int, int]]:
    """Pairs of columns x of which the first is the second's conjugate at (-z, -y): the rims."""
    left = [(grid.rim - x, grid.rim + x) for x in range(1, grid.rim + 1)]
    edge = grid.rim + grid.period // 2
    return left + [(edge + x, edge - x) for x in range(1, grid.rim + 2)]


def _places(grid: FineGrid) -> NDArray[np.int64]:
    """Place in the period of the voxels along an axis; the origin voxel's is 0."""
    return (np.arange(grid.size) - grid.size // 2) % grid.period


def _pad(array: NDArray[Any], axis: int, grid: FineGrid) -> NDArray[Any]:
    shape = list(array.shape)
    shape[axis] = grid.period
    padded = np.zeros(shape, dtype=array.dtype)
    padded[(slice(None),) * axis + (_places(grid),)] = array
    return padded


def _crop(array: NDArray[Any], axis: int, grid: FineGrid) -> NDArray[Any]:
    before = grid.size // 2
    _, _, left = np.split(array, [grid.size - before, grid.period - before], axis=axis)
    right = array[(slice(None),) * axis + (slice(grid.size - before),)]
    return np.concatenate([left, right], axis=axis)


def _wrap(planes: NDArray[np.complex64], grid: FineGrid) -> NDArray[np.complex64]:
    """Adds what lies in the rims to the points of the period that they stand for."""
    plane = np.zeros((grid.period, planes.shape[1]), dtype=np.complex64)
    plane[: grid.reach + 1] = planes[grid.reach :]
    plane[grid.period - grid.reach :] += planes[: grid.reach]
    return plane
