"""How estimated distances plateau, on distances whose slope and bias are known."""

import numpy as np
import pytest
from matplotlib.figure import Figure

from cryotwin.pipelines.reproduction.estimated_distances import (
    draw_distances,
    largest_bias,
    outliers,
    shown,
    slope_at_large,
)
from cryotwin.pipelines.reproduction.result import OURS, PAPER
from cryotwin.pipelines.reproduction.run import jsonable

TRUE = np.linspace(0, np.pi, 1001)


def test_exact_distances_have_no_bias_and_slope_one():
    pairs = np.stack([TRUE, TRUE], axis=1)
    assert largest_bias(pairs) == pytest.approx((0, 0))
    assert slope_at_large(pairs) == pytest.approx(1)


def test_a_plateau_at_120_degrees_has_slope_zero_and_the_bias_of_the_mean():
    pairs = np.stack([TRUE, np.minimum(TRUE, 2 * np.pi / 3)], axis=1)
    assert slope_at_large(pairs) == pytest.approx(0, abs=1e-9)
    # The last sixth is 165 degrees on average.
    assert largest_bias(pairs)[0] == pytest.approx(np.radians(120 - 165), abs=0.01)


def test_the_standard_error_is_that_of_the_mean():
    errors = np.random.default_rng(0).normal(0, 0.3, len(TRUE))
    pairs = np.stack([TRUE, TRUE + errors], axis=1)
    assert largest_bias(pairs)[1] == pytest.approx(0.3 / np.sqrt(len(TRUE) / 6), rel=0.15)


def test_the_range_is_that_of_the_true_distances():
    # Under D2 it ends at 120 degrees.
    pairs = np.stack([TRUE / 1.5, TRUE / 3], axis=1)
    assert slope_at_large(pairs) == pytest.approx(0.5)
    assert largest_bias(pairs)[0] == pytest.approx(-np.radians(110) / 2, abs=0.01)


def test_outliers_are_off_by_more_than_a_radian_to_either_side():
    assert outliers([[2, 2.9], [2, 3.1], [2, 0.9], [2, 1.1]]).tolist() == [0, 1, 1, 0]


def test_pairs_are_drawn_from_json():
    pairs = jsonable(shown(np.stack([TRUE, TRUE], axis=1)))
    axes = Figure().subplots()
    draw_distances(axes, {PAPER: pairs, OURS: pairs})
    assert len(pairs[0]) == 500
    assert len(axes.lines) == 3
