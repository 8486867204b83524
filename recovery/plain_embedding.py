"""Equation (4) without symmetry: a power method to start with, then descent on all pairs."""

import numpy as np
from numpy.typing import NDArray

from cryotwin.imaging.rotations import (
    matrices_to_quaternions,
    nearest_rotations,
    quaternions_to_matrices,
    uniform_quaternions,
)
from cryotwin.recovery.embedding_descent import Terms, descend, settle
from cryotwin.recovery.embedding_losses import kernel_beyond
from cryotwin.recovery.orientation_grid import orientation_grid

Array = NDArray[np.float64]
Table = NDArray[np.float32]

_NODES = 2000
_POWER_STEPS = 60
_DESCENT_STEPS = 120
_FINAL_STEPS = 100
_MOVE_GAIN = 1e-3
_SMALL = 100
"""Up to so many points, wrong minima in which few points are in a wrong place are common."""

_IDENTITY = np.array([[1.0, 0, 0, 0]])


class PlainEmbedder:
    """The steps of the embedding without symmetry.

    Args:
        limit_rad: a distance of the limit is known to be at least that.
    """

    landmarks = 400

    def __init__(self, limit_rad: float) -> None:
        self._limit = limit_rad

    def start(self, terms: Terms, guesses: Table, rng: np.random.Generator) -> Array:
        """Embeds landmarks from one random start: terms and guesses (L, L), quaternions (L, 4).

        Half of the starts on average know nothing of missing distances, the others take the
        guesses: paths along a graph say much where its edges are short, and little where they are
        noise.
        """
        kernel = self._kernel(guesses)
        if rng.integers(2):
            kernel[terms.weights == 0] = 0
        np.fill_diagonal(kernel, 0)
        start = uniform_quaternions(len(kernel), rng).astype(np.float32)
        found = power_method(kernel, start).astype(np.float64)
        if self._limit < np.pi:  # What is beyond the limit is not at it: the caller goes on.
            return found
        found = descend(terms, found, _IDENTITY, _DESCENT_STEPS)[0]
        return self._moved(terms, found) if self._needs_moves(terms) else found

    def place(self, terms: Terms, placed: NDArray[np.floating]) -> Array:
        """Places points in closed form, as `place_from_landmarks`, by the distances there are.

        The trace of Ri^T Rj is four times the kernel, for one beyond the limit on average.
        """
        basis = quaternions_to_matrices(placed).reshape(len(placed), 9)
        weights = terms.weights.astype(np.float64)
        traces = 4 * self._kernel(terms.targets).astype(np.float64)
        squares = (basis[:, :, None] * basis[:, None, :]).reshape(-1, 81)
        normal = (weights @ squares).reshape(-1, 9, 9)
        ridge = 1e-6 * np.trace(normal, axis1=1, axis2=2) + 1e-300
        right = (weights * traces) @ basis
        solved = np.linalg.solve(normal + ridge[:, None, None] * np.eye(9), right[..., None])
        return matrices_to_quaternions(nearest_rotations(solved[..., 0].reshape(-1, 3, 3)))

    def refine(self, terms: Terms, quaternions: NDArray[np.floating]) -> Array:
        """Refines points (P, 4) on all pairs."""
        start = quaternions.astype(np.float64)
        if self._needs_moves(terms):
            start = self._moved(terms, start)
        return descend(terms, start, _IDENTITY, _FINAL_STEPS)[0]

    def _moved(self, terms: Terms, quaternions: Array) -> Array:
        grid = orientation_grid("C1", _NODES)
        return settle(terms, quaternions, grid, _FINAL_STEPS, _MOVE_GAIN)[0]

    def _needs_moves(self, terms: Terms) -> bool:
        count = len(terms.weights)
        known = int(np.count_nonzero(terms.weights))
        return count <= _SMALL or self._limit < np.pi or known < 0.5 * count * (count - 1)

    def _kernel(self, distances: Table) -> Table:
        kernel = np.cos(distances / 2) ** 2 - np.float32(0.25)
        if self._limit < np.pi:
            kernel[distances >= self._limit] = kernel_beyond(self._limit)
        return kernel


def power_method(kernel: Table, quaternions: NDArray[np.floating]) -> NDArray[np.floating]:
    """Iterates q_i <- leading eigenvector of sum_j k_ij q_j q_j^T.

    Args:
        kernel: (P, P), cos^2(d_ij / 2) - 1/4, zero where the distance is unknown.
        quaternions: (P, 4) to start from.
    """
    for _ in range(_POWER_STEPS):
        outer = quaternions[:, :, None] * quaternions[:, None, :]
        matrices = (kernel @ outer.reshape(-1, 16)).reshape(-1, 4, 4)
        updated = np.linalg.eigh(matrices)[1][:, :, -1]
        change = 1 - np.abs(np.einsum("pc,pc->p", updated, quaternions)).mean()
        quaternions = updated
        if change < 1e-7:
            break
    return quaternions
