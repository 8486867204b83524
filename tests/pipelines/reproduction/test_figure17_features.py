"""Figures 17a and 17b compare heads and numbers of features rightly."""

import pytest
from matplotlib.figure import Figure

from cryotwin.pipelines.reproduction import figure17a_feature_distance as by_head
from cryotwin.pipelines.reproduction import figure17b_feature_dimension as by_dim
from cryotwin.pipelines.reproduction.result import OURS, PAPER
from cryotwin.pipelines.reproduction.run import jsonable


def heads(numbers, losses):
    made = [None if loss is None else numbers(loss, pairs=True) for loss in losses]
    return {
        "levels": ["euclidean", "cosine", "so3"],
        PAPER: made,
        OURS: [None, None, numbers(0.01, pairs=True)],
    }


@pytest.mark.parametrize(
    ("losses", "holds"),
    [
        ([0.2, 0.1, None], [True]),
        ([0.1, 0.2, None], [False]),
        ([0.7, 0.8, None], [None]),
        ([0.7, 0.2, 0.1], [True, True]),
        ([0.2, 0.1, 0.3], [True, False]),
    ],
)
def test_the_head_with_the_lower_loss_is_told(numbers, losses, holds):
    assert [trend.holds for trend in by_head.trends(heads(numbers, losses))] == holds


def dims(numbers, losses):
    made = [numbers(loss, pairs=True) for loss in losses.values()]
    return {"levels": list(losses), PAPER: made, OURS: made}


@pytest.mark.parametrize(
    ("losses", "holds"),
    [
        ({4: 0.3, 16: 0.1, 512: 0.1}, [True, True]),
        ({4: 0.3, 16: 0.2, 512: 0.1}, [True, False]),
        ({4: 0.1, 16: 0.1, 512: 0.1}, [False, True]),
        ({4: 0.3, 512: 0.1}, [True]),
        ({4: 0.9, 16: 0.8, 512: 0.8}, [None, None]),
        ({4: 3.3, 16: 0.1, 512: 0.1}, [None, True]),  # Dead.
    ],
)
def test_four_features_are_few_and_sixteen_enough(numbers, losses, holds):
    trends = by_dim.trends(dims(numbers, losses))
    assert [trend.holds for trend in trends] == holds * 2  # In both columns.


def test_both_are_drawn_from_json(numbers):
    for module, curves, panels in (
        (by_head, heads(numbers, [0.2, 0.1, None]), 4),
        (by_dim, dims(numbers, {4: 0.3, 16: 0.1, 512: 0.1}), 3),
    ):
        figure = Figure(layout="constrained")
        module.draw(figure, jsonable(curves))
        assert len(figure.axes) == panels
