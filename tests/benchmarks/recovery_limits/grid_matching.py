"""Matching images to projections on a grid of all orientations and shifts: each one's best few."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cryotwin.imaging.fourier import FourierDisc, shift_phases
from cryotwin.imaging.fundamental_domain import to_fundamental_domain
from cryotwin.imaging.nufft import volume_to_slices
from cryotwin.imaging.rotations import (
    matrices_to_quaternions,
    orientation_distances,
    quaternions_to_matrices,
    rotation_grid,
)

Array = NDArray[np.float64]

_REFERENCES = 2048
_OF_A_BLOCK = 6
"""Grid points that an image keeps of each block of references, from which its best are picked."""

_SAME_RAD = 0.01
"""Descents that end nearer to each other than this go on as one."""


@dataclass(frozen=True)
class Candidates:
    """Orientations that images may have: S rows, several of one image.

    Attributes:
        owner: (S,) the image.
        quaternions: (S, 4).
        shifts_px: (S, 2) as x, y.
        misfits: (S,) squared difference of image and projection, up to a constant of the image.
        from_truth: (S,) whether it goes back to the true orientation.
    """

    owner: NDArray[np.int64]
    quaternions: Array
    shifts_px: Array
    misfits: Array
    from_truth: NDArray[np.bool_]

    def rows(self, chosen: NDArray[np.intp] | NDArray[np.bool_]) -> "Candidates":
        """Keeps some of the rows."""
        return Candidates(
            self.owner[chosen],
            self.quaternions[chosen],
            self.shifts_px[chosen],
            self.misfits[chosen],
            self.from_truth[chosen],
        )

    def best(
        self, count: int, symmetry: str = "C1", *, apart_rad: float = _SAME_RAD
    ) -> "Candidates":
        """Keeps each image's `count` best that differ, and the one from the truth if there is one.

        Two differ if they are further apart than `apart_rad` under the point group.
        """
        kept, left = [], self
        truth = np.flatnonzero(left.from_truth)
        if len(truth):
            kept.append(left.rows(truth))
            left = left._far_from(kept[-1], apart_rad, symmetry)
        for _ in range(count):
            if not len(left.owner):
                break
            order = np.lexsort((left.misfits, left.owner))
            _, first = np.unique(left.owner[order], return_index=True)
            kept.append(left.rows(order[first]))
            left = left._far_from(kept[-1], apart_rad, symmetry)
        return _joined(kept)

    def _far_from(self, chosen: "Candidates", apart_rad: float, symmetry: str) -> "Candidates":
        """Keeps the rows that are far from their owner's row in `chosen`, which has one at most."""
        row_of = np.full(1 + max(self.owner.max(initial=0), chosen.owner.max(initial=0)), -1)
        row_of[chosen.owner] = np.arange(len(chosen.owner))
        row = row_of[self.owner]
        distances = orientation_distances(
            self.quaternions, chosen.quaternions[row], symmetry=symmetry
        )
        return self.rows((distances > apart_rad) | (row < 0))


def _joined(parts: list[Candidates]) -> Candidates:
    return Candidates(
        np.concatenate([part.owner for part in parts]),
        np.concatenate([part.quaternions for part in parts]),
        np.concatenate([part.shifts_px for part in parts]),
        np.concatenate([part.misfits for part in parts]),
        np.concatenate([part.from_truth for part in parts]),
    )


def domain_grid(spacing_rad: float, symmetry: str) -> Array:
    """Covers the orientations that look different under a point group: quaternions (M, 4)."""
    grid = matrices_to_quaternions(rotation_grid(spacing_rad))
    inside = orientation_distances(grid, to_fundamental_domain(grid, symmetry)) < 1e-9
    return np.asarray(grid[inside])


def shift_grid(max_shift_px: float, step_px: float) -> Array:
    """Covers the square of shifts up to `max_shift_px` in steps of at most `step_px`: (S, 2)."""
    axis = np.linspace(-max_shift_px, max_shift_px, 2 * int(np.ceil(max_shift_px / step_px)) + 1)
    return np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2)


def best_of_grid(
    coefficients: NDArray[np.complex64],
    volume: NDArray[np.float32],
    disc: FourierDisc,
    grid: Array,
    shifts_px: Array,
    *,
    keep: int,
    apart_rad: float,
    symmetry: str = "C1",
    threads: int = 1,
) -> Candidates:
    """Finds for every image the best few of all orientations of a grid, each at its best shift.

    Args:
        coefficients: (P, K) of the images.
        volume: (N, N, N).
        disc: the K frequencies.
        grid: quaternions (M, 4).
        shifts_px: (S, 2) displacements to try with each.
        keep: how many orientations of an image.
        apart_rad: they are further apart than this under the point group.
        symmetry: point group of the volume.
        threads: threads of the NUFFT.
    """
    weights = np.sqrt(disc.weights)
    targets = [
        _as_reals(coefficients * phases.conj() * weights)
        for phases in shift_phases(disc, shifts_px)
    ]
    parts = []
    for start in range(0, len(grid), _REFERENCES):
        block = grid[start : start + _REFERENCES]
        slices = volume_to_slices(volume, quaternions_to_matrices(block), disc, threads=threads)
        parts.append(_best_of_block(targets, _as_reals(slices * weights), block, shifts_px))
    return _joined(parts).best(keep, symmetry, apart_rad=apart_rad)


def _best_of_block(
    targets: list[NDArray[np.float32]],
    references: NDArray[np.float32],
    block: Array,
    shifts_px: Array,
) -> Candidates:
    best = np.full((len(targets[0]), len(references)), -np.inf, dtype=np.float32)
    shift = np.zeros(best.shape, dtype=np.int16)
    for number, target in enumerate(targets):
        agreement = target @ references.T
        better = agreement > best
        np.copyto(best, agreement, where=better)
        shift[better] = number
    misfits = (references**2).sum(axis=1) - 2 * best
    kept = np.argpartition(misfits, min(_OF_A_BLOCK, len(references) - 1), axis=1)[:, :_OF_A_BLOCK]
    owner = np.repeat(np.arange(len(misfits)), kept.shape[1])
    kept = kept.ravel()
    return Candidates(
        owner,
        block[kept],
        shifts_px[shift[owner, kept]],
        misfits[owner, kept].astype(np.float64),
        np.zeros(len(owner), dtype=bool),
    )


def _as_reals(coefficients: NDArray[np.complexfloating]) -> NDArray[np.float32]:
    return np.concatenate([coefficients.real, coefficients.imag], axis=-1).astype(np.float32)
