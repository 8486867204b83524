"""A map to compare images with, prepared so that slices and their slopes are read off fast."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cryotwin.imaging.gridding import FineGrid, plan_grid, transform_on_grid
from cryotwin.imaging.gridding_derivatives import (
    FREE,
    differentiate,
    linearise_images,
    search_images,
)
from cryotwin.recovery.compared_images import ComparedImages

_TOLERANCE = 1e-2
"""Of slices of a map that fills its box; of a particle in the middle ten times less is wrong."""

_LEAST_PART = 16
"""Images that are worth a thread of their own."""


@dataclass(frozen=True)
class Comparison:
    """What images and slices at some orientations have to do with each other; n images.

    Attributes:
        ring_errors: (n, rings) sums of the squared difference over each ring.
        gradients: (n, 5) of the log likelihood, by a turn about x, y and z of the detector and a
            displacement along x and y.
        normals: (n, 5, 5) its curvature as Gauss and Newton have it: the inverse is the covariance
            of the errors.
        overlaps: (n, 2) weighted products of image and slice, and of the slice with itself.
    """

    ring_errors: NDArray[np.float64]
    gradients: NDArray[np.float64]
    normals: NDArray[np.float64]
    overlaps: NDArray[np.float64]


class Reference:
    """A map (n, n, n), on the scale of images of n pixels."""

    def __init__(self, volume: NDArray[np.float32]) -> None:
        self.size = len(volume)
        self._grid: FineGrid = plan_grid(self.size, _TOLERANCE)
        spectrum = transform_on_grid(self._grid.deapodise(volume), self._grid)
        self._values = spectrum.reshape(-1).view(np.float32)
        self._kernel = self._grid.kernel.polynomials()
        self._slopes = differentiate(self._kernel)
        self._taps = (0,) * self._grid.kernel.width

    def compare(
        self,
        images: ComparedImages,
        weights: NDArray[np.float32],
        rows: NDArray[np.int64],
        rotations: NDArray[np.float64],
        shifts_px: NDArray[np.float64],
        threads: int,
    ) -> Comparison:
        """Compares the images `rows` (n,) with slices at rotations (n, 3, 3), shifts (n, 2).

        Args:
            images: all images.
            weights: (K,) of the squared residual at each frequency, in the log likelihood (which
                has half of it).
            rows: (n,) which images.
            rotations: (n, 3, 3).
            shifts_px: (n, 2) as x, y.
            threads: how many to run.
        """
        count, disc = len(rows), images.disc
        found = Comparison(
            np.zeros((count, images.rings)),
            np.zeros((count, FREE)),
            np.zeros((count, FREE, FREE)),
            np.zeros((count, 2)),
        )

        def work(part: slice) -> None:
            linearise_images(
                self._values,
                self._grid.layout,
                self._kernel,
                self._slopes,
                self._taps,
                self._grid.period / self.size,
                disc.size,
                disc.kx,
                disc.ky,
                disc.shells,
                weights,
                images.coefficients,
                images.transfer,
                rows[part],
                rotations[part],
                shifts_px[part],
                found.ring_errors[part],
                found.gradients[part],
                found.normals[part],
                found.overlaps[part],
            )

        run_in_parts(work, count, threads)
        return found

    def search(
        self,
        images: ComparedImages,
        weights: NDArray[np.float32],
        rows: NDArray[np.int64],
        candidates: NDArray[np.float64],
        centres_px: NDArray[np.float64],
        moves_px: NDArray[np.float64],
        allowed: NDArray[np.bool_],
        threads: int,
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Scores orientations (n, M, 3, 3) for the images `rows` (n,), each at its best shift.

        Args:
            images: all images.
            weights: (K,) as in `compare`.
            rows: (n,) which images.
            candidates: (n, M, 3, 3).
            centres_px: (n, 2) displacements to search about.
            moves_px: (S, 2) what to add to them.
            allowed: (n, S) which of the sums an image may have.
            threads: how many to run.

        Returns:
            Log likelihoods (n, M) but for a constant of each image, and indices into `moves_px`
            (n, M).
        """
        disc = images.disc
        plane = np.stack([disc.kx, disc.ky]) * (2 * np.pi / disc.size)
        targets = images.coefficients[rows] * np.exp(1j * (centres_px @ plane)).astype(np.complex64)
        moves = np.exp(1j * (moves_px @ plane)).T
        moves_re = np.ascontiguousarray(moves.real, dtype=np.float32)
        moves_im = np.ascontiguousarray(moves.imag, dtype=np.float32)
        scores = np.empty(candidates.shape[:2], dtype=np.float32)
        best = np.empty(candidates.shape[:2], dtype=np.int64)

        def work(part: slice) -> None:
            search_images(
                self._values,
                self._grid.layout,
                self._kernel,
                self._taps,
                self._grid.period / self.size,
                disc.kx,
                disc.ky,
                weights,
                targets[part],
                images.transfer,
                rows[part],
                candidates[part],
                moves_re,
                moves_im,
                allowed[part],
                scores[part],
                best[part],
            )

        run_in_parts(work, len(rows), threads)
        return scores, best


def run_in_parts(work: Callable[[slice], None], count: int, threads: int) -> None:
    """Runs work on parts of 0 to count - 1, several at a time; it must let go of Python's lock."""
    length = max(_LEAST_PART, -(-count // (4 * threads)))
    parts = [slice(start, min(start + length, count)) for start in range(0, count, length)]
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(work, parts))
