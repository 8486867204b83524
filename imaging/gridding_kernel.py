"""The interpolation kernel of the gridding projector, and what makes up for it in real space.

Gridding (Jackson et al. 1991, Fessler and Sutton 2003) reads a transform between the points of an
oversampled grid with a short kernel. The kernel's own transform is divided out of the volume
beforehand (deapodisation); what is left is the aliasing of its tails.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import scipy.optimize
import scipy.special
from numpy.polynomial import chebyshev
from numpy.typing import NDArray

from cryotwin.imaging.gridding_loops import degree, row_floats

OVERSAMPLING = 1.5
"""Grid points per voxel of the box. With 2 a kernel is a point narrower at the same error, but the
grid takes 2.4 times the memory, and waiting for memory is what costs time at 128 px and above."""

WIDTHS = range(3, 9)

_ALIASES = 4
"""Neighbouring periods that count in the aliasing: the kernel's transform has decayed beyond."""


@dataclass(frozen=True)
class KaiserBessel:
    """The kernel I0(beta sqrt(1 - (2 x / width)^2)) on |x| <= width / 2, x in grid points."""

    width: int
    beta: float

    def transform(self, frequency: NDArray[np.floating]) -> NDArray[np.float64]:
        """Gives its Fourier transform at frequencies in cycles per grid point."""
        inner = self.beta**2 - (np.pi * self.width * np.asarray(frequency)) ** 2
        root = np.sqrt(np.abs(inner))
        root[root == 0] = 1e-12
        wave = np.where(inner >= 0, np.sinh(np.minimum(root, 700)), np.sin(root)) / root
        return self.width * wave / scipy.special.i0(self.beta)

    def polynomials(self) -> NDArray[np.float32]:
        """Fits a polynomial to the kernel over each tap: (degree + 1, row_floats).

        In the offset u in [-1, 1] of the first tap; the highest power first, each weight twice
        (for the real and the imaginary part), zeros after the last tap.
        """
        order = degree(self.width)
        u = np.cos(np.pi * (np.arange(order + 1) + 0.5) / (order + 1))
        x = (u[:, None] + 1) / 2 + np.arange(self.width) - self.width / 2
        root = np.sqrt(np.maximum(1 - (2 * x / self.width) ** 2, 0))
        fitted = chebyshev.chebfit(
            u, scipy.special.i0(self.beta * root) / scipy.special.i0(self.beta), order
        )
        table = np.zeros((order + 1, row_floats(self.width)), dtype=np.float32)
        for tap in range(self.width):
            powers = np.zeros(order + 1)
            found = chebyshev.cheb2poly(fitted[:, tap])
            powers[: len(found)] = found
            table[:, 2 * tap] = table[:, 2 * tap + 1] = powers[::-1]
        return table


def _aliases(kernel: KaiserBessel, position: NDArray[np.floating]) -> NDArray[np.float64]:
    """Transform of the kernel at a position (in periods of the fine grid) and its aliases."""
    shifts = np.arange(-_ALIASES, _ALIASES + 1)
    return kernel.transform(position[..., None] + shifts)


def deapodisation(kernel: KaiserBessel, position: NDArray[np.floating]) -> NDArray[np.float64]:
    """Gives the factors that undo the kernel along one axis, optimal in least squares.

    Args:
        kernel: the kernel.
        position: place in the box, in periods of the fine grid (voxels / its size).
    """
    values = _aliases(kernel, position)
    return values[..., _ALIASES] / (values**2).sum(axis=-1)


def aliasing(kernel: KaiserBessel, oversampling: float) -> float:
    """Gives the relative error (2-norm) of slices of a volume that fills its box.

    One minus the part of the kernel's energy that is not aliased, summed over three axes and
    averaged over the box (Fessler and Sutton 2003).
    """
    values = _aliases(kernel, np.linspace(0, 0.5 / oversampling, 101))
    wanted = values[:, _ALIASES] ** 2
    aliased = (values**2).sum(axis=1) - wanted
    return float(np.sqrt(3 * (aliased / (wanted + aliased)).mean()))


@lru_cache(maxsize=64)
def best_kernel(width: int, oversampling: float) -> KaiserBessel:
    """Finds the shape parameter with the smallest aliasing for a width."""
    found = scipy.optimize.minimize_scalar(
        lambda beta: np.log(aliasing(KaiserBessel(width, beta), oversampling)),
        bounds=(1.0, np.pi * width),
        method="bounded",
    )
    return KaiserBessel(width, float(found.x))


def choose_kernel(tolerance: float, oversampling: float) -> KaiserBessel:
    """Gives the narrowest kernel whose error is within the tolerance, or the widest there is."""
    kernels = [best_kernel(width, oversampling) for width in WIDTHS]
    within = [k for k in kernels if aliasing(k, oversampling) <= tolerance]
    return within[0] if within else kernels[-1]
