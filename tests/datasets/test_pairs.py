import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import kstest

from cryotwin.datasets import pairs as pairs_module
from cryotwin.datasets.pairs import pair_distances, sample_pairs
from cryotwin.imaging.errors import InputError
from cryotwin.imaging.fundamental_domain import domain_radius
from cryotwin.imaging.orientations import draw_quaternions
from cryotwin.imaging.rotations import orientation_distances, pairwise_distances


def drawn(count: int, spec: str = "so3", seed: int = 0) -> np.ndarray:
    return draw_quaternions(spec, count, np.random.default_rng(seed))


@pytest.mark.parametrize("symmetry", ["C1", "C3", "D2", "O"])
def test_distances_of_the_pairs_are_uniform_up_to_the_largest_of_the_group(symmetry):
    quaternions = drawn(1000)
    pairs = sample_pairs(quaternions, 3000, np.random.default_rng(1), symmetry=symmetry)
    distances = pair_distances(quaternions, pairs, symmetry=symmetry)
    assert kstest(distances, "uniform", (0, domain_radius(symmetry))).pvalue > 0.01


@pytest.mark.parametrize("spec", ["so3", "euler", "so3-quarter", "vmf:30:3"])
def test_distances_are_uniform_for_views_that_are_not(spec):
    quaternions = drawn(1500, spec)
    distances = pair_distances(
        quaternions, sample_pairs(quaternions, 3000, np.random.default_rng(1))
    )
    assert kstest(distances, "uniform", (0, np.pi)).pvalue > 0.01


def test_blind_pairs_would_not_be_uniform():
    first, second = drawn(2000).reshape(2, 1000, 4)
    assert kstest(orientation_distances(first, second), "uniform", (0, np.pi)).pvalue < 1e-6


@given(st.integers(2, 30), st.integers(1, 200), st.integers(0, 2**32 - 1))
def test_a_pair_is_of_two_particles_of_the_set_in_order(particles, count, seed):
    pairs = sample_pairs(drawn(particles, seed=seed), count, np.random.default_rng(seed))
    assert pairs.shape == (count, 2)
    assert (pairs[:, 0] < pairs[:, 1]).all()
    assert pairs.min() >= 0
    assert pairs.max() < particles


def test_a_hundred_thousand_particles_give_uniform_distances_down_to_the_smallest():
    quaternions = drawn(100_000)
    pairs = sample_pairs(quaternions, 20_000, np.random.default_rng(1))
    distances = pair_distances(quaternions, pairs)
    assert kstest(distances, "uniform", (0, np.pi)).pvalue > 0.01
    near = pairs[distances < 0.1]
    assert len(near) == pytest.approx(20_000 * 0.1 / np.pi, rel=0.02)
    assert len(np.unique(near, axis=0)) > 0.98 * len(near)  # Not a few of them again and again.
    assert len(np.unique(pairs)) > 30_000


@pytest.mark.parametrize("symmetry", ["C1", "C5", "D2", "I"])
def test_the_near_pairs_of_a_large_set_are_all_that_there_are(symmetry):
    quaternions = drawn(400)
    largest = 0.2
    found = pairs_module._near_pairs(quaternions, largest, symmetry)
    apart = np.triu(pairwise_distances(quaternions, symmetry=symmetry) <= largest, 1)
    expected = np.argwhere(apart)
    assert len(expected) > 20
    assert np.array_equal(found, expected)


def test_few_candidates_of_a_set_that_is_large_for_them_still_give_uniform_distances(monkeypatch):
    monkeypatch.setattr(pairs_module, "_CANDIDATES", 20_000)
    for symmetry in ("C1", "D2"):
        quaternions = drawn(3000)
        pairs = sample_pairs(quaternions, 2000, np.random.default_rng(1), symmetry=symmetry)
        distances = pair_distances(quaternions, pairs, symmetry=symmetry)
        assert kstest(distances, "uniform", (0, domain_radius(symmetry))).pvalue > 0.01
        assert (pairs[:, 0] < pairs[:, 1]).all()


def test_pairs_follow_from_the_generator():
    quaternions = drawn(100)
    first, again, other = (
        sample_pairs(quaternions, 50, np.random.default_rng(seed)) for seed in (1, 1, 2)
    )
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_bad_arguments_are_quoted():
    rng = np.random.default_rng(0)
    with pytest.raises(InputError, match=r"\(P, 4\) with P >= 2, not \(1, 4\)"):
        sample_pairs(drawn(1), 5, rng)
    with pytest.raises(InputError, match="at least 1, not 0"):
        sample_pairs(drawn(5), 0, rng)
    with pytest.raises(InputError, match="not 'K2'"):
        sample_pairs(drawn(5), 5, rng, symmetry="K2")
