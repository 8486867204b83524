import numpy as np
import pytest
from matplotlib.figure import Figure

from cryotwin.pipelines.reproduction import figure10_recovery
from cryotwin.pipelines.reproduction.error_histograms import error_histogram
from cryotwin.pipelines.reproduction.figure10_recovery import trends
from cryotwin.pipelines.reproduction.result import OURS, PAPER
from cryotwin.pipelines.reproduction.run import jsonable


@pytest.fixture
def case():
    """Gives case(particle, noise, column, error): as the experiment has it."""

    def make(particle, noise, column, error, *, distance_loss=0.1):
        steps = [200, 400] if column == PAPER else []
        errors = error * np.linspace(0.5, 1.5, 20)
        return {
            "particle": particle,
            "noise_variance": noise,
            "column": column,
            "distance_loss": distance_loss,
            "error": error,
            "curve": [[1.0, 1.1], [0.1, 0.2]],
            "steps": steps,
            "losses": [0.3, 0.1][: len(steps)],
            "loss": 0.1,
            "histogram": error_histogram(errors),
        }

    return make


@pytest.fixture
def as_reported(case):
    """The paper's errors, and ours at a tenth of them."""
    errors = {("A", 0.0): 0.20, ("A", 16.0): 0.25, ("S", 0.0): 0.13, ("S", 16.0): 0.13}
    return [
        case(*which, column, error * factor)
        for which, error in errors.items()
        for column, factor in ((PAPER, 1), (OURS, 0.1))
    ]


def test_what_the_paper_reports_holds(as_reported):
    found = trends(as_reported, "A", "S")
    assert len(found) == 7
    assert all(trend.holds for trend in found)


def test_the_contrary_is_told(case):
    errors = {("A", 0.0): 0.2, ("A", 16.0): 0.1, ("S", 0.0): 0.3, ("S", 16.0): 0.5}
    cases = [
        case(*which, column, error) for which, error in errors.items() for column in (PAPER, OURS)
    ]
    assert not any(trend.holds for trend in trends(cases, "A", "S"))


def test_nothing_is_told_of_an_estimator_that_learned_nothing(case):
    cases = [
        case("A", noise, column, 0.1 if column == OURS else 1.5, distance_loss=0.8)
        for noise in (0.0, 16.0)
        for column in (PAPER, OURS)
    ]
    *claims, ours = trends(cases, "A", "S")
    assert [trend.holds for trend in claims] == [None, None]
    assert ours.holds


def test_nothing_is_told_of_recoveries_that_failed(case):
    errors = {("A", 0.0): 1.2, ("A", 16.0): 1.5, ("S", 0.0): 1.1, ("S", 16.0): 1.3}
    cases = [
        case(*which, column, error) for which, error in errors.items() for column in (PAPER, OURS)
    ]
    assert {trend.holds for trend in trends(cases, "A", "S")[:-1]} == {None}


def test_the_figure_is_drawn_from_json(as_reported):
    figure = Figure(layout="constrained")
    figure10_recovery.draw(figure, jsonable({"cases": as_reported}))
    assert len(figure.get_axes()) == 12
