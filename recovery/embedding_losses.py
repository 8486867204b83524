"""What a distance with errors says about the true one: the losses of the embedding.

Each loss is brought to weighted least squares, sum_ij w_ij (t_ij - d(q_i, q_j))^2, with targets t
and weights w that depend on the present fit and are renewed as it moves (expectation-maximisation;
docs/embedding.md has the mathematics).
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from scipy.special import erfcx, ndtr

from cryotwin.imaging.rotations import pairwise_distances

Array = NDArray[np.float64]
Table = NDArray[np.float32]

LOSSES = ("squares", "clipped", "robust")

_AT_THE_END_RAD = 1e-5
"""From 0 or the limit: a distance nearer than that was clipped."""

_BINS = 16
_STEPS_PER_BIN = 64
_PRIOR_PAIRS = 200
"""The variance of a bin of distances counts as if so many pairs had the mean variance."""

_LEAST_VARIANCE_RAD2 = 1e-10
_FIRST_SHARE_WRONG = 0.1
_ROWS = 256


class ErrorModel:
    """Distances d = clip(true + error, 0, limit), and what is known of the errors.

    Args:
        distances: (P, P) rad, finite where a weight is positive.
        weights: (P, P), zero where there is no distance and on the diagonal.
        symmetry: point group.
        loss: of `LOSSES`.
        limit_rad: a distance of the limit is known to be at least that.
        by_distance: whether the variance of the errors may depend on the distance.
    """

    def __init__(
        self,
        distances: Table,
        weights: Table,
        *,
        symmetry: str,
        loss: str,
        limit_rad: float = np.pi,
        by_distance: bool = False,
    ) -> None:
        self._distances, self._weights, self._symmetry = distances, weights, symmetry
        self._loss, self._limit, self._by_distance = loss, limit_rad, by_distance
        self._clipped_above = distances >= limit_rad - _AT_THE_END_RAD
        self._clipped_below = distances <= _AT_THE_END_RAD
        self._variances: Array | None = None
        self._share_wrong = _FIRST_SHARE_WRONG if loss == "robust" else 0.0
        if loss == "robust":
            self._wrong = self._density_of_wrong_distances()

    @property
    def iterates(self) -> bool:
        """Whether targets or weights change with the fit."""
        open_above = self._loss == "squares" and self._limit < np.pi
        return self._loss != "squares" or self._by_distance or open_above

    def terms(self, quaternions: Array) -> tuple[Table, Table]:
        """Gives targets (P, P) and weights (P, P) at the present fit, the errors re-estimated."""
        if self._variances is None:
            self._variances = self._first_variances(quaternions)
        targets, weights = np.empty_like(self._distances), np.empty_like(self._weights)
        squares, counts, right = np.zeros(_BINS), np.zeros(_BINS), 0.0
        smooth = _interpolated(self._variances)
        for rows, induced in self._blocks(quaternions):
            bins = _bins_of(induced)
            variances = smooth[_bins_of(induced, len(smooth))]
            expected, beyond = self._completed(rows, induced, np.sqrt(variances))
            credible = self._credibility(rows, induced, np.sqrt(variances))
            counted = self._weights[rows] * credible
            squared = (expected - induced) ** 2 + beyond
            squares += np.bincount(bins.ravel(), (counted * squared).ravel(), _BINS)
            counts += np.bincount(bins.ravel(), counted.ravel(), _BINS)
            right += float(counted.sum())
            targets[rows], weights[rows] = expected, counted / variances
        if self._loss == "robust":
            self._share_wrong = 1 - right / float(self._weights.sum(dtype=np.float64))
        # Half of the way: targets and variances that answer each other at once go in circles.
        self._variances = np.sqrt(self._variances * self._pooled(squares, counts))
        weights *= np.float32(self._variances.mean())
        return targets, weights

    def _blocks(self, quaternions: Array) -> Iterator[tuple[slice, Array]]:
        for start in range(0, len(quaternions), _ROWS):
            rows = slice(start, start + _ROWS)
            yield (
                rows,
                pairwise_distances(quaternions[rows], quaternions, symmetry=self._symmetry),
            )

    def _first_variances(self, quaternions: Array) -> Array:
        """Takes the squared median residual: neither clipped nor wrong distances move it much."""
        medians = []
        for rows, induced in self._blocks(quaternions):
            inside = (self._weights[rows] > 0) & ~self._clipped_above[rows]
            residual = np.abs(self._distances[rows] - induced)[inside]
            medians.append(float(np.median(residual)) if residual.size else 0.0)
        return np.full(_BINS, max((1.4826 * np.median(medians)) ** 2, _LEAST_VARIANCE_RAD2))

    def _pooled(self, squares: Array, counts: Array) -> Array:
        mean = squares.sum() / max(counts.sum(), 1)
        if not self._by_distance:
            return np.full(_BINS, max(mean, _LEAST_VARIANCE_RAD2))
        # Weights of the user have any scale: what counts is how many pairs there are.
        pairs = counts * (np.count_nonzero(self._weights) / max(counts.sum(), 1e-300))
        shares = np.divide(squares, counts, out=np.full(_BINS, mean), where=counts > 0)
        if self._limit < np.pi:  # Of what is beyond the limit nothing is seen.
            seen = np.arange(_BINS) < int(self._limit * _BINS / np.pi)
            mean = squares[seen].sum() / max(counts[seen].sum(), 1e-300) if seen.any() else mean
            pairs = np.where(seen, pairs, 0)
        pooled = (pairs * shares + _PRIOR_PAIRS * mean) / (pairs + _PRIOR_PAIRS)
        return np.maximum(pooled, _LEAST_VARIANCE_RAD2)

    def _completed(self, rows: slice, induced: Array, spreads: Array) -> tuple[Array, Array]:
        """Gives the expected distance before it was clipped, and the variance about that."""
        expected = self._distances[rows].astype(np.float64)
        beyond = np.zeros_like(expected)
        above, below = self._clipped_above[rows], self._clipped_below[rows]
        if self._loss == "squares":
            if self._limit < np.pi:
                expected[above] = np.maximum(induced[above], self._limit)
            return expected, beyond
        for clipped, sign, end in ((above, 1, self._limit), (below, -1, 0.0)):
            fitted, spread = induced[clipped], spreads[clipped]
            gap = sign * (end - fitted) / spread
            hazard = _hazard(gap)
            expected[clipped] = fitted + sign * spread * hazard
            beyond[clipped] = spread**2 * np.maximum(1 + gap * hazard - hazard**2, 0)
        return expected, beyond

    def _credibility(self, rows: slice, induced: Array, spreads: Array) -> Array:
        """Gives the probability that a distance is not a wrong one."""
        if self._loss != "robust":
            return np.ones_like(induced)
        above, below = self._clipped_above[rows], self._clipped_below[rows]
        scaled = (self._distances[rows] - induced) / spreads
        likely = np.exp(-0.5 * scaled**2) / (np.sqrt(2 * np.pi) * spreads)
        likely[above] = ndtr((induced[above] - self._limit) / spreads[above])
        likely[below] = ndtr(-induced[below] / spreads[below])
        good, bad = (1 - self._share_wrong) * likely, self._share_wrong * self._wrong[rows]
        return good / np.maximum(good + bad, 1e-300)

    def _density_of_wrong_distances(self) -> Table:
        """Says how likely each value (P, P) is for a distance that belongs to another pair."""
        known = self._weights > 0
        values = self._distances[known]
        inside = values[(values < self._limit - _AT_THE_END_RAD) & (values > _AT_THE_END_RAD)]
        counts = np.bincount(_bins_of(inside).ravel(), minlength=_BINS) + 1.0
        density = counts / (values.size * (np.pi / _BINS))
        wrong = density[_bins_of(self._distances)].astype(np.float32)
        for clipped in (self._clipped_above, self._clipped_below):
            wrong[clipped] = (np.count_nonzero(clipped & known) + 1) / values.size
        return wrong


def kernel_beyond(limit_rad: float) -> float:
    """Gives the mean of cos^2(d / 2) - 1/4 over uniform orientations farther than the limit."""
    angles = np.linspace(limit_rad, np.pi, 200)
    density = np.sin(angles / 2) ** 2
    return float(np.average(np.cos(angles / 2) ** 2, weights=density) - 0.25)


def _bins_of(distances: NDArray[np.floating], bins: int = _BINS) -> NDArray[np.intp]:
    return np.clip((distances * (bins / np.pi)).astype(np.intp), 0, bins - 1)


def _interpolated(variances: Array) -> Array:
    """Gives the variances (B,) of bins on a finer grid: a step would hold points on its edge."""
    fine = (np.arange(_BINS * _STEPS_PER_BIN) + 0.5) / _STEPS_PER_BIN
    return np.interp(fine, np.arange(_BINS) + 0.5, variances)


def _hazard(gap: Array) -> Array:
    """Gives phi(z) / Phi(-z): how far on average, in standard deviations, what exceeds z lies."""
    return np.asarray(np.sqrt(2 / np.pi) / erfcx(gap / np.sqrt(2)))
