"""Orientations from pairwise distances: equation (4) of the paper, with a certificate.

The loss is the mean over pairs of (d_ij - d(q_i, q_j))^2. It has wrong minima that one random
start in several ends in, so: several starts of a power method on a subset, descent
from each, the best one extended to all points and refined on all pairs. The starts also give the
certificate: the right minimum is found again and again, wrong ones differ from each other. Under a
point group the plan is the same, and the starts are those of `symmetric_embedding`.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cryotwin.imaging.errors import InputError
from cryotwin.imaging.point_groups import parse_point_group
from cryotwin.imaging.rotations import (
    canonical_quaternions,
    pairwise_distances,
    uniform_quaternions,
)
from cryotwin.recovery.placement import place_from_landmarks
from cryotwin.recovery.symmetric_embedding import SymmetricEmbedder

_LANDMARKS = 400
_POWER_STEPS = 60
_DESCENT_STEPS = 120
_FINAL_STEPS = 60
_SAME_SOLUTION_RAD = 0.1
"""Root mean square difference of the induced distances below which two starts agree: two descents
into one minimum differ by less than 0.02 rad, two minima by 0.4 rad and more."""

_SAME_SOLUTION_SHARE = 0.15
"""The same under a point group, as a share of the standard deviation of the distances, which are
the smaller the larger the group is."""

_ALIKE_RAD2 = 1e-8
"""Variance of the distances below which they are all alike and say nothing."""


@dataclass(frozen=True)
class Embedding:
    """Orientations that fit the distances, up to R -> A R B and R -> R^T (docs/gauge.md).

    Attributes:
        quaternions: (P, 4), w >= 0.
        loss: mean over pairs of the squared difference of distances, rad^2: equation (4).
        start_losses: (S,) the loss of each start on the landmarks, ascending, rad^2.
        agreeing_starts: how many of them, the best included, ended in the same solution.
        trusted: whether the certificate holds.
        reason: the certificate in a sentence.
    """

    quaternions: NDArray[np.float64]
    loss: float
    start_losses: NDArray[np.float64]
    agreeing_starts: int
    trusted: bool
    reason: str


def embed_distances(
    distances: NDArray[np.floating], *, symmetry: str = "C1", seed: int = 0, starts: int = 8
) -> Embedding:
    """Finds orientations whose distances are the given ones, equation (4) of the paper.

    Args:
        distances: (P, P) in rad, symmetric, in [0, pi], P >= 4.
        symmetry: point group G of the particle; the distances are those of
            `pairwise_distances(symmetry=G)`.
        seed: of the random starts.
        starts: how many starts to make.

    Raises:
        InputError: distances of another shape, asymmetric, not finite or out of range, or an
            unknown point group.
    """
    distances = _checked(distances)
    group = parse_point_group(symmetry)
    method = _PlainEmbedder() if group == "C1" else SymmetricEmbedder(group)
    rng = np.random.default_rng(seed)
    landmarks = np.sort(rng.permutation(len(distances))[: method.landmarks])
    among = distances[np.ix_(landmarks, landmarks)]
    candidates = [method.start(among, rng) for _ in range(starts)]
    losses = np.array([embedding_loss(among, each, symmetry=group) for each in candidates])
    best: NDArray[np.floating] = candidates[int(np.argmin(losses))]
    same = _SAME_SOLUTION_RAD if group == "C1" else _SAME_SOLUTION_SHARE * _spread(among)
    agreeing = sum(_solution_difference(best, other, group) <= same for other in candidates)
    if len(landmarks) < len(distances):
        best = method.place(distances[:, landmarks], best)
    best = method.refine(distances, best)
    trusted, reason = _certificate(np.sort(losses), agreeing, among)
    return Embedding(
        quaternions=canonical_quaternions(best.astype(np.float64)),
        loss=embedding_loss(distances, best, symmetry=group),
        start_losses=np.sort(losses),
        agreeing_starts=agreeing,
        trusted=trusted,
        reason=reason,
    )


def embedding_loss(
    distances: NDArray[np.floating], quaternions: NDArray[np.floating], *, symmetry: str = "C1"
) -> float:
    """Gives the mean over pairs of (d_ij - d(q_i, q_j))^2 in rad^2, equation (4)."""
    difference = distances - _induced_distances(quaternions, symmetry)
    np.fill_diagonal(difference, 0)
    count = len(distances) * (len(distances) - 1)
    return float(np.einsum("ij,ij->", difference, difference, dtype=np.float64) / count)


class _PlainEmbedder:
    """The steps of the embedding without symmetry."""

    landmarks = _LANDMARKS

    def start(
        self, distances: NDArray[np.float32], rng: np.random.Generator
    ) -> NDArray[np.float32]:
        start = uniform_quaternions(len(distances), rng).astype(np.float32)
        return _descend(distances, _power_method(distances, start), _DESCENT_STEPS)

    def place(
        self, distances: NDArray[np.float32], placed: NDArray[np.floating]
    ) -> NDArray[np.float32]:
        return place_from_landmarks(distances, placed)

    def refine(
        self, distances: NDArray[np.float32], quaternions: NDArray[np.floating]
    ) -> NDArray[np.float32]:
        return _descend(distances, quaternions.astype(np.float32), _FINAL_STEPS)


def _checked(distances: NDArray[np.floating]) -> NDArray[np.float32]:
    distances = np.array(distances, dtype=np.float32)
    if distances.ndim != 2 or distances.shape[0] != distances.shape[1] or len(distances) < 4:
        raise InputError(f"distances must be (P, P) with P >= 4, not {distances.shape}")
    if not np.isfinite(distances).all():
        raise InputError("distances must be finite, but some are NaN or infinite")
    if distances.min() < 0 or distances.max() > np.pi + 1e-4:
        raise InputError(
            f"distances must be in [0, pi] rad, not [{distances.min():.3g}, {distances.max():.3g}]"
        )
    if not np.allclose(distances, distances.T, atol=1e-4):
        raise InputError("distances must be symmetric, but d[i, j] and d[j, i] differ")
    np.fill_diagonal(distances, 0)
    return distances


def _induced_distances(quaternions: NDArray[np.floating], symmetry: str) -> NDArray[np.floating]:
    if symmetry != "C1":
        return pairwise_distances(quaternions, symmetry=symmetry)
    cosines = np.abs(quaternions @ quaternions.T)
    return 2 * np.arccos(np.minimum(cosines, 1))


def _power_method(
    distances: NDArray[np.float32], quaternions: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Iterates q_i <- leading eigenvector of sum_j (cos^2(d_ij / 2) - 1/4) q_j q_j^T."""
    kernel = np.cos(distances / 2) ** 2 - 0.25
    np.fill_diagonal(kernel, 0)
    for _ in range(_POWER_STEPS):
        outer = quaternions[:, :, None] * quaternions[:, None, :]
        matrices = (kernel @ outer.reshape(-1, 16)).reshape(-1, 4, 4)
        updated = np.linalg.eigh(matrices)[1][:, :, -1]
        change = 1 - np.abs(np.einsum("pc,pc->p", updated, quaternions)).mean()
        quaternions = updated
        if change < 1e-7:
            break
    return quaternions


def _descend(
    distances: NDArray[np.float32], quaternions: NDArray[np.float32], steps: int
) -> NDArray[np.float32]:
    """Takes Riemannian gradient steps on equation (4), all points at once, with momentum.

    The gradient of d(q_i, q_j) as a rotation of q_i is a unit axis u_ij, and the sum over j of
    u_ij u_ij^T is about (P / 3) I: so 3 / P is the step of Newton's method for one point alone.
    Steps that raise the loss are halved.
    """
    scale = 3.0 / len(distances)
    rate, velocity = 0.7, np.zeros_like(quaternions)
    previous = np.inf
    for _ in range(steps):
        cosines = quaternions @ quaternions.T
        magnitude = np.minimum(np.abs(cosines), 1)
        residual = 2 * np.arccos(magnitude) - distances
        np.fill_diagonal(residual, 0)
        loss = float(np.vdot(residual, residual))
        sine = np.sqrt(np.maximum(1 - magnitude**2, 1e-8))
        pull = residual * np.sign(cosines) / sine
        step = 0.5 * scale * (pull @ quaternions)
        step -= np.einsum("pc,pc->p", step, quaternions)[:, None] * quaternions
        if loss > previous:
            rate, velocity = rate / 2, np.zeros_like(velocity)
        elif previous - loss < 1e-7 * previous:
            break
        previous = loss
        velocity = 0.6 * velocity + rate * step
        quaternions = quaternions + velocity
        quaternions /= np.linalg.norm(quaternions, axis=1, keepdims=True)
    return quaternions


def _solution_difference(
    first: NDArray[np.floating], second: NDArray[np.floating], symmetry: str
) -> float:
    """Compares two solutions by their distances, which no gauge changes: rms in rad."""
    difference = _induced_distances(first, symmetry) - _induced_distances(second, symmetry)
    return float(np.sqrt(np.mean(difference**2)))


def _spread(distances: NDArray[np.float32]) -> float:
    """Gives the standard deviation of the distances in rad."""
    return float(np.std(distances[np.triu_indices(len(distances), 1)]))


def _certificate(
    losses: NDArray[np.float64], agreeing: int, distances: NDArray[np.float32]
) -> tuple[bool, str]:
    starts = len(losses)
    variance = _spread(distances) ** 2
    explained = max(0.0, 1 - losses[0] / variance) if variance > _ALIKE_RAD2 else 0.0
    share = f"{explained:.0%} of the variance of the distances"
    found = f"{agreeing} of {starts} starts ended in the best solution"
    if starts > 1 and agreeing < 2:
        doubt = "so it may be a wrong minimum: the distances do not fix the orientations"
        return False, f"{found}, {doubt}"
    if explained < 0.25:
        return False, f"{found}, but it explains only {share}"
    return True, f"{found}, which explains {share}"
