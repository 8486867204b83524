"""The gauge: whether errors before and after are told right, and what is shown of maps."""

import pytest
from matplotlib.figure import Figure

from cryotwin.pipelines.reproduction.gauge_effect import (
    EMBEDDED,
    IN_GAUGE,
    WHOLE,
    draw,
    trends,
)
from cryotwin.pipelines.reproduction.result import OURS, PAPER
from cryotwin.pipelines.reproduction.run import jsonable


def case(column, *, before, after, o4=0.1, noise=0.0, loss=0.02):
    def state(error):
        return {
            "o4_error": o4,
            "physical_error": error,
            "resolution_angstrom": 50 * error,
            "slice": ["00ff", "8040"],
        }

    states = {EMBEDDED: state(before), IN_GAUGE: state(after)}
    if column == OURS:
        states[WHOLE] = state(0.02)
    return {"noise_variance": noise, "column": column, "distance_loss": loss, "states": states}


@pytest.mark.parametrize(
    ("before", "after", "holds"),
    [(1.2, 0.12, [False, True]), (0.12, 0.12, [True, True]), (1.2, 1.1, [False, False])],
)
def test_trends_compare_the_physical_with_the_o4_error(before, after, holds):
    found = [case(PAPER, before=0.11, after=0.11), case(OURS, before=before, after=after)]
    assert [trend.holds for trend in trends(found)] == holds


def test_nothing_is_told_by_orientations_of_an_estimator_that_has_not_learned():
    (found,) = {trend.holds for trend in trends([case(OURS, before=1.2, after=1.2, loss=0.7)])}
    assert found is None


def test_the_figure_shows_the_maps_of_the_least_noise():
    cases = [
        case(column, before=1.0, after=0.2, noise=noise)
        for noise in (0.0, 16.0)
        for column in (PAPER, OURS)
    ]
    figure = Figure()
    draw(figure, jsonable({"cases": cases, "true_slice": ["00ff", "ff00"]}))
    titles = [axes.get_title() for axes in figure.axes if axes.images]
    paper = ["true map", EMBEDDED, IN_GAUGE]
    assert titles == [*paper, *paper, WHOLE]
