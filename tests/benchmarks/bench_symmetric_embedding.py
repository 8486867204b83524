"""How often distances with errors become the right orientations under a point group, and how right.

`make bench ARGS="tests/benchmarks/bench_symmetric_embedding.py"` prints a line for each group and
error. An embedding counts as right when it ends where the descent from the true orientations ends.
"""

import time

import numpy as np
import pytest

from cryotwin.imaging.rotations import (
    matrices_to_quaternions,
    pairwise_distances,
    quaternions_to_matrices,
    rotation_vectors_to_matrices,
    uniform_quaternions,
)
from cryotwin.recovery.alignment import align_orientations
from cryotwin.recovery.embedding import embed_distances
from cryotwin.recovery.embedding_descent import Terms
from cryotwin.recovery.symmetric_embedding import SymmetricEmbedder

SEEDS = 20
LOOKS = 4
SAME_RAD = 0.02


def with_independent_errors(true, symmetry, spread_rad, rng):
    """Adds a normal error to each distance."""
    errors = np.triu(rng.normal(0, spread_rad, (len(true), len(true))), 1)
    return pairwise_distances(true, symmetry=symmetry) + errors + errors.T


def with_errors_of_features(true, symmetry, spread_rad, rng):
    """Averages the distances between orientations that are each off in every one of four looks.

    All distances of a particle share its errors, as those from the features of a network do.
    """
    looks = rng.normal(size=(LOOKS, len(true), 3))
    exact = pairwise_distances(true, symmetry=symmetry)

    def seen(scale):
        turned = rotation_vectors_to_matrices(scale * looks) @ quaternions_to_matrices(true)
        quaternions = matrices_to_quaternions(turned)
        return np.mean([pairwise_distances(q, symmetry=symmetry) for q in quaternions], axis=0)

    low, high = 0.0, 4 * spread_rad
    for _ in range(12):
        middle = (low + high) / 2
        too_much = np.sqrt(np.mean((seen(middle) - exact) ** 2)) > spread_rad
        low, high = (low, middle) if too_much else (middle, high)
    return seen(low)


@pytest.mark.parametrize("count", [100, 1000])
@pytest.mark.parametrize("spread_rad", [0.03, 0.1, 0.3])
@pytest.mark.parametrize("errors", [with_independent_errors, with_errors_of_features])
def test_embedding_of_d2_with_errors(errors, spread_rad, count, record_result):
    record_result(_line("D2", errors, spread_rad, count))


@pytest.mark.parametrize("symmetry", ["C2", "C7", "D7", "T", "O", "I"])
def test_embedding_of_other_groups_with_errors(symmetry, record_result):
    record_result(_line(symmetry, with_independent_errors, 0.1, 300))


def _line(symmetry, errors, spread_rad, count):
    found, best, trusted, seconds = [], [], [], []
    method = SymmetricEmbedder(symmetry)
    for seed in range(SEEDS):
        rng = np.random.default_rng(seed)
        true = uniform_quaternions(count, rng)
        distances = np.clip(errors(true, symmetry, spread_rad, rng), 0, np.pi)
        np.fill_diagonal(distances, 0)
        begin = time.process_time()
        embedding = embed_distances(distances, symmetry=symmetry, seed=seed)
        seconds.append(time.process_time() - begin)
        trusted.append(embedding.trusted)
        found.append(_error(embedding.quaternions, true, symmetry))
        pairs = (1 - np.eye(count)).astype(np.float32)
        terms = Terms(distances.astype(np.float32), pairs)
        best.append(_error(method.refine(terms, true), true, symmetry))
    right = np.array(found) < np.array(best) + SAME_RAD
    wrong_trusted = int(np.sum(~right & np.array(trusted)))
    kind = errors.__name__.removeprefix("with_").replace("_", " ")
    return (
        f"{symmetry}, {kind}, {spread_rad} rad, P = {count}: right {right.sum()} of {SEEDS}, "
        f"trusted {sum(trusted)} (wrong ones {wrong_trusted}), O(4) error "
        f"{np.mean(found):.4f} rad (largest {max(found):.4f}; from the truth {np.mean(best):.4f}), "
        f"{np.mean(seconds):.1f} s of processor"
    )


def _error(quaternions, true, symmetry):
    return align_orientations(quaternions, true, ambiguity="o4", symmetry=symmetry).mean_error
