"""Gauss-Newton on the likelihood of images: orientation and shift to a local optimum."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cryotwin.imaging.fourier import FourierDisc, shift_phases
from cryotwin.imaging.nufft import volume_to_slices
from cryotwin.imaging.rotations import rotation_vectors_to_matrices

Array = NDArray[np.float64]

_POINTS = 6_000_000
"""Frequencies in one call of the NUFFT: bounds the memory."""

_DIFFERENCE_RAD = 1e-3
"""Of the finite differences: slices are exact to some millionths."""

_LONGEST_TURN_RAD = 0.1
_CONVERGED_RAD, _CONVERGED_PX = 1e-5, 1e-4
_MOST_DAMPING = 1e4


@dataclass(frozen=True)
class Descent:
    """Where and how to descend.

    Attributes:
        volume: (N, N, N), whose projections the images are.
        disc: the K frequencies that are compared.
        fit_shifts: whether shifts are free; otherwise they stay.
        threads: threads of the NUFFT.
    """

    volume: NDArray[np.float32]
    disc: FourierDisc
    fit_shifts: bool
    threads: int = 1

    def run(
        self,
        coefficients: NDArray[np.complex64],
        owner: NDArray[np.int64],
        rotations: Array,
        shifts_px: Array,
        steps: int,
    ) -> tuple[Array, Array, Array]:
        """Takes at most `steps` damped steps from each start, a part of them at a time.

        Args:
            coefficients: (P, K) of the images.
            owner: (S,) the image of each start.
            rotations: (S, 3, 3).
            shifts_px: (S, 2) as x, y.
            steps: at most so many.

        Returns:
            Rotations (S, 3, 3), shifts (S, 2), and squared differences of image and projection
            (S,), summed over the frequencies.
        """
        ends = []
        part = max(1, _POINTS // (4 * len(self.disc.kx)))
        for start in range(0, len(owner), part):
            rows = slice(start, start + part)
            problem = _Problem(self, coefficients[owner[rows]], rotations[rows], shifts_px[rows])
            for _ in range(steps):
                if not problem.step():
                    break
            ends.append((problem.rotations, problem.shifts, problem.misfits))
        turned, moved, misfits = (np.concatenate(values) for values in zip(*ends, strict=True))
        return turned, moved, misfits


class _Problem:
    """A part of the starts on their way: each has its own damping, and rests when converged."""

    def __init__(
        self, descent: Descent, target: NDArray[np.complex64], rotations: Array, shifts: Array
    ) -> None:
        self._descent, self._target = descent, target
        self.rotations, self.shifts = rotations.copy(), shifts.copy()
        self.misfits, self._normal, self._gradient = self._expand(
            np.arange(len(target)), rotations, shifts
        )
        self._damping = np.full(len(target), 1e-3)
        self._moving = np.ones(len(target), dtype=bool)

    def step(self) -> bool:
        """Takes one step of all that still move; gives whether there were any."""
        rows = np.flatnonzero(self._moving)
        if not len(rows):
            return False
        step = _damped_step(self._normal[rows], self._gradient[rows], self._damping[rows])
        rotations = rotation_vectors_to_matrices(step[:, :3]) @ self.rotations[rows]
        shifts = self.shifts[rows].copy()
        if self._descent.fit_shifts:
            shifts += step[:, 3:]
        misfits, normal, gradient = self._expand(rows, rotations, shifts)
        better = misfits < self.misfits[rows]
        small = np.linalg.norm(step[:, :3], axis=1) < _CONVERGED_RAD
        if self._descent.fit_shifts:
            small &= np.linalg.norm(step[:, 3:], axis=1) < _CONVERGED_PX
        self._damping[rows] *= np.where(better, 0.2, 8.0)
        self._moving[rows] = ~small & (self._damping[rows] < _MOST_DAMPING)
        taken = rows[better]
        self.rotations[taken], self.shifts[taken] = rotations[better], shifts[better]
        self.misfits[taken] = misfits[better]
        self._normal[taken], self._gradient[taken] = normal[better], gradient[better]
        return True

    def _expand(
        self, rows: NDArray[np.intp], rotations: Array, shifts: Array
    ) -> tuple[Array, Array, Array]:
        """Gives misfits (R,), and normal matrices and gradients of the linearised problem."""
        disc = self._descent.disc
        turns = rotation_vectors_to_matrices(
            np.concatenate([np.zeros((1, 3)), _DIFFERENCE_RAD * np.eye(3)])
        )
        turned = np.einsum("dij,pjk->pdik", turns, rotations).reshape(-1, 3, 3)
        slices = volume_to_slices(
            self._descent.volume, turned, disc, threads=self._descent.threads
        ).reshape(len(rows), 4, -1)
        slices *= (shift_phases(disc, shifts) * np.sqrt(disc.weights))[:, None]
        derivatives = (slices[:, 1:] - slices[:, :1]) / np.float32(_DIFFERENCE_RAD)
        if self._descent.fit_shifts:
            frequencies = np.stack([disc.kx, disc.ky]) * (-2j * np.pi / disc.size)
            by_shift = frequencies.astype(np.complex64) * slices[:, :1]
            derivatives = np.concatenate([derivatives, by_shift], axis=1)
        residual = self._target[rows] * np.sqrt(disc.weights) - slices[:, 0]
        adjoint = derivatives.conj()
        normal = (adjoint @ np.swapaxes(derivatives, 1, 2)).real.astype(np.float64)
        gradient = (adjoint @ residual[..., None])[..., 0].real.astype(np.float64)
        misfits = np.sum(np.abs(residual) ** 2, axis=1, dtype=np.float64)
        return misfits, normal, gradient


def _damped_step(normal: Array, gradient: Array, damping: Array) -> Array:
    diagonal = np.einsum("pff->pf", normal)
    damped = normal + np.eye(normal.shape[1]) * (damping[:, None] * diagonal + 1e-12)[:, None]
    step = np.linalg.solve(damped, gradient[..., None])[..., 0]
    turn = np.linalg.norm(step[:, :3], axis=1, keepdims=True)
    return np.asarray(step / np.maximum(1, turn / _LONGEST_TURN_RAD))
