"""Orientations from pairwise distances: equation (4) of the paper, with a certificate.

The loss is the mean over pairs of (d_ij - d(q_i, q_j))^2, or what takes its place when distances
are clipped or wrong (docs/embedding.md). It has wrong minima that one random start in several ends
in, so: several starts on a subset of the points, the best one extended to all and refined on all
pairs. The starts also give the certificate: the right minimum is found again and again, wrong ones
differ from each other.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cryotwin.imaging.errors import InputError
from cryotwin.imaging.fundamental_domain import domain_radius
from cryotwin.imaging.point_groups import parse_point_group, symmetry_quaternions
from cryotwin.imaging.rotations import (
    canonical_quaternions,
    pairwise_distances,
)
from cryotwin.recovery.certificate import Evidence, certify
from cryotwin.recovery.distance_tables import fill_gaps, read_table
from cryotwin.recovery.embedding_descent import Terms, fit
from cryotwin.recovery.embedding_losses import LOSSES, ErrorModel
from cryotwin.recovery.plain_embedding import PlainEmbedder
from cryotwin.recovery.symmetric_embedding import SymmetricEmbedder

Array = NDArray[np.float64]
Table = NDArray[np.float32]

_ROWS = 256
_MORE_STARTS = 4
"""While too few starts agree, so many times as many are made, on more landmarks."""

_WANTED = 3
"""Starts that have to end in the best solution."""

_NEIGHBOURS = 40
"""Landmarks should have so many distances among each other, on average."""

_START_RENEWALS = 6
_RENEWALS = 25
_EXACT_RAD2 = 1e-8
"""Loss of exact distances: there is no error to model."""

_SAME_SOLUTION_RAD = 0.1
"""Root mean square difference of the induced distances below which two starts agree: two descents
into one minimum differ by less than 0.02 rad, two minima by 0.4 rad and more."""

_SAME_EXACT_RAD = 0.01
"""The same for solutions of exact distances."""

_SAME_SOLUTION_SHARE = 0.15
"""The same under a point group, as a share of the standard deviation of the distances, which are
the smaller the larger the group is."""


@dataclass(frozen=True)
class Embedding:
    """Orientations that fit the distances, up to R -> A R B and R -> R^T (docs/gauge.md).

    Attributes:
        quaternions: (P, 4), w >= 0.
        loss: mean over pairs of the squared difference of distances, rad^2: equation (4).
        start_losses: (S,) the loss of each start on the landmarks, ascending, rad^2.
        agreeing_starts: how many of them, the best included, ended in the same solution.
        expected_error_rad: mean error of the orientations, if the errors of the distances are
            independent and the minimum is the right one; those of a network are not, and theirs
            is larger.
        trusted: whether the certificate holds.
        reason: the certificate in a sentence.
    """

    quaternions: Array
    loss: float
    start_losses: Array
    agreeing_starts: int
    expected_error_rad: float
    trusted: bool
    reason: str


def embed_distances(
    distances: NDArray[np.floating],
    *,
    symmetry: str = "C1",
    seed: int = 0,
    starts: int = 12,
    loss: str = "clipped",
    weights: str | NDArray[np.floating] = "distance",
    limit_rad: float = np.pi,
) -> Embedding:
    """Finds orientations whose distances are the given ones, equation (4) of the paper.

    docs/embedding.md derives the losses, and says which is for what.

    Args:
        distances: (P, P) in rad, symmetric, in [0, pi], P >= 4; NaN where there is none.
        symmetry: point group G of the particle; the distances are those of
            `pairwise_distances(symmetry=G)`.
        seed: of the random starts.
        starts: how many starts to make at first; more follow while they do not agree.
        loss: "squares" (equation (4)), "clipped" (least squares of distances that were clipped to
            [0, limit]) or "robust" (the same, and some distances are wrong altogether).
        weights: "equal"; "distance", by the variance of the errors as a function of the distance,
            as the fit shows it; or (P, P), symmetric, at least 0.
        limit_rad: larger distances are not trusted, and taken as "at least this". The pairs
            spread out until they are (3.3 of the paper).

    Raises:
        InputError: distances of another shape, asymmetric, infinite or out of range, distances
            that do not connect or determine the orientations, or an unknown option.
    """
    _check_options(starts, loss, weights, limit_rad)
    group = parse_point_group(symmetry)
    given = None if isinstance(weights, str) else weights
    data = read_table(distances, given, limit_rad)
    method = PlainEmbedder(limit_rad) if group == "C1" else SymmetricEmbedder(group)
    task = _Task(data, group, limit_rad)
    found = _search(task, method, starts, np.random.default_rng(seed))
    quaternions = _extend(task, method, found)
    if task.loss(quaternions) > _EXACT_RAD2:
        quaternions = _renew(task, method, quaternions, loss, isinstance(weights, str) and weights)
    quaternions = canonical_quaternions(quaternions)
    evidence = task.evidence(quaternions, found)
    trusted, reason = certify(evidence, quaternions, group)
    return Embedding(
        quaternions=quaternions,
        loss=evidence.loss,
        start_losses=np.sort(found.losses),
        agreeing_starts=found.agreeing,
        expected_error_rad=evidence.expected_error_rad,
        trusted=trusted,
        reason=reason,
    )


def embedding_loss(
    distances: NDArray[np.floating],
    quaternions: NDArray[np.floating],
    *,
    symmetry: str = "C1",
    limit_rad: float = np.pi,
) -> float:
    """Gives the mean over pairs of (d_ij - d(q_i, q_j))^2 in rad^2, equation (4).

    Pairs without a distance (NaN) do not count. Two distances above the limit are alike.
    """
    total, pairs = 0.0, 0
    for start in range(0, len(distances), _ROWS):
        rows = slice(start, start + _ROWS)
        induced = pairwise_distances(quaternions[rows], quaternions, symmetry=symmetry)
        wanted = np.asarray(distances[rows], dtype=np.float64)
        beyond = (wanted >= limit_rad) & (induced >= limit_rad) & (limit_rad < np.pi)
        nearer = np.minimum(wanted, limit_rad) if limit_rad < np.pi else wanted
        residual = np.where(beyond, 0, nearer - induced)
        residual[np.arange(len(residual)), np.arange(start, start + len(residual))] = np.nan
        total += float(np.nansum(residual**2))
        pairs += int(np.isfinite(residual).sum())
    return total / pairs


@dataclass(frozen=True)
class _Task:
    """What is to be embedded: distances, their point group and how far they are trusted."""

    data: Terms
    group: str
    limit_rad: float

    @property
    def elements(self) -> Array:
        return symmetry_quaternions(self.group)

    def wanted(self, starts: int) -> int:
        """Says how many starts have to agree: more where parts may turn, and meet by chance."""
        complete = np.count_nonzero(self.data.weights) == len(self.data.weights) * (
            len(self.data.weights) - 1
        )
        return min(starts, _WANTED if complete else max(_WANTED, starts // 3))

    def among(self, points: NDArray[np.intp]) -> "_Task":
        return _Task(self.data.among(points), self.group, self.limit_rad)

    def within_limit(self) -> Terms:
        """Gives no weight to what is known to be at least the limit."""
        if self.limit_rad == np.pi:
            return self.data
        inside = self.data.targets < self.limit_rad
        return Terms(self.data.targets, np.where(inside, self.data.weights, np.float32(0)))

    def model(self, loss: str = "squares", *, by_distance: bool = False) -> ErrorModel:
        return ErrorModel(
            self.data.targets,
            self.data.weights,
            symmetry=self.group,
            loss=loss,
            limit_rad=self.limit_rad,
            by_distance=by_distance,
        )

    def loss(self, quaternions: Array) -> float:
        known = np.where(self.data.weights > 0, self.data.targets, np.float32(np.nan))
        return embedding_loss(known, quaternions, symmetry=self.group, limit_rad=self.limit_rad)

    def evidence(self, quaternions: Array, found: "_Found") -> Evidence:
        known = self.data.targets[self.data.weights > 0]
        return Evidence(
            loss=self.loss(quaternions),
            variance=float(np.var(known, dtype=np.float64)),
            pairs=known.size // 2,
            particles=len(quaternions),
            starts=len(found.losses),
            agreeing=found.agreeing,
            wanted=self.wanted(len(found.losses)),
        )


@dataclass(frozen=True)
class _Found:
    """The best of several starts, on the landmarks."""

    landmarks: NDArray[np.intp]
    quaternions: Array
    losses: Array
    agreeing: int


_Method = PlainEmbedder | SymmetricEmbedder


def _check_options(
    starts: int, loss: str, weights: str | NDArray[np.floating], limit_rad: float
) -> None:
    if starts < 1:
        raise InputError(f"starts must be at least 1, not {starts}")
    if loss not in LOSSES:
        raise InputError(f"loss must be one of {', '.join(map(repr, LOSSES))}, not {loss!r}")
    if isinstance(weights, str) and weights not in ("equal", "distance"):
        raise InputError(f"weights must be 'equal', 'distance' or (P, P) numbers, not {weights!r}")
    if not 0 < limit_rad <= np.pi:
        raise InputError(f"limit_rad must be in (0, pi], not {limit_rad}")


def _search(task: _Task, method: _Method, starts: int, rng: np.random.Generator) -> _Found:
    """Makes starts on landmarks until enough agree; on more landmarks if they do not."""
    count = len(task.data.targets)
    known = np.count_nonzero(task.data.weights) / (count * (count - 1))
    size = min(count, max(method.landmarks, int(np.ceil(_NEIGHBOURS / known))))
    order = rng.permutation(count)
    candidates: list[Array] = []
    for share in range(_MORE_STARTS):
        if share == 0 or (share == 1 and size < count):
            size = min(count, size * (1 + share))
            landmarks, candidates = np.sort(order[:size]), []
            among = task.among(landmarks)
            guesses = fill_gaps(among.data, domain_radius(task.group))
        candidates += [_start(among, method, guesses, rng) for _ in range(starts)]
        found = _judge(among, landmarks, candidates)
        if found.agreeing >= task.wanted(len(candidates)):
            break
    return found


def _start(task: _Task, method: _Method, guesses: Table, rng: np.random.Generator) -> Array:
    found = method.start(task.within_limit(), guesses, rng)
    model = task.model()
    return fit(model, found, task.elements, _START_RENEWALS)[0] if model.iterates else found


def _judge(task: _Task, landmarks: NDArray[np.intp], candidates: list[Array]) -> _Found:
    losses = np.array([task.loss(each) for each in candidates])
    best = candidates[int(np.argmin(losses))]
    spread = float(np.std(task.data.targets[task.data.weights > 0]))
    same = _SAME_SOLUTION_RAD if task.group == "C1" else _SAME_SOLUTION_SHARE * spread
    if losses.min() < _EXACT_RAD2:
        same = _SAME_EXACT_RAD
    induced = pairwise_distances(best, symmetry=task.group)
    differences = [
        np.sqrt(np.mean((pairwise_distances(each, symmetry=task.group) - induced) ** 2))
        for each in candidates
    ]
    return _Found(landmarks, best, losses, int(np.sum(np.array(differences) <= same)))


def _extend(task: _Task, method: _Method, found: _Found) -> Array:
    """Places all points from the landmarks and refines them by least squares."""
    quaternions = found.quaternions
    if len(found.landmarks) < len(task.data.targets):
        to_landmarks = task.data.to(found.landmarks)
        quaternions = method.place(to_landmarks, quaternions)
        quaternions[found.landmarks] = found.quaternions
    if task.limit_rad < np.pi:
        return fit(task.model(), quaternions, task.elements, _START_RENEWALS)[0]
    return method.refine(task.data, quaternions)


def _renew(
    task: _Task, method: _Method, quaternions: Array, loss: str, weights: str | bool
) -> Array:
    """Refines with the model of the errors that was asked for."""
    model = task.model(loss, by_distance=weights == "distance")
    if not model.iterates:
        return quaternions
    quaternions, terms = fit(model, quaternions, task.elements, _RENEWALS)
    if terms is not None and (loss == "robust" or task.limit_rad < np.pi):
        # What was wrong or out of reach may have held a point in a wrong place.
        quaternions = method.refine(terms, quaternions)
        quaternions, _ = fit(model, quaternions, task.elements, _RENEWALS)
    return quaternions
