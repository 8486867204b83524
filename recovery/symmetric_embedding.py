"""Equation (4) under a point group: starts on a grid, descent with d_G, all points from the best.

The same plan as without symmetry: several starts on a subset of the points, the landmarks; the
best is extended to all points and refined on all pairs.
"""

import numpy as np
from numpy.typing import NDArray

from cryotwin.imaging.rotations import pairwise_distances
from cryotwin.recovery.embedding_descent import Terms, node_costs, settle
from cryotwin.recovery.orientation_grid import OrientationGrid, orientation_grid
from cryotwin.recovery.symmetric_start import CORE_POINTS, Table, grid_table, grow_core

Array = NDArray[np.float64]

_NODES = 2000
_DESCENT_STEPS = 60
_START_GAIN = 0.01
_FINAL_GAIN = 1e-4
"""Shares of the loss that another round of moves has to be worth: in a start, whose best is refined
again, and at the end, when one point of a thousand in a wrong place should not stay there."""


class SymmetricEmbedder:
    """Finds orientations whose distances d_G are the given ones.

    Args:
        symmetry: the point group.
    """

    landmarks = 200

    def __init__(self, symmetry: str) -> None:
        self._grid: OrientationGrid = orientation_grid(symmetry, _NODES)
        self._table: Table = grid_table(self._grid)

    def start(self, terms: Terms, guesses: NDArray[np.float32], rng: np.random.Generator) -> Array:
        """Embeds landmarks from one random start.

        Args:
            terms: among the landmarks.
            guesses: (L, L) rad, the distances, with a guess where one is missing.
            rng: draws the core.

        Returns:
            Quaternions (L, 4).
        """
        core = rng.permutation(len(guesses))[:CORE_POINTS]
        nodes, _ = grow_core(guesses[np.ix_(core, core)], self._table, rng)
        guessed = Terms(guesses[:, core], np.ones_like(guesses[:, core]))
        quaternions = self.place(guessed, self._grid.quaternions[nodes])
        quaternions[core] = self._grid.quaternions[nodes]
        return settle(terms, quaternions, self._grid, _DESCENT_STEPS, _START_GAIN)[0]

    def place(self, terms: Terms, placed: NDArray[np.floating]) -> Array:
        """Places points on the nodes that fit best: terms (P, L), placed ones (L, 4)."""
        to_nodes = pairwise_distances(
            self._grid.quaternions, placed, symmetry=self._grid.symmetry
        ).astype(np.float32)
        return self._grid.quaternions[node_costs(to_nodes, terms).argmin(axis=1)]

    def refine(self, terms: Terms, quaternions: NDArray[np.floating]) -> Array:
        """Refines points (P, 4) on all pairs."""
        start = quaternions.astype(np.float64)
        return settle(terms, start, self._grid, _DESCENT_STEPS, _FINAL_GAIN)[0]
