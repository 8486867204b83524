"""How right and how fast distances become orientations: exact ones, and the paper's Figure 7.

`make bench ARGS="-k bench_embedding"`; one core: with OMP_NUM_THREADS=1.
"""

import time

import numpy as np
import pytest

from cryotwin.imaging.rotations import pairwise_distances, uniform_quaternions
from cryotwin.recovery.alignment import align_orientations
from cryotwin.recovery.embedding import embed_distances

COUNT = 1650
SEEDS = 50
CURVE_SEEDS = 5
VARIANCES_RAD2 = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8)


def perturbed(true, variance_rad2, seed):
    """Adds a normal error to each distance and clips to [0, pi], as the paper does."""
    errors = np.random.default_rng(seed).normal(0, np.sqrt(variance_rad2), (len(true),) * 2)
    errors = np.triu(errors, 1)
    distances = np.clip(pairwise_distances(true) + errors + errors.T, 0, np.pi)
    np.fill_diagonal(distances, 0)
    return distances


def cramer_rao_bound(true):
    """Gives the least mean angle of unbiased estimates from unclipped distances of variance 1.

    A distance tells of a point's three turns the one about the axis towards the other point. The
    information is a (3 P, 3 P) matrix; six turns of all points together change no distance, and
    drop out with its pseudo-inverse. Its diagonal blocks are the covariances of the errors, whose
    mean length is taken by drawing from them.
    """
    count = len(true)
    w, v = true[:, None, :1], true[:, None, 1:]
    other_w, other_v = np.moveaxis(w, 0, 1), np.moveaxis(v, 0, 1)
    # Ri^T Rj as seen from i; its axis is the same from j.
    axes = w * other_v - other_w * v - np.cross(v, other_v)
    axes *= np.where(w * other_w + np.sum(v * other_v, axis=2, keepdims=True) < 0, -1, 1)
    length = np.linalg.norm(axes, axis=2, keepdims=True)
    axes = (axes / np.where(length > 0, length, 1)).astype(np.float32)
    information = -np.einsum("ija,ijb->iajb", axes, axes)
    each = -np.einsum("iajb->iab", information)
    information[np.arange(count), :, np.arange(count)] = each
    inverse = np.linalg.pinv(
        information.reshape(3 * count, 3 * count).astype(np.float64), rcond=1e-6, hermitian=True
    ).reshape(count, 3, count, 3)
    blocks = inverse[np.arange(count), :, np.arange(count)]
    draws = np.random.default_rng(0).standard_normal((1000, 3))
    roots = np.linalg.cholesky(blocks)
    return float(np.linalg.norm(np.einsum("pab,db->pda", roots, draws), axis=2).mean())


@pytest.fixture(scope="module")
def true():
    return uniform_quaternions(COUNT, np.random.default_rng(0))


@pytest.fixture(scope="module")
def unit_bound(true):
    return cramer_rao_bound(true)


def error_and_seconds(true, distances, seed, **options):
    began = time.process_time()
    embedding = embed_distances(distances, seed=seed, **options)
    seconds = time.process_time() - began
    aligned = align_orientations(embedding.quaternions, true, ambiguity="o4")
    return aligned.mean_error, seconds, embedding.trusted


def test_exact_distances(record_result):
    results = []
    for seed in range(SEEDS):
        true = uniform_quaternions(COUNT, np.random.default_rng(seed))
        results.append(error_and_seconds(true, pairwise_distances(true), seed))
    errors, seconds, trusted = map(np.array, zip(*results, strict=True))
    record_result(
        f"exact distances, P = {COUNT:,}: {np.sum(errors < 1e-4)} of {SEEDS} seeds below 1e-4 rad "
        f"(largest {errors.max():.1e} rad), {trusted.sum()} trusted, {np.median(seconds):.1f} s of "
        f"processor (largest {seconds.max():.1f} s)"
    )
    assert (errors < 1e-4).all()
    assert trusted.all()
    assert np.median(seconds) < 10


def test_perturbed_distances(true, unit_bound, record_result):
    """Figure 7: the mean error against the variance, and the bound of the unclipped problem."""
    for variance in VARIANCES_RAD2:
        bound = np.sqrt(variance) * unit_bound
        ours, squares, seconds, trusted = [], [], [], 0
        for seed in range(CURVE_SEEDS):
            distances = perturbed(true, variance, seed)
            error, spent, sure = error_and_seconds(true, distances, seed)
            ours.append(error)
            seconds.append(spent)
            trusted += sure
            options = {"loss": "squares", "weights": "equal"}
            squares.append(error_and_seconds(true, distances, seed, **options)[0])
        record_result(
            f"variance {variance} rad^2, clipped: error {np.mean(ours):.4f} rad (largest "
            f"{max(ours):.4f}), bound {bound:.4f}, ratio {max(ours) / bound:.3f}; plain squares "
            f"{np.mean(squares):.4f}; {trusted} of {CURVE_SEEDS} trusted, {max(seconds):.1f} s"
        )
        assert max(ours) < 1.15 * bound
    assert max(ours) < 0.07


@pytest.mark.parametrize("share", [0.1, 0.3])
def test_wrong_distances(share, true, unit_bound, record_result):
    """A share of the distances is drawn from those of other pairs; the rest has errors of 0.1."""
    rng = np.random.default_rng(1)
    distances = perturbed(true, 0.01, 0)
    pairs = np.triu_indices(COUNT, 1)
    values = distances[pairs]
    wrong = rng.random(len(values)) < share
    values[wrong] = rng.permutation(values)[wrong]
    distances[pairs] = values
    distances.T[pairs] = values
    texts = []
    for loss in ("squares", "clipped", "robust"):
        error, seconds, trusted = error_and_seconds(true, distances, 0, loss=loss)
        texts.append(f"{loss} {error:.4f} rad ({seconds:.1f} s)")
    bound = np.sqrt(0.01 / (1 - share)) * unit_bound
    record_result(f"{share:.0%} wrong distances: {', '.join(texts)}; bound {bound:.4f}")
    assert trusted
    assert error < 1.25 * bound  # Which are wrong is not told.


@pytest.mark.parametrize("known", [0.5, 0.1, 0.05])
def test_missing_distances(known, true, unit_bound, record_result):
    lost = np.triu(np.random.default_rng(1).random((COUNT, COUNT)) >= known, 1)
    for variance in (0.0, 0.04):
        distances = perturbed(true, variance, 0)
        distances[lost | lost.T] = np.nan
        error, seconds, trusted = error_and_seconds(true, distances, 0)
        bound = np.sqrt(variance / known) * unit_bound
        record_result(
            f"{known:.0%} of the distances, variance {variance}: error {error:.1e} rad, bound "
            f"{bound:.1e}, {'trusted' if trusted else 'not trusted'}, {seconds:.1f} s"
        )
        assert trusted
        assert error < max(1.15 * bound, 1e-4)


@pytest.mark.parametrize("limit_rad", [2.5, 2.0, 1.5])
def test_short_distances_alone(limit_rad, true, record_result):
    """Distances above the limit are "at least that": what keeps the orientations apart."""
    distances = perturbed(true, 0.01, 0)
    error, seconds, trusted = error_and_seconds(true, distances, 0, limit_rad=limit_rad)
    record_result(
        f"distances below {limit_rad} rad ({np.mean(distances < limit_rad):.0%}), variance 0.01: "
        f"error {error:.4f} rad, {'trusted' if trusted else 'not trusted'}, {seconds:.1f} s"
    )
    assert error < 0.1
