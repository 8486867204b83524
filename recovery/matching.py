"""Matching images to projections of a map: over all of SO(3), and locally to a minimum.

Both work on Fourier coefficients (P, K) of the half disc and maximise, for white noise, the
likelihood: minus the squared difference of image and projection over frequencies below a limit.
"""

from dataclasses import dataclass

import finufft
import numpy as np
from numpy.typing import NDArray

from cryotwin.imaging.fourier import FourierDisc, shift_phases
from cryotwin.imaging.nufft import slice_frequencies, volume_to_slices
from cryotwin.imaging.rotations import rotation_vectors_to_matrices

_REFERENCES = 4096
_IMAGES = 200
_LONGEST_TURN_RAD = 0.2


def match_globally(
    coefficients: NDArray[np.complex64],
    volume: NDArray[np.floating],
    grid: NDArray[np.float64],
    disc: FourierDisc,
    used: NDArray[np.bool_],
    *,
    shifts_px: NDArray[np.float64],
    threads: int = 1,
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Finds for every image the best of a grid of orientations.

    Args:
        coefficients: (P, K) of the images.
        volume: (N, N, N) the reference.
        grid: (M, 3, 3) orientations to try.
        disc: the frequencies.
        used: (K,) which of them to compare.
        shifts_px: (S, 2) displacements to try with each.
        threads: threads of the NUFFT.

    Returns:
        Indices into `grid` (P,) and displacements (P, 2) in pixels.
    """
    weights = np.sqrt(disc.weights[used])
    part = disc.part(used)
    images = [
        _as_reals(coefficients[:, used] * phases.conj() * weights)
        for phases in shift_phases(part, shifts_px)
    ]
    best = np.full(len(coefficients), -np.inf, dtype=np.float32)
    which = np.zeros(len(coefficients), dtype=np.int64)
    moved = np.zeros((len(coefficients), 2))
    for start in range(0, len(grid), _REFERENCES):
        references = volume_to_slices(
            volume, grid[start : start + _REFERENCES], part, threads=threads
        )
        reals = _as_reals(references * weights)
        energy = 0.5 * (reals**2).sum(axis=1)
        for shift, candidates in zip(shifts_px, images, strict=True):
            scores = candidates @ reals.T - energy
            winner = scores.argmax(axis=1)
            value = np.take_along_axis(scores, winner[:, None], 1)[:, 0]
            better = value > best
            best[better], which[better], moved[better] = (
                value[better],
                winner[better] + start,
                shift,
            )
    return which, moved


def match_locally(
    coefficients: NDArray[np.complex64],
    volume: NDArray[np.floating],
    rotations: NDArray[np.float64],
    shifts_px: NDArray[np.float64],
    disc: FourierDisc,
    used: NDArray[np.bool_],
    *,
    steps: int,
    fit_shifts: bool,
    threads: int = 1,
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Improves orientations and displacements by damped Gauss-Newton steps, image by image.

    The derivatives with respect to the orientation are exact: they are slices through the
    transforms of x V, y V and z V.

    Args:
        coefficients: (P, K).
        volume: (N, N, N) the reference.
        rotations: (P, 3, 3) where to start.
        shifts_px: (P, 2) where to start.
        disc: the frequencies.
        used: (K,) which of them to compare.
        steps: how many steps to take.
        fit_shifts: whether displacements are free.
        threads: threads of the NUFFT.

    Returns:
        Rotations (P, 3, 3), displacements (P, 2) in pixels, and the mean squared difference over
        the frequencies used (P,).
    """
    part = disc.part(used)
    moments = _moments(volume)
    rotations, shifts_px = rotations.copy(), shifts_px.copy()
    errors = np.zeros(len(rotations))
    for start in range(0, len(rotations), _IMAGES):
        rows = slice(start, start + _IMAGES)
        problem = LocalProblem(coefficients[rows][:, used], moments, part, fit_shifts, threads)
        rotations[rows], shifts_px[rows], errors[rows] = problem.descend(
            rotations[rows], shifts_px[rows], steps
        )
    return rotations, shifts_px, errors


@dataclass(frozen=True)
class LocalProblem:
    """A few images, to be predicted by slices through a reference.

    Attributes:
        target: (P, K) coefficients of the images.
        moments: (4, N, N, N) of the reference, see `_moments`.
        disc: the K frequencies.
        fit_shifts: whether displacements are free, besides the orientation.
        threads: threads of the NUFFT.
    """

    target: NDArray[np.complex64]
    moments: NDArray[np.complex64]
    disc: FourierDisc
    fit_shifts: bool
    threads: int

    def descend(
        self, rotations: NDArray[np.float64], shifts: NDArray[np.float64], steps: int
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """Takes damped Gauss-Newton steps (Levenberg and Marquardt); each image has its damping."""
        damping = np.full(len(rotations), 1e-3)
        residual, jacobian = self.linearise(rotations, shifts)
        error = (residual**2).mean(axis=1)
        for _ in range(steps):
            step = _damped_step(residual, jacobian, damping)
            tried_rotations = rotation_vectors_to_matrices(step[:, :3]) @ rotations
            tried_shifts = shifts + step[:, 3:] if self.fit_shifts else shifts
            tried_residual, tried_jacobian = self.linearise(tried_rotations, tried_shifts)
            tried_error = (tried_residual**2).mean(axis=1)
            better = tried_error < error
            damping = np.where(better, damping / 4, damping * 8)
            rotations = np.where(better[:, None, None], tried_rotations, rotations)
            shifts = np.where(better[:, None], tried_shifts, shifts)
            residual = np.where(better[:, None], tried_residual, residual)
            jacobian = np.where(better[:, None, None], tried_jacobian, jacobian)
            error = np.where(better, tried_error, error)
        return rotations, shifts, error

    def linearise(
        self, rotations: NDArray[np.float64], shifts: NDArray[np.float64]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Gives residuals (P, 2 K) and derivatives (P, 3 or 5, 2 K) of the predictions."""
        disc = self.disc
        values = finufft.nufft3d2(
            *slice_frequencies(rotations, disc),
            self.moments,
            isign=-1,
            eps=1e-4,
            nthreads=self.threads,
            showwarn=0,
        )
        values = values.reshape(4, len(rotations), -1) * shift_phases(disc, shifts)
        weights = np.sqrt(disc.weights)
        kx, ky = disc.kx * (2 * np.pi / disc.size), disc.ky * (2 * np.pi / disc.size)
        # A turn w of the detector moves the frequency k by k x w in its frame.
        hx, hy, hz = np.einsum("pdc,cpk->dpk", rotations.astype(np.float32), values[1:])
        derivatives = [-hz * ky, hz * kx, hx * ky - hy * kx]
        if self.fit_shifts:
            derivatives += [-1j * kx * values[0], -1j * ky * values[0]]
        jacobian = np.stack([_as_reals(part * weights) for part in derivatives], axis=1)
        return _as_reals((self.target - values[0]) * weights), jacobian


def _damped_step(
    residual: NDArray[np.float32], jacobian: NDArray[np.float32], damping: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Solves the damped normal equations of each image; long turns are cut."""
    normal = (jacobian @ np.swapaxes(jacobian, 1, 2)).astype(np.float64)
    gradient = np.einsum("pfk,pk->pf", jacobian, residual).astype(np.float64)
    diagonal = np.einsum("pff->pf", normal)
    normal = normal + np.eye(normal.shape[1]) * (damping[:, None] * diagonal + 1e-12)[:, None, :]
    step = np.linalg.solve(normal, gradient[..., None])[..., 0]
    length = np.linalg.norm(step[:, :3], axis=1, keepdims=True)
    return np.asarray(step / np.maximum(1, length / _LONGEST_TURN_RAD))


def _moments(volume: NDArray[np.floating]) -> NDArray[np.complex64]:
    """Stacks V, -i x V, -i y V, -i z V: (4, N, N, N)."""
    size = volume.shape[0]
    axis = (np.arange(size) - size // 2).astype(np.float32)
    z, y, x = axis[:, None, None], axis[None, :, None], axis[None, None, :]
    return np.stack([volume + 0j, -1j * x * volume, -1j * y * volume, -1j * z * volume]).astype(
        np.complex64
    )


def _as_reals(coefficients: NDArray[np.complexfloating]) -> NDArray[np.float32]:
    return np.concatenate([coefficients.real, coefficients.imag], axis=-1).astype(np.float32)
