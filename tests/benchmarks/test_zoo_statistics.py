"""The arithmetic behind the benchmarks of the zoo: errors by distance, and costs of errors."""

import numpy as np
import pytest

from cryotwin.imaging.rotations import pairwise_distances, uniform_quaternions
from zoo.cost_curves import (
    Cost,
    CostCurve,
    cheapest_to_reach,
    common_error,
    cost_to_reach,
    trailing_median,
)
from zoo.distance_statistics import errors_by_distance, pairs_of


def true_distances(count=300):
    return pairs_of(pairwise_distances(uniform_quaternions(count, np.random.default_rng(0))))


def test_a_constant_bias_is_the_bias_of_every_bin():
    true = true_distances()
    errors = errors_by_distance(true + 0.2, true)
    np.testing.assert_allclose(errors.bias, 0.2)
    np.testing.assert_allclose(errors.squared_error, 0.04)


def test_the_error_over_all_pairs_is_their_plain_mean():
    rng = np.random.default_rng(1)
    true = true_distances()
    estimated = true + rng.normal(0, 0.1 + true / 5)
    errors = errors_by_distance(estimated, true)
    assert errors.pairs.sum() == len(true)
    assert errors.mean_squared_error == pytest.approx(np.mean((estimated - true) ** 2))


def test_pairs_of_uniform_orientations_crowd_at_large_distances():
    true = true_distances(600)
    errors = errors_by_distance(true, true, bins=4)
    edges = errors.edges
    expected = np.diff(edges - np.sin(edges)) / np.pi  # The density is sin^2(d / 2), scaled.
    np.testing.assert_allclose(errors.pairs / errors.pairs.sum(), expected, atol=0.01)


def test_the_uniform_error_weighs_rare_small_distances_like_common_large_ones():
    true = np.array([0.1, *[3.0] * 99])
    errors = errors_by_distance(true + np.array([1.0, *[0.0] * 99]), true, bins=2)
    assert errors.mean_squared_error == pytest.approx(0.01)
    assert errors.uniform_squared_error == pytest.approx(0.5)


def test_a_bin_without_pairs_has_no_error_and_counts_for_nothing():
    errors = errors_by_distance(np.array([3.1]), np.array([3.0]), bins=2)
    assert np.isnan(errors.bias[0])
    assert errors.mean_squared_error == pytest.approx(0.01)
    assert errors.uniform_squared_error == pytest.approx(0.01)


def test_the_largest_distance_falls_into_the_last_bin():
    assert errors_by_distance(np.array([np.pi]), np.array([np.pi])).pairs[-1] == 1


def test_the_trailing_median_looks_back_only():
    values = [5.0, 1.0, 4.0, 4.0, 0.0]
    np.testing.assert_allclose(trailing_median(values, 3), [5, 3, 4, 4, 4])


def test_an_error_costs_what_it_took_until_it_was_first_reached():
    falling = CostCurve.from_points([(10, 512, 3), (20, 1024, 2), (30, 1536, 1), (40, 2048, 2)])
    assert cost_to_reach(falling, 2.0) == Cost(20.0, 1024.0)
    assert cost_to_reach(falling, 0.5) is None


def test_one_lucky_evaluation_does_not_count_as_reached():
    noisy = CostCurve.from_points([(10, 1, 3), (20, 2, 0.1), (30, 3, 3), (40, 4, 3)])
    assert cost_to_reach(noisy, 1.0) == Cost(20.0, 2.0)
    assert cost_to_reach(noisy.smoothed(3), 1.0) is None


def test_of_several_trainings_the_cheapest_counts():
    slow = CostCurve.from_points([(100, 10, 1.0), (200, 20, 0.1)])
    fast = CostCurve.from_points([(50, 5, 0.5)])
    assert cheapest_to_reach([slow, fast], 0.5) == Cost(50.0, 5.0)
    assert cheapest_to_reach([slow, fast], 0.1) == Cost(200.0, 20.0)
    assert cheapest_to_reach([slow, fast], 0.01) is None


def test_the_common_error_is_the_lowest_of_the_side_that_does_worse():
    good = CostCurve.from_points([(1, 1, 0.5), (2, 2, 0.02)])
    poor = CostCurve.from_points([(1, 1, 0.9), (2, 2, 0.3)])
    assert common_error([good], [poor]) == 0.3
    assert common_error([poor, good], [poor]) == 0.3


def test_a_curve_takes_its_error_from_the_column_that_is_asked_for():
    rows = [(1.0, 2.0, 3.0, 4.0)]
    assert CostCurve.from_points(rows).error == 3.0
    assert CostCurve.from_points(rows, error=3).error == 4.0


def test_a_training_that_counts_at_its_end_costs_all_of_it():
    curve = CostCurve.from_points([(10, 1, 0.1), (20, 2, 0.3)])
    assert cost_to_reach(curve.end, 0.2) is None
    assert cost_to_reach(curve.end, 0.3) == Cost(20.0, 2.0)
