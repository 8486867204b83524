import numpy as np
import pytest
from matplotlib.figure import Figure

from cryotwin.pipelines.reproduction import figure13_nonuniform
from cryotwin.pipelines.reproduction.error_histograms import error_histogram
from cryotwin.pipelines.reproduction.result import OURS, PAPER
from cryotwin.pipelines.reproduction.run import jsonable


def _case(column, orientations, error, resolution, distance_loss=0.1):
    return {
        "column": column,
        "orientations": orientations,
        "curve": [[1.0, 1.1], [0.1, 0.2]],
        "distance_loss": distance_loss,
        "error": error,
        "histogram": error_histogram(error * np.linspace(0.5, 1.5, 20)),
        "fsc": np.exp(-np.arange(17) / 5).tolist(),
        "resolution_angstrom": resolution,
        "box_angstrom": 425.0,
    }


@pytest.fixture
def cases():
    """The paper's column is barely affected, ours in its map."""
    return [
        _case(PAPER, "so3", 0.20, 12.2),
        _case(PAPER, "euler", 0.22, 12.5),
        _case(OURS, "so3", 0.01, 8.0),
        _case(OURS, "euler", 0.01, 11.0),
    ]


def test_what_is_barely_affected_and_what_more_is_told(cases):
    verdicts = [trend.holds for trend in figure13_nonuniform.trends(cases)]
    assert verdicts == [True, True, True, False]


def test_a_tiny_error_may_grow_by_a_small_angle(cases):
    cases[3]["error"] = 0.019
    assert figure13_nonuniform.trends(cases)[2].holds
    cases[3]["error"] = 0.021
    assert not figure13_nonuniform.trends(cases)[2].holds


def test_nothing_is_told_of_an_estimator_that_learned_nothing(cases):
    cases[0]["distance_loss"] = 0.8
    verdicts = [trend.holds for trend in figure13_nonuniform.trends(cases)]
    assert verdicts == [None, None, True, False]


def test_nothing_is_told_of_a_recovery_that_failed(cases):
    cases[0]["error"] = 1.2
    verdicts = [trend.holds for trend in figure13_nonuniform.trends(cases)]
    assert verdicts == [None, None, True, False]


def test_the_figure_is_drawn_from_json(cases):
    figure = Figure(layout="constrained")
    figure13_nonuniform.draw(figure, jsonable({"particle": "A", "cases": cases}))
    assert len(figure.get_axes()) == 4
