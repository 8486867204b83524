"""The gauge: which of all orientations with the same distances fit the images (docs/gauge.md).

Distances do not change under R -> A R or R -> A R^T, but images do: by the central-slice theorem
two images share a line through the origin of Fourier space, and where it lies in each of them
follows from R_i R_j^T. The common-line score of a candidate is the mean correlation of the
predicted common lines; its maximum over A and the transpose fixes the gauge, up to the mirror
image of the object, which no projections tell apart.
"""

from dataclasses import dataclass

import finufft
import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from cryotwin.imaging.fourier import fourier_disc, images_to_disc
from cryotwin.imaging.microscope import shift_images
from cryotwin.imaging.rotations import (
    matrices_to_quaternions,
    quaternions_to_matrices,
    rotation_vectors_to_matrices,
)

_LINES = 60
"""Lines over half a turn: 3 degrees apart, at the outermost ring used one half pixel or so."""

_COARSE_IMAGES = 40
_FINE_IMAGES = 120
_DIRECTION_SPACING_RAD = 0.13
_REFINED_CANDIDATES = 12


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
    images: NDArray[np.floating], quaternions: NDArray[np.floating], *, seed: int = 0
) -> Gauge:
    """Finds A and the transpose from the images' common lines (docs/gauge.md).

    Args:
        images: (P, N, N), centred on their particles.
        quaternions: (P, 4) orientations that fit the distances.
        seed: chooses the images to compare.
    """
    chosen = np.random.default_rng(seed).permutation(len(images))[:_FINE_IMAGES]
    table = _correlation_table(images[chosen])
    second_images = np.triu_indices(len(chosen), 1)[1]
    matrices = quaternions_to_matrices(np.asarray(quaternions)[chosen])
    before = _score(table, _relative_rotations(matrices), np.eye(3))
    results = []
    for transposed in (False, True):
        relative = _relative_rotations(np.swapaxes(matrices, -1, -2) if transposed else matrices)
        results.append(_best_left(table, relative, second_images))
    (score_plain, left_plain), (score_transposed, left_transposed) = results
    transposed = score_transposed > score_plain
    return Gauge(
        left=left_transposed if transposed else left_plain,
        transposed=transposed,
        score_before=before,
        score_after=max(score_plain, score_transposed),
        score_as_estimated=score_plain,
        score_transposed=score_transposed,
    )


def common_line_score(
    images: NDArray[np.floating],
    quaternions: NDArray[np.floating],
    *,
    shifts_px: NDArray[np.floating] | None = None,
    seed: int = 0,
) -> float:
    """Gives the mean correlation of predicted common lines: 1 if all fits, near 0 by chance.

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
    return _score(_correlation_table(centred), _relative_rotations(matrices), np.eye(3))


def _correlation_table(images: NDArray[np.floating]) -> NDArray[np.float32]:
    """Correlates all central lines of all pairs i < j of M images: (M (M - 1) / 2, L, 2 L).

    Over half a turn of angles in image i and a full one in image j: a line half a turn on is the
    complex conjugate, so that moving both lines by half a turn changes nothing.
    """
    lines = _central_lines(images)
    count = len(lines)
    turned = np.concatenate([lines, lines.conj()], axis=1)
    first = np.concatenate([lines.real, lines.imag], axis=-1)
    second = np.concatenate([turned.real, turned.imag], axis=-1)
    table = np.empty((count * (count - 1) // 2, _LINES, 2 * _LINES), dtype=np.float32)
    start = 0
    for i in range(count - 1):
        end = start + count - 1 - i
        np.matmul(first[i], second[i + 1 :].transpose(0, 2, 1), out=table[start:end])
        start = end
    return table


def _central_lines(images: NDArray[np.floating]) -> NDArray[np.complex64]:
    """Evaluates transforms on rays: (M, L, r), whitened, weighted by signal, of unit mean power."""
    size = images.shape[-1]
    disc = fourier_disc(size)
    power = np.bincount(
        disc.shells, (np.abs(images_to_disc(images, disc)) ** 2).mean(axis=0)
    ) / np.bincount(disc.shells)
    noise = np.median(power[-max(2, size // 16) :])
    radii = np.arange(1, size // 4 + 1)
    signal = np.maximum(power[radii] - noise, 0)
    weights = np.sqrt(signal) / power[radii]
    angles = np.arange(_LINES) * np.pi / _LINES
    kx = (np.cos(angles)[:, None] * radii * 2 * np.pi / size).ravel()
    ky = (np.sin(angles)[:, None] * radii * 2 * np.pi / size).ravel()
    rays = finufft.nufft2d2(ky, kx, images.astype(np.complex128), isign=-1, eps=1e-5, nthreads=1)
    rays = rays.reshape(len(images), _LINES, len(radii)) * weights
    rays /= np.sqrt((np.abs(rays) ** 2).sum(axis=-1).mean(axis=-1))[:, None, None]
    return rays.astype(np.complex64)


def _relative_rotations(matrices: NDArray[np.float64]) -> NDArray[np.float64]:
    """Gives R_i R_j^T for all pairs i < j of M orientations: (M (M - 1) / 2, 3, 3)."""
    first, second = np.triu_indices(len(matrices), 1)
    return matrices[first] @ np.swapaxes(matrices[second], -1, -2)


def _line_angles(
    relative: NDArray[np.float64], left: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Places the common lines of pairs in both images, in units of the line spacing, in [0, 2 L).

    The line lies along e3 x M e3 in image i and along (M^T e3) x e3 in image j, M = A Ri Rj^T A^T.
    """
    axis = left[2]
    there, back = relative @ axis, np.swapaxes(relative, -1, -2) @ axis
    first = np.arctan2(there @ left[0], -(there @ left[1]))
    second = np.arctan2(-(back @ left[0]), back @ left[1])
    scale = _LINES / np.pi
    return np.mod(first * scale, 2 * _LINES), np.mod(second * scale, 2 * _LINES)


def _score(
    table: NDArray[np.float32], relative: NDArray[np.float64], left: NDArray[np.float64]
) -> float:
    """Averages the correlation of predicted common lines, interpolated between table entries."""
    pairs = np.arange(len(table))
    first, second = _line_angles(relative, left)
    low_a, low_b = np.floor(first).astype(int), np.floor(second).astype(int)
    part_a, part_b = first - low_a, second - low_b
    total = np.zeros(len(table))
    for step_a, weight_a in ((0, 1 - part_a), (1, part_a)):
        for step_b, weight_b in ((0, 1 - part_b), (1, part_b)):
            half_turns, a = np.divmod(low_a + step_a, _LINES)
            b = (low_b + step_b - half_turns * _LINES) % (2 * _LINES)
            total += weight_a * weight_b * table[pairs, a, b]
    return float(total.mean())


def _best_left(
    table: NDArray[np.float32], relative: NDArray[np.float64], second_images: NDArray[np.intp]
) -> tuple[float, NDArray[np.float64]]:
    """Searches SO(3) for A on a grid of directions and in-plane turns, then refines the best."""
    among_few = np.flatnonzero(second_images < _COARSE_IMAGES)
    candidates = _coarse_candidates(table[among_few], relative[among_few])
    results = []
    for candidate in candidates:
        found = minimize(
            lambda vector, start=candidate: (
                -_score(table, relative, rotation_vectors_to_matrices(vector) @ start)
            ),
            np.zeros(3),
            method="Nelder-Mead",
            options={
                "initial_simplex": np.vstack([np.zeros(3), 0.1 * np.eye(3)]),
                "xatol": 1e-3,
                "fatol": 1e-6,
                "maxfev": 120,
            },
        )
        results.append((float(-found.fun), rotation_vectors_to_matrices(found.x) @ candidate))
    return max(results, key=lambda result: result[0])


def _coarse_candidates(
    table: NDArray[np.float32], relative: NDArray[np.float64]
) -> list[NDArray[np.float64]]:
    """Scores A over directions (its third row) and turns about it; returns the best, apart."""
    full = 2 * _LINES
    # Turning A about the viewing axis by one line spacing moves both lines by one entry, so all
    # turns of a pair lie on one diagonal of its table: laid out by (difference, first line).
    line = np.arange(_LINES)
    diagonals = table[:, line[None, :], (line[None, :] + np.arange(full)[:, None]) % full]
    diagonals = np.concatenate([diagonals, diagonals], axis=-1)
    window = np.arange(_LINES)
    rows = np.arange(len(table))[:, None]
    scored = []
    for left in _frames_over_sphere():
        first, second = (
            np.rint(angle).astype(int) % full for angle in _line_angles(relative, left)
        )
        turns = diagonals[
            rows, ((second - first) % full)[:, None], (first % _LINES)[:, None] + window
        ]
        scores = turns.mean(axis=0)
        best = int(np.argmax(scores))
        turn = rotation_vectors_to_matrices([0.0, 0.0, -best * np.pi / _LINES])
        scored.append((float(scores[best]), turn @ left))
    scored.sort(key=lambda entry: -entry[0])
    return [left for _, left in scored[:_REFINED_CANDIDATES]]


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
