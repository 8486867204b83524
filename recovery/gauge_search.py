"""The search for A: on a grid of rotations with few images, then finer with more of them."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from cryotwin.imaging.rotations import MIRROR, rotation_vectors_to_matrices
from cryotwin.recovery.central_lines import LINES, CentralLines, WeightedLines
from cryotwin.recovery.common_lines import LinePairs, line_places, mean_agreement, pair_up

_COARSE_STEP = 4
"""The coarse search sees every fourth line, 3 degrees apart."""

_COARSE_IMAGES = 40
_MIDDLE_IMAGES = 100
_COARSE_LINES = 800
_MIDDLE_LINES = 5000
_FINE_LINES = 40_000
_LAST_STEP_RAD = 0.03
_DIRECTION_SPACING_RAD = 0.13
_COARSE_CANDIDATES = 6
_MIDDLE_CANDIDATES = 2


class GaugeSearch:
    """Finds A for given orientations of images on central lines.

    Args:
        spectra: of M images.
        symmetry: point group of the particle.
        seed: chooses the pairs of images, where there are too many.
    """

    def __init__(self, spectra: CentralLines, symmetry: str = "C1", seed: int = 0) -> None:
        self._lines = spectra.for_likelihood()
        self._symmetry, self._seed = symmetry, seed
        self._turns: NDArray[np.float32] | None = None

    def best_left(self, matrices: NDArray[np.float64]) -> tuple[NDArray[np.float64], float]:
        """Gives A for orientations (M, 3, 3), and the mean log likelihood ratio that it reaches."""
        few = self._paired(matrices[:_COARSE_IMAGES], _COARSE_LINES)
        more = self._paired(matrices[:_MIDDLE_IMAGES], _MIDDLE_LINES)
        candidates = self._coarse_candidates(few)
        candidates = [refined(self._lines, few, left, 0.1) for left in candidates]
        candidates = self._ranked(candidates, more)[:_MIDDLE_CANDIDATES]
        candidates = [refined(self._lines, more, left, 0.05) for left in candidates]
        (best, *_) = self._ranked(candidates, more)
        return best, mean_agreement(self._lines, self.all_pairs(matrices), best)

    def refined(
        self, matrices: NDArray[np.float64], left: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Improves A for the orientations (M, 3, 3) with all images."""
        return refined(self._lines, self.all_pairs(matrices), left, _LAST_STEP_RAD)

    def all_pairs(self, matrices: NDArray[np.float64]) -> LinePairs:
        """Pairs the orientations (M, 3, 3) of all images."""
        return self._paired(matrices, _FINE_LINES)

    def _paired(self, matrices: NDArray[np.float64], most_lines: int) -> LinePairs:
        return pair_up(matrices, symmetry=self._symmetry, most_lines=most_lines, seed=self._seed)

    def _coarse_candidates(self, pairs: LinePairs) -> list[NDArray[np.float64]]:
        """Scores A over directions (its third row) and turns about it; returns the best, apart."""
        lines = LINES // _COARSE_STEP
        if self._turns is None:
            self._turns = table_of_turns(self._lines, pairs)
        rows = np.arange(len(pairs))[:, None]
        scored = []
        for left in _frames_over_sphere():
            first, second = line_places(pairs.relative, left, lines)
            turns = self._turns[rows, (second - first) % (2 * lines), first % lines]
            scores = turns.mean(axis=(0, 1))
            best = int(np.argmax(scores))
            turn = rotation_vectors_to_matrices([0.0, 0.0, best * np.pi / lines])
            scored.append((float(scores[best]), turn @ left))
        scored.sort(key=lambda entry: -entry[0])
        return _apart([left for _, left in scored])

    def _ranked(
        self, candidates: Sequence[NDArray[np.float64]], pairs: LinePairs
    ) -> list[NDArray[np.float64]]:
        return sorted(candidates, key=lambda left: -mean_agreement(self._lines, pairs, left))


def refined(
    lines: WeightedLines, pairs: LinePairs, start: NDArray[np.float64], step: float
) -> NDArray[np.float64]:
    """Moves A uphill from `start`, in steps that begin with `step` rad."""
    found = minimize(
        lambda vector: -mean_agreement(lines, pairs, rotation_vectors_to_matrices(vector) @ start),
        np.zeros(3),
        method="Nelder-Mead",
        options={
            "initial_simplex": np.vstack([np.zeros(3), step * np.eye(3)]),
            "xatol": step / 20,
            "fatol": np.inf,
            "maxfev": 80,
        },
    )
    return rotation_vectors_to_matrices(found.x) @ start


def table_of_turns(lines: WeightedLines, pairs: LinePairs) -> NDArray[np.float32]:
    """Tabulates the agreement of all lines of all pairs of the coarse search, by turns.

    Turning A about the viewing axis by one line spacing moves the lines in both images by one, so
    that all turns of a pair have the same difference of the two.

    Returns:
        (pairs, 2 L, L + 1, L), a view: difference, line in the first image (a line of the second
        half turn stands for that of the first, conjugate, as does its partner), turn.
    """
    values, costs = lines.values[:, ::_COARSE_STEP], lines.costs[:, ::_COARSE_STEP]
    first, second = pairs.first, pairs.second
    full = values.shape[1]
    half = full // 2
    real, imaginary = np.split(values[: second.max() + 1], 2, axis=-1)
    table = np.full((len(first), half, full), -np.inf, dtype=np.float32)
    for phase in lines.phases:
        cos, sin = np.cos(phase), np.sin(phase)
        moved = np.concatenate(
            [real * cos + imaginary * sin, imaginary * cos - real * sin], axis=-1
        )
        product = values[first, :half] @ np.swapaxes(moved[second], -1, -2)
        np.maximum(table, product, out=table)
    table -= costs[first, :half, None] + costs[second, None, :]
    line = np.arange(2 * half) % half
    difference = np.arange(full)[:, None]
    diagonals = table[:, line, (line + difference) % full]
    return np.lib.stride_tricks.sliding_window_view(diagonals, half, axis=-1)


def _apart(candidates: list[NDArray[np.float64]]) -> list[NDArray[np.float64]]:
    """Takes the first few, but none close to an earlier one or its mirror image, as good as it."""
    kept: list[NDArray[np.float64]] = []
    least_trace = 1 + 2 * np.cos(2 * _DIRECTION_SPACING_RAD)
    for left in candidates:
        if not any(
            max(np.trace(left @ other.T), np.trace(MIRROR @ left @ other.T)) > least_trace
            for other in kept
        ):
            kept.append(left)
        if len(kept) == _COARSE_CANDIDATES:
            break
    return kept


def _frames_over_sphere() -> list[NDArray[np.float64]]:
    """Gives rotations whose third rows cover the sphere evenly (a Fibonacci lattice)."""
    count = round(4 * np.pi / _DIRECTION_SPACING_RAD**2)
    index = np.arange(count) + 0.5
    z, azimuth = 1 - 2 * index / count, np.pi * (1 + np.sqrt(5)) * index
    tilt = np.arccos(z)
    cos_a, sin_a, cos_t, sin_t = np.cos(azimuth), np.sin(azimuth), np.cos(tilt), np.sin(tilt)
    axis = np.stack([sin_t * cos_a, sin_t * sin_a, cos_t], axis=1)
    x = np.stack([cos_t * cos_a, cos_t * sin_a, -sin_t], axis=1)
    return list(np.stack([x, np.cross(axis, x), axis], axis=1))
