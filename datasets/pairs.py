"""Pairs of particles whose distances are uniform, for training and for measuring.

Between uniform orientations the density of the distance is proportional to sin^2(d/2): pairs
drawn blindly are nearly all far apart, and an estimator that learns from them is poor at small
distances. The paper resamples the distances to be uniform (its Appendix A).
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial import cKDTree

from cryotwin.imaging.errors import InputError
from cryotwin.imaging.fundamental_domain import domain_radius, to_fundamental_domain
from cryotwin.imaging.point_groups import symmetry_quaternions
from cryotwin.imaging.rotations import multiply_quaternions, orientation_distances

_CANDIDATES = 2**20
"""Pairs that are drawn blindly, and about as many near ones: bounds the memory."""

_BATCH = 2**17

Pairs = NDArray[np.int64]


def sample_pairs(
    quaternions: ArrayLike, count: int, rng: np.random.Generator, *, symmetry: str = "C1"
) -> Pairs:
    """Draws pairs whose distances are as uniform as the set of orientations allows.

    `count` distances are drawn uniformly between the smallest and the largest of the set, one from
    each of `count` equal intervals, and for each the pair whose distance is nearest is taken. So
    the chance of a pair is the inverse of the density at its distance. Where the set has few
    pairs, they are taken more than once.

    Candidates are all pairs where these are few; else pairs drawn blindly, with all pairs that
    are nearer to each other than hardly any of those.

    Args:
        quaternions: P >= 2 orientations (P, 4).
        count: how many pairs.
        rng: where the randomness comes from.
        symmetry: point group of the particle; distances are those under it.

    Returns:
        Indices (count, 2), i < j in each row, rows in random order.

    Raises:
        InputError: fewer than two orientations, a count below 1, or an unknown point group.
    """
    quaternions = np.asarray(quaternions, dtype=np.float64)
    if quaternions.ndim != 2 or quaternions.shape[1] != 4 or len(quaternions) < 2:
        raise InputError(f"quaternions must be (P, 4) with P >= 2, not {quaternions.shape}")
    if count < 1:
        raise InputError(f"the number of pairs must be at least 1, not {count}")
    pairs = _candidates(quaternions, rng, symmetry)
    distances = pair_distances(quaternions, pairs, symmetry=symmetry)
    order = rng.permutation(len(pairs))  # Pairs at one distance are all as likely.
    order = order[np.argsort(distances[order], kind="stable")]
    ascending = distances[order]
    steps = (np.arange(count) + rng.random(count)) / count
    wanted = ascending[0] + (ascending[-1] - ascending[0]) * steps
    return pairs[order[_nearest(ascending, wanted)]][rng.permutation(count)]


def pair_distances(
    quaternions: ArrayLike, pairs: Pairs, *, symmetry: str = "C1"
) -> NDArray[np.float64]:
    """Gives the distances (M,) in rad of pairs (M, 2) of orientations (P, 4)."""
    quaternions = np.asarray(quaternions, dtype=np.float64)
    distances = np.empty(len(pairs))
    for start in range(0, len(pairs), _BATCH):
        first, second = quaternions[pairs[start : start + _BATCH].T]
        distances[start : start + _BATCH] = orientation_distances(first, second, symmetry=symmetry)
    return distances


def _candidates(quaternions: NDArray[np.float64], rng: np.random.Generator, symmetry: str) -> Pairs:
    count = len(quaternions)
    total = count * (count - 1) // 2
    if total <= 2 * _CANDIDATES:
        return np.stack(np.triu_indices(count, 1), axis=1)
    blind = _blind_pairs(count, rng)
    distances = pair_distances(quaternions, blind, symmetry=symmetry)
    # As many pairs of the whole set are nearer than this as there are candidates.
    nearest = float(np.quantile(distances, _CANDIDATES / total))
    near = _near_pairs(quaternions, nearest, symmetry)
    return np.concatenate([blind[distances > nearest], near])


def _blind_pairs(count: int, rng: np.random.Generator) -> Pairs:
    first = rng.integers(count, size=_CANDIDATES)
    second = rng.integers(count - 1, size=_CANDIDATES)
    second += second >= first
    return np.stack([np.minimum(first, second), np.maximum(first, second)], axis=1)


def _near_pairs(quaternions: NDArray[np.float64], largest: float, symmetry: str) -> Pairs:
    """Finds all pairs with distances up to `largest` rad: a search among points in R^4."""
    inside = to_fundamental_domain(quaternions, symmetry)
    copies, owners = _copies_around_domain(inside, largest, symmetry)
    chord = 2 * np.sin(largest / 4)
    found = cKDTree(inside).sparse_distance_matrix(cKDTree(copies), chord, output_type="ndarray")
    first, second = found["i"].astype(np.int64), owners[found["j"]]
    pairs = np.stack([first, second], axis=1)[first < second]
    return np.unique(pairs, axis=0)


def _copies_around_domain(
    inside: NDArray[np.float64], margin: float, symmetry: str
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Gives the points +-q g that lie within `margin` of the domain, and whose copies they are."""
    smallest = np.cos(min(2 * np.pi, domain_radius(symmetry) + margin) / 2) - 1e-9
    points, owners = [], []
    for g in symmetry_quaternions(symmetry):
        copies = multiply_quaternions(inside, g)
        for signed in (copies, -copies):
            near = np.flatnonzero(signed[:, 0] >= smallest)
            points.append(signed[near])
            owners.append(near)
    return np.concatenate(points), np.concatenate(owners)


def _nearest(ascending: NDArray[np.float64], wanted: NDArray[np.float64]) -> NDArray[np.int64]:
    """Gives for each wanted value the place of the nearest among ascending ones."""
    after = np.clip(np.searchsorted(ascending, wanted), 1, len(ascending) - 1)
    before = after - 1
    return np.where(wanted - ascending[before] <= ascending[after] - wanted, before, after)
