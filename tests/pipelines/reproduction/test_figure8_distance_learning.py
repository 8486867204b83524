"""Figure 8: convergence, the plateau, and where outliers come from, on made-up trials."""

import numpy as np
import pytest
from matplotlib.figure import Figure
from scipy.stats import hypergeom

from cryotwin.pipelines.reproduction.estimated_distances import shown
from cryotwin.pipelines.reproduction.figure8_distance_learning import (
    draw,
    expected_overlap,
    trends,
)
from cryotwin.pipelines.reproduction.result import OURS, PAPER
from cryotwin.pipelines.reproduction.run import jsonable

TRUE = np.linspace(0.01, np.pi, 1000)
CONVERGED = [[loss, loss] for loss in (0.8, 0.4, 0.2, 0.15, *[0.12] * 16)]


def case(column, estimated=TRUE, *, curve=CONVERGED, particle="a", **more):
    pairs = np.stack([TRUE, estimated], axis=1)
    return {
        "column": column,
        "particle": particle,
        "curve": curve,
        "pairs": pairs,
        "distance_loss": float(np.mean((estimated - TRUE) ** 2)),
        "training_passes": 1000,
        "training_seconds": 60.0,
        **more,
    }


def verdicts(cases):
    return [trend.holds for trend in trends(cases)]


def test_a_plateau_is_told_and_that_ours_is_less():
    plateau = np.minimum(TRUE, 2.4)
    assert verdicts([case(PAPER, plateau), case(OURS)]) == [True, True, True]
    assert verdicts([case(PAPER), case(OURS, plateau)]) == [True, False, False]


def test_a_loss_that_still_falls_has_not_converged():
    falling = [[loss, loss] for loss in np.linspace(0.8, 0.2, 20)]
    assert verdicts([case(PAPER, curve=falling), case(OURS)])[0] is False


def test_a_loss_that_never_falls_has_not_converged():
    flat = [[0.2, 0.2]] * 20
    assert verdicts([case(PAPER, curve=flat), case(OURS)])[0] is False


def test_a_short_training_tells_nothing():
    short = [[0.8, 0.8], [0.7, 0.7], [0.6, 0.6]]
    assert verdicts([case(PAPER, curve=short), case(OURS)]) == [None, None, None]


@pytest.mark.parametrize("explained", [True, False])
def test_outliers_come_from_nearer_copies_or_not(explained):
    rng = np.random.default_rng(0)
    has_copy = rng.random(len(TRUE)) < 0.5
    seen = has_copy if explained else rng.random(len(TRUE)) < 0.5
    far = TRUE > 1.5
    nearest = np.where(has_copy & far, TRUE - 1.3, TRUE)
    estimated = np.where(seen & far, TRUE - 1.3, TRUE)
    paper = case(PAPER, estimated, nearest_copies=nearest)
    assert verdicts([paper, case(OURS)])[-1] is explained


def test_a_plateau_alone_is_not_mistaken_for_symmetry():
    """At large distances there are more nearer copies and more outliers, but not together."""
    rng = np.random.default_rng(1)
    nearest = np.where(rng.random(len(TRUE)) < TRUE / np.pi, TRUE * 0.4, TRUE)
    estimated = np.where(rng.random(len(TRUE)) < TRUE / np.pi, TRUE * 0.4, TRUE)
    paper = case(PAPER, estimated, nearest_copies=nearest)
    assert verdicts([paper, case(OURS)])[-1] is False


def test_the_expected_overlap_is_hypergeometric():
    first, second = np.arange(20) < 8, np.arange(20) % 4 == 0
    mean, variance = expected_overlap(first, second, np.zeros(20, int))
    reference = hypergeom(20, first.sum(), second.sum())
    assert (mean, variance) == pytest.approx((reference.mean(), reference.var()))


def test_strata_of_one_pair_tell_nothing():
    both = np.array([True, False, True])
    assert expected_overlap(both, both, np.arange(3)) == (2.0, 0.0)


def test_it_is_drawn_from_json():
    cases = [
        {**case(column, particle=particle), "pairs": shown(np.stack([TRUE, TRUE], axis=1))}
        for particle in "ab"
        for column in (PAPER, OURS)
    ]
    figure = Figure(layout="constrained")
    draw(figure, jsonable({"cases": cases}))
    assert [axes.get_title() for axes in figure.axes] == [
        "a: loss",
        "b: loss",
        "a: distances",
        "b: distances",
    ]
