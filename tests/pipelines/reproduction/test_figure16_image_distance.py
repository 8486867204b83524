import numpy as np
import pytest
from matplotlib.figure import Figure

from cryotwin.imaging.orientations import draw_quaternions
from cryotwin.imaging.rotations import pairwise_distances
from cryotwin.pipelines.reproduction import figure16_image_distance
from cryotwin.pipelines.reproduction.figure16_image_distance import (
    EUCLIDEAN,
    dependence,
    evenly_chosen,
    image_distances,
)
from cryotwin.pipelines.reproduction.recovery_cases import QUARTER
from cryotwin.pipelines.reproduction.result import OURS
from cryotwin.pipelines.reproduction.run import jsonable


def _distances(orientations, symmetry):
    """Gives the distances of 5 orientations to 800 others."""
    quaternions = draw_quaternions(orientations, 805, np.random.default_rng(0))
    return pairwise_distances(quaternions[:5], quaternions[5:], symmetry=symmetry)


def test_image_distances_are_root_mean_squares():
    images = np.random.default_rng(0).standard_normal((4, 8, 8))
    found = image_distances(images[:2], images)
    assert found[0, 0] == 0
    assert found[0, 3] == pytest.approx(np.linalg.norm(images[0] - images[3]) / 8)


def test_an_exact_distance_has_a_rank_correlation_of_one_everywhere():
    true = _distances("so3", "C1")
    numbers = dependence(true, true)
    assert numbers == pytest.approx({"near": 1, "far": 1, "alike_but_far": 0})


def test_a_distance_that_saturates_has_none_at_large_distances():
    true = _distances("so3", "C1")
    noise = np.random.default_rng(1).normal(0, 0.01, true.shape)
    numbers = dependence(true, np.tanh(2 * true) + noise)
    assert numbers["near"] > 0.9
    assert abs(numbers["far"]) < 0.1


def test_symmetric_views_are_alike_though_far_apart_but_not_on_a_quarter():
    """Three of the four copies under D2 are half a turn away."""
    shares = {
        orientations: dependence(_distances(orientations, "C1"), _distances(orientations, "D2"))
        for orientations in ("so3", QUARTER)
    }
    assert shares["so3"]["alike_but_far"] > 60
    assert shares[QUARTER]["alike_but_far"] < shares["so3"]["alike_but_far"] / 2


def test_pairs_that_are_shown_are_spread_evenly_over_the_distances():
    true = _distances("so3", "C1")
    shown = np.take_along_axis(true, evenly_chosen(true), axis=1)
    counts, _ = np.histogram(shown, 4, (0, np.pi))
    assert counts.min() > 0.4 * counts.max()  # None is very near.
    assert (shown[:, -1] == true.max(axis=1)).all()


def _case(particle, orientations, distance, near, far, alike_but_far):
    true = _distances(orientations, "C1")[:, :20]
    return {
        "particle": particle,
        "orientations": orientations,
        "distance": distance,
        "symmetry": "C1",
        "near": near,
        "far": far,
        "alike_but_far": alike_but_far,
        "true": true.tolist(),
        "found": (true / 2).tolist(),
    }


@pytest.fixture
def cases():
    return [
        _case("A", "so3", EUCLIDEAN, 0.8, 0.05, 1.0),
        _case("A", "so3", OURS, 1.0, 0.9, 0.0),
        _case("S", "so3", EUCLIDEAN, 0.7, 0.1, 70.0),
        _case("S", QUARTER, EUCLIDEAN, 0.7, 0.1, 5.0),
        _case("S", "so3", OURS, 1.0, 0.9, 0.0),
    ]


def test_what_the_paper_shows_holds(cases):
    assert all(trend.holds for trend in figure16_image_distance.trends(cases, "A", "S"))


def test_the_contrary_is_told(cases):
    for case in cases:
        case |= {"near": 0.4, "far": 0.4, "alike_but_far": 30.0}
    found = figure16_image_distance.trends(cases, "A", "S")
    assert not any(trend.holds for trend in found)


def test_a_particle_without_symmetry_is_enough(cases):
    assert len(figure16_image_distance.trends(cases[:2], "A", "A")) == 2


def test_the_figure_is_drawn_from_json(cases):
    figure = Figure(layout="constrained")
    figure16_image_distance.draw(figure, jsonable({"cases": cases}))
    assert len(figure.get_axes()) == 6
