"""Preferred views: how narrow a concentration is, and whether trends are told right."""

import numpy as np
import pytest
from matplotlib.figure import Figure

from cryotwin.imaging.orientations import draw_quaternions
from cryotwin.imaging.rotations import quaternions_to_matrices
from cryotwin.pipelines.reproduction.preferred_views import draw, half_within_degrees, trends
from cryotwin.pipelines.reproduction.result import OURS, PAPER
from cryotwin.pipelines.reproduction.run import jsonable


def case(concentration, *, loss=0.02, error=0.02, trusted=True):
    found = {
        "distance_loss": loss,
        "o4_error": 0.2,
        "physical_error": 1.0,
        "resolution": None if error is None else 30.0,
        "resolution_limit": 27.0,
    }
    ours = {"whole_physical_error": error, "trusted": trusted, "reason": "because"}
    return {
        "concentration": concentration,
        "half_within": 30.0,
        PAPER: found | {"whole_physical_error": None, "trusted": None, "reason": None},
        OURS: found | ours,
    }


@pytest.mark.parametrize("concentration", [1, 3, 30, 100])
def test_half_of_the_views_are_within_the_angle_that_is_told(concentration):
    name = f"vmf:{concentration}:40,70"
    views = quaternions_to_matrices(draw_quaternions(name, 4000, np.random.default_rng(0)))[:, 2]
    rot, tilt = np.radians((40, 70))
    axis = [np.sin(tilt) * np.cos(rot), np.sin(tilt) * np.sin(rot), np.cos(tilt)]
    median = np.degrees(np.median(np.arccos(views @ axis)))
    assert half_within_degrees(concentration) == pytest.approx(median, rel=0.05)


def test_without_concentration_half_of_the_views_are_on_the_half_of_the_sphere():
    assert half_within_degrees(0) == 90


@pytest.mark.parametrize(
    ("narrow", "holds"),
    [
        ({}, [True, True, True]),
        ({"loss": 0.1}, [False, False, True]),
        ({"error": 0.9}, [True, True, False]),
        ({"error": 0.9, "trusted": False}, [True, True, True]),
        ({"error": None, "trusted": False}, [True, True, True]),
        ({"trusted": False}, [True, True, False]),
    ],
)
def test_trends_hold_where_the_numbers_say_so(narrow, holds):
    assert [trend.holds for trend in trends([case(0), case(30, **narrow)])] == holds


def test_nothing_is_told_of_distances_that_were_not_learned():
    assert [trend.holds for trend in trends([case(0, loss=0.7)])][:2] == [None, None]


def test_the_figure_leaves_out_what_was_refused():
    cases = [case(0), case(30, error=0.8, trusted=False), case(100, error=None, trusted=False)]
    figure = Figure()
    draw(figure, jsonable({"cases": cases}))
    assert len(figure.axes) == 3
