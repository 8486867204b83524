"""Anderson's acceleration: fewer rounds to the fixed point of reconstructing and matching.

An image is matched to a map that it is part of, which holds it back where it is, so a round makes
only part of the way. How much is seen from the rounds before: the next orientations are the
combination of the last few for which, if a round were linear, nothing would move any more
(Anderson, J. ACM 12, 1965; Walker and Ni, SIAM J. Numer. Anal. 49, 2011).
"""

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from cryotwin.imaging.rotations import rotation_vectors_to_matrices

Array = NDArray[np.float64]

_MEMORY = 3
_LARGEST_WEIGHT = 3.0


class Acceleration:
    """Extrapolates the orientations and displacements of P images over rounds of one kind.

    Args:
        px_per_rad: displacement in pixels that counts as much as a turn by 1 rad.
    """

    def __init__(self, px_per_rad: float) -> None:
        self._px_per_rad = px_per_rad
        self.forget()

    def forget(self) -> None:
        """Starts anew: what a round does has changed."""
        self._frame: Array | None = None
        self._inputs: list[Array] = []
        self._outputs: list[Array] = []

    def extrapolate(
        self, before: tuple[Array, Array], after: tuple[Array, Array]
    ) -> tuple[Array, Array]:
        """Gives rotations (P, 3, 3) and shifts (P, 2) to go on with after a round.

        Args:
            before: rotations and shifts that the round began with.
            after: those that it ended with.
        """
        if self._frame is None:
            self._frame = before[0]
        self._inputs = [*self._inputs, self._flat(*before)][-_MEMORY:]
        self._outputs = [*self._outputs, self._flat(*after)][-_MEMORY:]
        if len(self._inputs) == 1:
            return after
        moved = np.stack([o - i for i, o in zip(self._inputs, self._outputs, strict=True)])
        changes, last = np.diff(moved, axis=0), moved[-1]
        weights, *_ = np.linalg.lstsq(changes.T, last, rcond=1e-3)
        weights = np.clip(weights, -_LARGEST_WEIGHT, _LARGEST_WEIGHT)
        found = self._outputs[-1] - weights @ np.diff(np.stack(self._outputs), axis=0)
        return self._unflat(found)

    def _flat(self, rotations: Array, shifts: Array) -> Array:
        assert self._frame is not None
        turns = Rotation.from_matrix(rotations @ np.swapaxes(self._frame, 1, 2)).as_rotvec()
        return np.concatenate([turns, shifts / self._px_per_rad], axis=1).ravel()

    def _unflat(self, values: Array) -> tuple[Array, Array]:
        assert self._frame is not None
        rows = values.reshape(-1, 5)
        rotations = rotation_vectors_to_matrices(rows[:, :3]) @ self._frame
        return rotations, rows[:, 3:] * self._px_per_rad
