"""A map from images of known orientation: damped least squares by conjugate gradients (CGLS).

Minimises the sum over images of |C P V - y|^2 with the projector P of
`cryotwin.imaging.projection` and the CTF C. P^T C^2 P is a convolution, so it is applied by FFTs
with a kernel that takes one adjoint to make: an iteration costs the same for a hundred images and
for a million. Under a point group every image counts in each of its equivalent orientations.
"""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import scipy.fft
from numpy.typing import ArrayLike, NDArray

from cryotwin.imaging.ctf import CtfParameters
from cryotwin.recovery.image_sums import ImageSums, sum_images
from cryotwin.recovery.normal_equations import NormalEquations

_DAMPING_RANGE = (0.01, 3.0)
_FIRST_DAMPING = 0.1
_FIRST_ITERATIONS = 2
_TOLERANCE = 1e-3

_LARGEST_SIDE_BY_SIDE = 192

_LEAST_FREE = 0.1
"""Part of the values that is taken for free of a fit; a few images leave none by the count."""


def reconstruct(
    images: NDArray[np.floating],
    rotations: NDArray[np.floating],
    *,
    shifts_px: ArrayLike | None = None,
    ctf: CtfParameters | None = None,
    pixel_size_angstrom: float | None = None,
    symmetry: str = "C1",
    damping: float | None = None,
    iterations: int = 20,
    backend: str = "gridding",
    threads: int = 1,
) -> NDArray[np.float32]:
    """Reconstructs a volume from images and their orientations.

    The damping is relative to each shell of Fourier space: with the mean m(k) of P^T C^2 P over a
    shell, damping m(k) |V(k)|^2 is added to the squares, and what that takes from the volume in the
    mean is given back. Damped little, a frequency that is seen twice counts as much as one that is
    seen ten times, noise or not; damped much, each sample counts the same. The best is the ratio of
    noise to signal in a Fourier voxel of the sum, which is measured unless told.

    Args:
        images: (P, N, N) as y, x.
        rotations: (P, 3, 3).
        shifts_px: (P, 2) as x, y: how far the content of each image is displaced; zero if None.
        ctf: of the P images, or of one for all; None for images without.
        pixel_size_angstrom: of the images; a CTF needs it.
        symmetry: point group of the particle, about the axes of `rotations` as RELION has them.
        damping: see above; None measures it, between 0.01 and 3.
        iterations: steps of conjugate gradients at most; they end when little is left to gain.
        backend: projector, "gridding" or "nufft"; they agree to 1e-4.
        threads: threads of the FFTs.

    Returns:
        (N, N, N) as z, y, x, in the units of the images per voxel of path, so that its
        projections are on the images' scale; zero outside the sphere that fits the box. It has
        the symmetry.

    Raises:
        InputError: the symmetry or the backend is unknown, or a CTF came without a pixel size or
            not for every image.
    """
    sums = sum_images(
        images,
        rotations,
        shifts_px=shifts_px,
        ctf=ctf,
        pixel_size_angstrom=pixel_size_angstrom,
        symmetry=symmetry,
        backend=backend,
        threads=threads,
    )
    support = sphere_support(sums.size)
    right_side = sums.right_side * support
    equations = NormalEquations(sums.kernel, support, threads=threads)
    start = None
    if damping is None:
        damping, start = _measure_damping(sums, equations, right_side)
    equations.damp(damping)
    solution = equations.solve(right_side, start=start, iterations=iterations, tolerance=_TOLERANCE)
    return solution * np.float32(1 + damping)


def _measure_damping(
    sums: ImageSums, equations: NormalEquations, right_side: NDArray[np.float32]
) -> tuple[float, NDArray[np.float32]]:
    """Finds the ratio of noise to signal in a Fourier voxel at Nyquist; also a first solution.

    Noise is what a first map leaves of the images, per value that the map could not fit anyway.
    A Fourier voxel at Nyquist has about one sample of P / N views.
    """
    lowest, highest = _DAMPING_RANGE
    if sums.energy == 0:
        return highest, np.zeros_like(right_side)
    equations.damp(_FIRST_DAMPING)
    free = sums.values - equations.degrees_of_freedom() / sums.order
    first = equations.solve(right_side, start=None, iterations=_FIRST_ITERATIONS, tolerance=0)
    equations.damp(0)
    explained = 2 * np.vdot(right_side, first) - np.vdot(first, equations.apply(first))
    left = max(sums.energy - float(explained) / sums.order, 0.0)
    noise = left * sums.values / max(free, _LEAST_FREE * sums.values)
    signal = max(sums.energy - noise, 0.0)
    if noise * sums.size >= highest * signal * sums.views:
        return highest, first
    return max(noise / signal * sums.size / sums.views, lowest), first


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
    """Reconstructs two maps, of the images whose entry in `halves` (P,) is 0 and 1.

    With more than one thread the two are made side by side, unless the box is large: a map takes
    about 400 N^3 bytes while it is made.
    """
    together = 2 if threads > 1 and images.shape[-1] <= _LARGEST_SIDE_BY_SIDE else 1

    def half_map(half: int) -> NDArray[np.float32]:
        rows = halves == half
        return reconstruct(
            images[rows],
            rotations[rows],
            shifts_px=shifts_px[rows],
            ctf=None if ctf is None else ctf.part(rows),
            pixel_size_angstrom=pixel_size_angstrom,
            symmetry=symmetry,
            threads=max(threads // together, 1),
        )

    with ThreadPoolExecutor(together) as pool:
        first, second = pool.map(half_map, (0, 1))
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
