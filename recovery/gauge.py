"""The gauge: which of all orientations with the same distances fit the images (docs/gauge.md).

Distances do not change under R -> A R or R -> A R^T, but images do: by the central-slice theorem
two images share a line through the origin of Fourier space, and where it lies in each of them
follows from R_i R_j^T. The maximum over A and the transpose of how well the predicted common lines
agree fixes the gauge, up to the mirror image of the object, which no projections tell apart.

How well two lines agree is the log likelihood ratio of "one line, seen twice" to "two lines". In a
ring of mean power P, of which S is signal and N = P - S noise, both coefficients f and g are
complex Gaussian with variance P; their covariance is S if the line is common, else 0. Hence

    log ratio = sum over rings of [2 S Re(f g*) - (S^2 / P) (|f|^2 + |g|^2)] / (P^2 - S^2) + const,

a weighted product of the lines, less a cost of each: strong lines, which have a large product with
whatever is like them, must agree better. What is reported is the plain correlation instead: it is
easier to read, though wrong lines reach part of it, as images are alike at low resolution.
"""

from dataclasses import dataclass

import finufft
import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from cryotwin.imaging.fourier import fourier_disc, images_to_disc
from cryotwin.imaging.microscope import shift_images
from cryotwin.imaging.rotations import (
    MIRROR,
    matrices_to_quaternions,
    quaternions_to_matrices,
    rotation_vectors_to_matrices,
)

_LINES = 240
"""Lines over half a turn, close enough to take the nearest: 0.2 pixels apart at the outermost
ring used of an image of 64 pixels."""

_COARSE_STEP = 4
"""The coarse search sees every fourth line, 3 degrees apart."""

_COARSE_IMAGES = 40
_MIDDLE_IMAGES = 100
_FINE_IMAGES = 200
_DIRECTION_SPACING_RAD = 0.13
_COARSE_CANDIDATES = 6
_MIDDLE_CANDIDATES = 2

_LEAST_NOISE = 0.1
"""Least part of a ring's power that counts as noise. Orientations err, so that predicted lines
differ even without noise in the images; and the likelihood stays finite."""


@dataclass(frozen=True)
class Gauge:
    """The gauge that fits the images best.

    Attributes:
        left: (3, 3), A.
        transposed: whether R^T stands for R.
        score_before: mean correlation of the common lines of the orientations as they came.
        score_after: the same after the gauge.
        score_as_estimated: best score without the transpose.
        score_transposed: best score with it.
    """

    left: NDArray[np.float64]
    transposed: bool
    score_before: float
    score_after: float
    score_as_estimated: float
    score_transposed: float

    def apply(self, quaternions: NDArray[np.floating]) -> NDArray[np.float64]:
        """Puts orientations (P, 4) into the gauge."""
        matrices = quaternions_to_matrices(quaternions)
        if self.transposed:
            matrices = np.swapaxes(matrices, -1, -2)
        return matrices_to_quaternions(self.left @ matrices)


def find_gauge(
    images: NDArray[np.floating],
    quaternions: NDArray[np.floating],
    *,
    max_shift_px: float = 0.0,
    seed: int = 0,
) -> Gauge:
    """Finds A and the transpose from the images' common lines (docs/gauge.md).

    Args:
        images: (P, N, N).
        quaternions: (P, 4) orientations that fit the distances.
        max_shift_px: how far particles lie off the centre of their images, in x and in y. Lines
            are then compared at their best displacement along each other.
        seed: chooses the images to compare.
    """
    chosen = np.random.default_rng(seed).permutation(len(images))[:_FINE_IMAGES]
    matrices = quaternions_to_matrices(np.asarray(quaternions)[chosen])
    spectra = _central_lines(images[chosen], max_shift_px)
    correlation = spectra.for_correlation()
    search = _Search(spectra.for_likelihood())
    found = []
    for transposed in (False, True):
        oriented = np.swapaxes(matrices, -1, -2) if transposed else matrices
        left, likelihood = search.best_left(oriented)
        score = _agreement(correlation, _pairs(oriented), left)
        found.append((likelihood, left, score))
    transposed = found[1][0] > found[0][0]
    _, left, score = found[transposed]
    return Gauge(
        left=left,
        transposed=transposed,
        score_before=_agreement(correlation, _pairs(matrices), np.eye(3)),
        score_after=score,
        score_as_estimated=found[0][2],
        score_transposed=found[1][2],
    )


def common_line_score(
    images: NDArray[np.floating],
    quaternions: NDArray[np.floating],
    *,
    shifts_px: NDArray[np.floating] | None = None,
    seed: int = 0,
) -> float:
    """Gives the mean correlation of predicted common lines: 1 if all fits, near 0 for noise.

    Wrong orientations score above 0, as images of a particle are alike at low resolution: compare.

    Args:
        images: (P, N, N).
        quaternions: (P, 4).
        shifts_px: (P, 2) as x, y, how far particles lie off the centre; None stands for zero.
        seed: chooses the images to compare.
    """
    chosen = np.random.default_rng(seed).permutation(len(images))[:_FINE_IMAGES]
    matrices = quaternions_to_matrices(np.asarray(quaternions)[chosen])
    centred = images[chosen]
    if shifts_px is not None:
        centred = shift_images(centred, -shifts_px[chosen])
    lines = _central_lines(centred, 0.0).for_correlation()
    return _agreement(lines, _pairs(matrices), np.eye(3))


@dataclass(frozen=True)
class _Lines:
    """Weighted central lines, whose agreement is their product less the cost of each.

    Attributes:
        values: (M, 2 L, 2 r), real then imaginary parts, over a full turn of angles.
        costs: (M, 2 L).
        phases: (S, r) rad, of the displacements along each other that lines are compared at.
    """

    values: NDArray[np.float32]
    costs: NDArray[np.float32]
    phases: NDArray[np.float32]

    @classmethod
    def over_full_turn(
        cls,
        values: NDArray[np.complex128],
        costs: NDArray[np.float64],
        phases: NDArray[np.float64],
    ) -> "_Lines":
        """Takes (M, L, r) and (M, L) over half a turn; half a turn on, a line is its conjugate."""
        turned = np.concatenate([values, values.conj()], axis=1)
        parts = np.concatenate([turned.real, turned.imag], axis=-1)
        return cls(
            parts.astype(np.float32),
            np.tile(costs, 2).astype(np.float32),
            phases.astype(np.float32),
        )

    def products(
        self, first: NDArray[np.float32], second: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """Multiplies lines (pairs, 2 r) with each other, each pair at its best displacement."""
        (real, imaginary), (other_real, other_imaginary) = (
            np.split(lines, 2, axis=-1) for lines in (first, second)
        )
        even = real * other_real + imaginary * other_imaginary
        odd = imaginary * other_real - real * other_imaginary
        return (even @ np.cos(self.phases).T - odd @ np.sin(self.phases).T).max(axis=1)


@dataclass(frozen=True)
class _Spectra:
    """Images on central lines.

    Attributes:
        lines: (M, L, r), transforms on L lines over half a turn of angles, rings 1 to r.
        signal: (r,), mean power of the signal, S above.
        power: (r,), mean power of signal and noise, P above.
        phases: (S, r) rad, of the displacements to compare lines at.
    """

    lines: NDArray[np.complex128]
    signal: NDArray[np.float64]
    power: NDArray[np.float64]
    phases: NDArray[np.float64]

    def for_correlation(self) -> _Lines:
        """Whitens the lines, weights them by the signal, and gives every image the same power."""
        lines = self.lines * (np.sqrt(self.signal) / self.power)
        norms = np.sqrt((np.abs(lines) ** 2).sum(axis=-1).mean(axis=-1))[:, None, None]
        lines = np.divide(lines, norms, out=lines, where=norms > 0)
        return _Lines.over_full_turn(lines, np.zeros(lines.shape[:2]), self.phases)

    def for_likelihood(self) -> _Lines:
        """Weights the lines so that they agree by the log likelihood ratio above."""
        signal = np.minimum(self.signal, (1 - _LEAST_NOISE) * self.power)
        lines = self.lines * np.sqrt(2 * signal / (self.power**2 - signal**2))
        costs = np.abs(lines) ** 2 @ (signal / self.power) / 2
        return _Lines.over_full_turn(lines, costs, self.phases)


@dataclass(frozen=True)
class _Pairs:
    """Pairs of images: (pairs,) indices of both, and (pairs, 3, 3) R_i R_j^T."""

    first: NDArray[np.intp]
    second: NDArray[np.intp]
    relative: NDArray[np.float64]


def _pairs(matrices: NDArray[np.float64]) -> _Pairs:
    """Pairs all orientations (M, 3, 3), i < j."""
    first, second = np.triu_indices(len(matrices), 1)
    return _Pairs(first, second, matrices[first] @ np.swapaxes(matrices[second], -1, -2))


def _central_lines(images: NDArray[np.floating], max_shift_px: float) -> _Spectra:
    """Evaluates transforms on central lines, to half of Nyquist, and their mean powers.

    Two particles that lie up to `max_shift_px` off the centre in x and in y displace their common
    line by up to 2 sqrt 2 times that; nearly all pairs by less than twice that.

    The noise is white, at the level of the outermost rings.
    """
    size = images.shape[-1]
    disc = fourier_disc(size)
    power = np.bincount(
        disc.shells, (np.abs(images_to_disc(images, disc)) ** 2).mean(axis=0)
    ) / np.bincount(disc.shells)
    noise = np.median(power[-max(2, size // 16) :])
    radii = np.arange(1, size // 4 + 1)
    angles = np.arange(_LINES) * np.pi / _LINES
    kx = (np.cos(angles)[:, None] * radii * 2 * np.pi / size).ravel()
    ky = (np.sin(angles)[:, None] * radii * 2 * np.pi / size).ravel()
    lines = finufft.nufft2d2(ky, kx, images.astype(np.complex128), isign=-1, eps=1e-5, nthreads=1)
    reach = np.ceil(2 * max_shift_px)
    displacements = np.arange(-reach, reach + 1)
    return _Spectra(
        lines=lines.reshape(len(images), _LINES, len(radii)),
        signal=np.maximum(power[radii] - noise, 0),
        power=np.maximum(power[radii], np.finfo(np.float32).tiny),
        phases=displacements[:, None] * radii * (2 * np.pi / size),
    )


def _line_angles(
    relative: NDArray[np.float64], left: NDArray[np.float64], lines: int
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Places the common lines of pairs in both images: nearest of 2 `lines` over a full turn.

    The line lies along e3 x M e3 in image i and along (M^T e3) x e3 in image j, M = A Ri Rj^T A^T.
    """
    axis = left[2]
    there, back = relative @ axis, np.swapaxes(relative, -1, -2) @ axis
    first = np.arctan2(there @ left[0], -(there @ left[1]))
    second = np.arctan2(-(back @ left[0]), back @ left[1])
    scale = lines / np.pi
    return (
        np.rint(first * scale).astype(np.intp) % (2 * lines),
        np.rint(second * scale).astype(np.intp) % (2 * lines),
    )


def _agreement(lines: _Lines, pairs: _Pairs, left: NDArray[np.float64]) -> float:
    """Averages over the pairs how well their predicted common lines agree."""
    first, second = _line_angles(pairs.relative, left, _LINES)
    in_first, in_second = (pairs.first, first), (pairs.second, second)
    products = lines.products(lines.values[in_first], lines.values[in_second])
    return float((products - lines.costs[in_first] - lines.costs[in_second]).mean())


class _Search:
    """Finds A for given orientations: on a grid with few images, then finer with more."""

    def __init__(self, lines: _Lines) -> None:
        self._lines = lines
        self._turns = _all_turns(lines)

    def best_left(self, matrices: NDArray[np.float64]) -> tuple[NDArray[np.float64], float]:
        """Gives A for orientations (M, 3, 3), and the mean log likelihood ratio that it reaches."""
        few, more = _pairs(matrices[:_COARSE_IMAGES]), _pairs(matrices[:_MIDDLE_IMAGES])
        candidates = self._coarse_candidates(few)
        candidates = self._refined(candidates, few, 0.1)
        candidates = self._ranked(candidates, more)[:_MIDDLE_CANDIDATES]
        best = self._ranked(self._refined(candidates, more, 0.05), more)[:1]
        pairs = _pairs(matrices)
        (best_left,) = self._refined(best, pairs, 0.02)
        return best_left, _agreement(self._lines, pairs, best_left)

    def _coarse_candidates(self, pairs: _Pairs) -> list[NDArray[np.float64]]:
        """Scores A over directions (its third row) and turns about it; returns the best, apart."""
        lines = _LINES // _COARSE_STEP
        rows = np.arange(len(pairs.first))
        scored = []
        for left in _frames_over_sphere():
            first, second = _line_angles(pairs.relative, left, lines)
            turns = self._turns[rows, (second - first) % (2 * lines), first % lines]
            scores = turns.mean(axis=0)
            best = int(np.argmax(scores))
            turn = rotation_vectors_to_matrices([0.0, 0.0, best * np.pi / lines])
            scored.append((float(scores[best]), turn @ left))
        scored.sort(key=lambda entry: -entry[0])
        return _apart([left for _, left in scored])

    def _ranked(
        self, candidates: list[NDArray[np.float64]], pairs: _Pairs
    ) -> list[NDArray[np.float64]]:
        return sorted(candidates, key=lambda left: -_agreement(self._lines, pairs, left))

    def _refined(
        self, candidates: list[NDArray[np.float64]], pairs: _Pairs, step: float
    ) -> list[NDArray[np.float64]]:
        """Moves each candidate uphill, in steps that begin with `step` rad."""
        refined = []
        for start in candidates:
            found = minimize(
                lambda vector, start=start: (
                    -_agreement(self._lines, pairs, rotation_vectors_to_matrices(vector) @ start)
                ),
                np.zeros(3),
                method="Nelder-Mead",
                options={
                    "initial_simplex": np.vstack([np.zeros(3), step * np.eye(3)]),
                    "xatol": step / 20,
                    "fatol": np.inf,
                    "maxfev": 80,
                },
            )
            refined.append(rotation_vectors_to_matrices(found.x) @ start)
        return refined


def _all_turns(lines: _Lines) -> NDArray[np.float32]:
    """Tabulates the agreement of all lines of all pairs of the coarse search, by turns.

    Turning A about the viewing axis by one line spacing moves the lines in both images by one, so
    that all turns of a pair have the same difference of the two.

    Returns:
        (pairs, 2 L, L + 1, L), a view: difference, line in the first image (a line of the second
        half turn stands for that of the first, conjugate, as does its partner), turn.
    """
    values = lines.values[:_COARSE_IMAGES, ::_COARSE_STEP]
    costs = lines.costs[:_COARSE_IMAGES, ::_COARSE_STEP]
    first, second = np.triu_indices(len(values), 1)
    full = values.shape[1]
    half = full // 2
    real, imaginary = np.split(values, 2, axis=-1)
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
