"""Symmetry: whether what is compared is told right, and drawn."""

import pytest
from matplotlib.figure import Figure

from cryotwin.pipelines.reproduction.result import OURS, PAPER
from cryotwin.pipelines.reproduction.run import jsonable
from cryotwin.pipelines.reproduction.symmetric_distance import (
    PLAIN,
    QUARTER,
    UNDER_GROUP,
    WHOLE,
    draw,
    trends,
)


def case(column, views, distance, loss, error):
    return {
        "column": column,
        "views": views,
        "distance": distance,
        "distance_loss": loss,
        "embedded_o4_error": error,
        "whole_physical_error": None if column == PAPER else error,
        "pairs": [[0.1, 0.2], [1.5, 1.4], [3.0, 2.5]],
    }


def cases(*, whole=0.7, quarter=0.2, restricted=0.3, ours=0.1):
    return [
        case(PAPER, WHOLE, PLAIN, whole, 1.0),
        case(PAPER, QUARTER, PLAIN, quarter, 0.4),
        case(OURS, WHOLE, PLAIN, 0.6, 1.0),
        case(OURS, QUARTER, PLAIN, 0.1, restricted),
        case(OURS, WHOLE, UNDER_GROUP, 0.01, ours),
    ]


@pytest.mark.parametrize(
    ("values", "holds"),
    [
        ({}, [True, True]),
        ({"whole": 0.3}, [False, True]),
        ({"quarter": 0.7}, [None, True]),
        ({"ours": 0.4}, [True, False]),
    ],
)
def test_trends_hold_where_the_numbers_say_so(values, holds):
    assert [trend.holds for trend in trends(cases(**values))] == holds


def test_the_figure_shows_distances_of_three_cases_and_errors_of_all():
    figure = Figure()
    draw(figure, jsonable({"cases": cases(), "group": "D2"}))
    assert [axes.get_title() for axes in figure.axes[:3]] == [
        f"{PAPER}:\nC1, whole sphere",
        f"{PAPER}:\nC1, a quarter",
        f"{OURS}:\nD2, whole sphere",
    ]
    assert [patch.get_width() for patch in figure.axes[3].patches[:5]] == [1.0, 0.4, 1.0, 0.3, 0.1]
