"""The normal equations of a reconstruction, and conjugate gradients that solve them in few steps.

P^T C^2 P is a convolution: it is applied by FFTs on a doubled grid. How many samples a shell of
Fourier space has falls with its radius, which makes plain conjugate gradients slow. Here they are
preconditioned by the circulant matrix that is nearest to the convolution (T. Chan, SIAM J. Sci.
Stat. Comput. 9, 766, 1988), and damped by a fixed part of the mean of each shell.
"""

import numpy as np
import scipy.fft
from numpy.typing import NDArray

Volume = NDArray[np.float32]

_LEAST_PRECONDITIONER = 1e-2
"""Of the mean of a shell: where hardly any image has a sample, the preconditioner takes this."""

_CORNERS = 0.3
"""The least damping beyond Nyquist, in parts of the last shell's mean: images tell nothing there,
and what would slowly be fitted are voxels at the edge of the support."""


class NormalEquations:
    """(S (P^T C^2 P + damping of each shell) S) V = S b, on the support S."""

    def __init__(self, kernel: Volume, support: Volume, *, threads: int = 1) -> None:
        """Transforms the kernel of P^T C^2 P.

        Args:
            kernel: (2N, 2N, 2N) about voxel N.
            support: (N, N, N) of 0 and 1.
            threads: threads of the FFTs.
        """
        self._support, self._threads = support, threads
        self._size = len(support)
        origin_first = np.fft.ifftshift(kernel)
        self._transfer = scipy.fft.rfftn(origin_first, workers=threads).real.astype(np.float32)
        self._circulant = np.maximum(
            scipy.fft.rfftn(_fold(origin_first), workers=threads).real, 0
        ).astype(np.float32)
        self._shells = _shell_planes(self._size, doubled=True)
        self._coarse_shells = _shell_planes(self._size, doubled=False)
        self._shell_means = _shell_means(self._transfer, self._shells)
        self._damped = np.zeros_like(self._shell_means)
        self.damp(0)

    def damp(self, damping: float) -> None:
        """Sets the damping, as a part of the mean of P^T C^2 P over each shell."""
        damped = self._parts(damping) * self._shell_means
        added = damped - self._damped
        for plane, shells in zip(self._transfer, self._shells, strict=True):
            plane += added[shells]
        self._damped = damped

    def _parts(self, damping: float) -> NDArray[np.float32]:
        """Gives the damping of each shell, (shells,)."""
        parts = np.full(len(self._shell_means), damping, dtype=np.float32)
        parts[-1] = max(damping, _CORNERS)
        return parts

    def apply(self, volume: Volume) -> Volume:
        """Applies the damped operator to a volume (N, N, N) that is zero outside the support."""
        size, threads = self._size, self._threads
        # Axis by axis: what is zero, or will be cut off, is not transformed.
        spectrum = scipy.fft.rfft(volume, n=2 * size, axis=2, workers=threads)
        spectrum = scipy.fft.fft(spectrum, n=2 * size, axis=1, workers=threads)
        spectrum = scipy.fft.fft(spectrum, n=2 * size, axis=0, workers=threads)
        spectrum *= self._transfer
        spectrum = scipy.fft.ifft(spectrum, axis=0, workers=threads, overwrite_x=True)[:size]
        spectrum = scipy.fft.ifft(spectrum, axis=1, workers=threads)[:, :size]
        found = scipy.fft.irfft(spectrum, n=2 * size, axis=2, workers=threads)[:, :, :size]
        return found * self._support

    def degrees_of_freedom(self) -> float:
        """Estimates the trace of (A + damping)^-1 A: how many values the images determine."""
        inverse = self._inverse_circulant()
        full = 2 * float(np.vdot(inverse, self._circulant))  # `rfftn` holds half of them.
        return full * float(self._support.mean())

    def solve(
        self, right_side: Volume, *, start: Volume | None, iterations: int, tolerance: float
    ) -> Volume:
        """Solves by preconditioned conjugate gradients.

        Args:
            right_side: (N, N, N), zero outside the support.
            start: where to start; zero if None.
            iterations: steps at most.
            tolerance: stops where the preconditioned residual has fallen to this part of the
                right side's.
        """
        inverse = self._inverse_circulant()
        solution = np.zeros_like(right_side) if start is None else start.copy()
        residual = right_side - self.apply(solution) if start is not None else right_side.copy()
        goal = tolerance**2 * float(np.vdot(right_side, self._precondition(right_side, inverse)))
        moved = self._precondition(residual, inverse)
        direction, energy = moved.copy(), float(np.vdot(residual, moved))
        for _ in range(iterations):
            if energy <= goal:
                break
            image = self.apply(direction)
            step = np.float32(energy / float(np.vdot(direction, image)))
            solution += step * direction
            residual -= step * image
            moved = self._precondition(residual, inverse)
            updated = float(np.vdot(residual, moved))
            direction = moved + np.float32(updated / energy) * direction
            energy = updated
        return solution

    def _inverse_circulant(self) -> NDArray[np.float32]:
        least = self._parts(_LEAST_PRECONDITIONER) * self._shell_means
        floor = np.maximum(np.maximum(self._damped, least), np.finfo(np.float32).tiny)
        inverse = self._circulant.copy()
        for plane, shells in zip(inverse, self._coarse_shells, strict=True):
            plane += floor[shells]
        return np.divide(1, inverse, out=inverse)

    def _precondition(self, volume: Volume, inverse: NDArray[np.float32]) -> Volume:
        spectrum = scipy.fft.rfftn(volume, workers=self._threads)
        spectrum *= inverse
        found = scipy.fft.irfftn(spectrum, s=volume.shape, workers=self._threads)
        return found * self._support


def _fold(kernel: NDArray[np.floating]) -> NDArray[np.floating]:
    """Averages a kernel (2N, 2N, 2N), lag zero first, into that of the nearest circulant (N, N, N).

    A circulant of N voxels counts the lags d and d - N as one; each diagonal of the matrix weighs
    as much as it is long.
    """
    size = len(kernel) // 2
    share = np.arange(size, dtype=np.float32) / size
    for axis in range(3):
        weight = share.reshape([-1 if other == axis else 1 for other in range(3)])
        ahead, behind = np.split(kernel, 2, axis=axis)
        kernel = ahead * (1 - weight) + behind * weight
    return kernel


def _shell_planes(size: int, *, doubled: bool) -> list[NDArray[np.int16]]:
    """Gives the shells of `rfftn` of the (doubled) grid, by planes: 0 to N // 2, then corners."""
    points, step = (2 * size, 0.5) if doubled else (size, 1.0)
    full = np.fft.fftfreq(points, 1 / points) * step
    across = full[:, None] ** 2 + (np.arange(points // 2 + 1) * step) ** 2
    planes = []
    for z in full:
        radius = np.sqrt(across + z**2)
        shells = np.where(radius < size / 2, np.rint(radius), size // 2 + 1)
        planes.append(shells.astype(np.int16))
    return planes


def _shell_means(
    transfer: NDArray[np.float32], planes: list[NDArray[np.int16]]
) -> NDArray[np.float32]:
    """Averages a transfer function on the doubled grid over shells; the corners get the last."""
    count = 1 + max(int(shells.max()) for shells in planes)
    sums, counts = np.zeros(count), np.zeros(count)
    for plane, shells in zip(transfer, planes, strict=True):
        sums += np.bincount(shells.ravel(), plane.ravel(), count)
        counts += np.bincount(shells.ravel(), minlength=count)
    sums[-1], counts[-1] = sums[-2], counts[-2]
    return np.maximum(sums / counts, 0).astype(np.float32)
