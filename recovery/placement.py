"""Where a particle lies, from its distances to landmarks whose orientations are known.

Placement is what makes any number of particles possible: P particles and L landmarks have P x L
distances, and each particle is placed by itself. Where it starts follows in closed form, or under a
point group from a search over a grid; then equation (4) is solved for this particle alone.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cryotwin.imaging.errors import InputError
from cryotwin.imaging.point_groups import parse_point_group, symmetry_quaternions
from cryotwin.imaging.rotations import (
    canonical_quaternions,
    matrices_to_quaternions,
    multiply_quaternions,
    nearest_rotations,
    pairwise_distances,
    quaternions_to_matrices,
)
from cryotwin.recovery.embedding_descent import Terms, node_costs
from cryotwin.recovery.orientation_grid import orientation_grid
from cryotwin.recovery.placement_loops import settle_points
from cryotwin.recovery.plain_embedding import PlainEmbedder

LEAST_LANDMARKS = 4
_NODES = 4000
_STEPS = 12


@dataclass(frozen=True)
class Placement:
    """Where particles lie, and how well their distances agree with that.

    Attributes:
        quaternions: (P, 4), w >= 0, in the frame of the landmarks.
        residuals: (P,) root mean square over a particle's distances of what is left, rad.
    """

    quaternions: NDArray[np.float64]
    residuals: NDArray[np.float64]


class LandmarkPlacer:
    """Places particles by their distances to landmarks.

    Args:
        landmarks: quaternions (L, 4), L >= 4.
        symmetry: point group G of the particle; distances are then the least over G.

    Raises:
        InputError: fewer landmarks, or an unknown point group.
    """

    def __init__(self, landmarks: NDArray[np.floating], *, symmetry: str = "C1") -> None:
        if landmarks.ndim != 2 or landmarks.shape[1] != 4 or len(landmarks) < LEAST_LANDMARKS:
            raise InputError(
                f"landmarks must be (L, 4) with L >= {LEAST_LANDMARKS}, not {landmarks.shape}"
            )
        self._landmarks = landmarks.astype(np.float64)
        group = parse_point_group(symmetry)
        elements = symmetry_quaternions(group)
        copies = multiply_quaternions(self._landmarks, elements[:, None])
        self._copies = np.ascontiguousarray(np.moveaxis(copies, -1, 1))
        self._grid = None
        if group != "C1":
            self._grid = orientation_grid(group, _NODES)
            to_nodes = pairwise_distances(self._grid.quaternions, landmarks, symmetry=group)
            self._to_nodes = to_nodes.astype(np.float32)

    def place(self, distances: NDArray[np.floating]) -> Placement:
        """Places P particles, each by itself: by distances (P, L) in rad, NaN where there is none.

        Raises:
            InputError: distances of another shape.
        """
        wanted = np.ascontiguousarray(distances, dtype=np.float32)
        if wanted.ndim != 2 or wanted.shape[1] != len(self._landmarks):
            raise InputError(
                f"distances must be (P, {len(self._landmarks)}), one for each landmark, "
                f"not {distances.shape}"
            )
        quaternions = np.ascontiguousarray(self._starts(wanted))
        misfits, known = np.empty(len(wanted)), np.empty(len(wanted))
        settle_points(wanted, self._copies, _STEPS, quaternions, misfits, known)
        residuals = np.sqrt(misfits / np.maximum(known, 1))
        return Placement(canonical_quaternions(quaternions), residuals)

    def _starts(self, distances: NDArray[np.float32]) -> NDArray[np.float64]:
        known = np.isfinite(distances)
        if self._grid is None and known.all():
            return place_from_landmarks(distances, self._landmarks).astype(np.float64)
        terms = Terms(np.where(known, distances, np.float32(0)), known.astype(np.float32))
        if self._grid is None:
            return PlainEmbedder(np.pi).place(terms, self._landmarks)
        return self._grid.quaternions[node_costs(self._to_nodes, terms).argmin(axis=1)]


def place_from_landmarks(
    distances: NDArray[np.floating], landmarks: NDArray[np.floating]
) -> NDArray[np.float32]:
    """Places points in closed form by their distances to embedded landmarks.

    s = (1 + 2 cos d) / 3 is linear in the 9 entries of R, so a least-squares fit over the
    landmarks gives R, and an SVD the nearest rotation.

    Args:
        distances: (P, L) rad.
        landmarks: quaternions (L, 4).

    Returns:
        Quaternions (P, 4).
    """
    basis = quaternions_to_matrices(landmarks).reshape(len(landmarks), 9)
    traces = 1 + 2 * np.cos(distances)
    matrices = (traces @ np.linalg.pinv(basis).T).reshape(-1, 3, 3)
    return matrices_to_quaternions(nearest_rotations(matrices)).astype(np.float32)
