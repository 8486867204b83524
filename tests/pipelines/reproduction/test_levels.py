"""Losses at levels: which epochs count, what is told of trainings that failed, the table."""

import numpy as np
import pytest
from matplotlib.figure import Figure

from cryotwin.pipelines.reproduction.levels import (
    draw_losses,
    draw_losses_and_recovery,
    is_dead,
    level_numbers,
    level_table,
    settled,
    typical,
)
from cryotwin.pipelines.reproduction.result import OURS, PAPER
from cryotwin.pipelines.reproduction.run import jsonable


def test_the_last_quarter_of_the_epochs_counts_and_at_least_one():
    assert list(settled(range(20))) == [15, 16, 17, 18, 19]
    assert list(settled(range(4))) == [3]
    assert list(settled(range(1))) == [0]


def test_level_numbers_take_both_losses_of_the_settled_epochs():
    curve = [[1.0, 1.1]] * 6 + [[0.5, 0.7], [0.4, 0.6]]
    record = {"curve": curve, "distance_loss": 0.65, "loss": 0.1, "o4_error": 0.2, "errors": [0.2]}
    assert level_numbers(record) == {
        "training": [0.5, 0.4],
        "validation": [0.7, 0.6],
        "distance_loss": 0.65,
        "loss": 0.1,
        "o4_error": 0.2,
    }


def test_whoever_answers_with_zero_is_dead(numbers):
    true = np.linspace(0, np.pi, 10_001)
    assert is_dead(numbers(float(np.mean(true**2))))
    assert not is_dead(numbers(float(np.mean((true - np.pi / 2) ** 2))))


def test_the_table_leaves_out_what_was_not_tried(numbers):
    curves = {"levels": [0.0, 10.0], PAPER: [numbers(0.3), numbers(0.31)], OURS: [None, numbers(0)]}
    table = level_table("losses", "shift", curves)
    assert [row[:2] for row in table.rows] == [[PAPER, 0.0], [PAPER, 10.0], [OURS, 10.0]]
    assert all(len(row) == len(table.header) for row in table.rows)


def test_boxes_have_the_quartiles_of_the_settled_losses(numbers):
    curves = {"levels": ["a", "b"], PAPER: [numbers(0.3), None], OURS: [None, numbers(0.1)]}
    axes = Figure().subplots()
    draw_losses(axes, curves)
    assert typical(curves[PAPER][0]) == pytest.approx(0.3)
    medians = [line.get_ydata()[0] for line in axes.lines if line.get_linewidth() == 3]
    assert medians == pytest.approx([0.3, 0.1])


def test_losses_and_recovery_are_drawn_from_json(numbers):
    both = [numbers(0.2), numbers(0.3)]
    figure = Figure(layout="constrained")
    draw_losses_and_recovery(figure, jsonable({"levels": [0, 10], PAPER: both, OURS: both}), "px")
    assert [axes.get_xlabel() for axes in figure.axes] == ["px"] * 3
