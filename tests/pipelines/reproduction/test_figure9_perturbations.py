"""Figures 9a and 9b tell flat from rising, and say nothing of trainings that failed."""

import keras
import pytest
from matplotlib.figure import Figure

from cryotwin.models.banjac2021 import banjac2021
from cryotwin.models.plain_heads import CosineHead
from cryotwin.pipelines.reproduction import figure9a_shifts, figure9b_noise
from cryotwin.pipelines.reproduction.result import OURS, PAPER
from cryotwin.pipelines.reproduction.run import jsonable


def by_levels(numbers, losses, errors=None, training=None):
    errors = errors or [0.2] * len(losses)
    column = [
        numbers(loss, o4_error=error, training=training)
        for loss, error in zip(losses, errors, strict=True)
    ]
    return {"levels": list(range(len(losses))), PAPER: column, OURS: [numbers(0.01)] * len(losses)}


@pytest.mark.parametrize(
    ("losses", "flat"),
    [
        ([0.20, 0.21, 0.19], True),
        ([0.20, 0.20, 0.15], True),  # Easier is not harder.
        ([0.20, 0.25, 0.20], False),
        ([0.80, 0.81, 0.79], None),  # Nothing was learned.
    ],
)
def test_losses_over_shifts_are_flat_unless_one_is_higher(numbers, losses, flat):
    assert figure9a_shifts.trends(by_levels(numbers, losses))[0].holds is flat


def test_our_loss_has_to_be_lower_at_every_shift(numbers):
    assert figure9a_shifts.trends(by_levels(numbers, [0.2, 0.2]))[1].holds is True
    assert figure9a_shifts.trends(by_levels(numbers, [0.2, 0.005]))[1].holds is False


def noise_verdicts(curves):
    trends = figure9b_noise.trends(curves)
    paper = [trend.holds for trend in trends if trend.claim.endswith(PAPER)]
    return [*paper, trends[-1].holds]


def test_rising_losses_and_errors_hold(numbers):
    curves = by_levels(numbers, [0.1, 0.2, 0.3], [0.1, 0.2, 0.4], training=0.2)
    assert noise_verdicts(curves) == [True, True, True, True, True]


def test_one_step_down_is_no_rise(numbers):
    curves = by_levels(numbers, [0.1, 0.3, 0.2], [0.1, 0.4, 0.3])
    assert noise_verdicts(curves) == [False, False, True, True, False]


def test_nothing_is_told_of_the_errors_of_a_recovery_that_failed_without_noise(numbers):
    curves = by_levels(numbers, [0.1, 0.2, 0.3], [1.2, 1.3, 1.4], training=0.2)
    assert noise_verdicts(curves) == [True, None, None, None, True]


def test_more_error_at_less_loss_is_told(numbers):
    curves = by_levels(numbers, [0.1, 0.2, 0.3], [0.1, 1.9, 0.4], training=0.3)
    assert noise_verdicts(curves) == [True, False, False, True, False]
    seen = [trend.seen for trend in figure9b_noise.trends(curves) if "goes with" in trend.claim]
    assert seen[0] == "in 2 of 3 pairs of levels"


def test_a_recovery_loss_that_hides_the_error_is_told(numbers):
    curves = by_levels(numbers, [0.1, 0.2], [0.1, 0.2], training=0.1)
    curves[PAPER][1]["loss"] = 0.0  # Wrong distances may still be consistent.
    assert noise_verdicts(curves) == [True, True, True, False, True]


def test_nothing_is_told_where_nothing_was_learned_without_noise(numbers):
    curves = by_levels(numbers, [0.6, 0.8, 0.9], [1.8, 1.9, 1.9])
    assert noise_verdicts(curves) == [None] * 5


@pytest.mark.parametrize("module", [figure9a_shifts, figure9b_noise])
def test_both_are_drawn_from_json(numbers, module):
    figure = Figure(layout="constrained")
    module.draw(figure, jsonable(by_levels(numbers, [0.1, 0.2])))
    assert len(figure.axes) == 3
    assert figure.legends


@pytest.mark.parametrize("box_px", [32, 116])
def test_the_last_average_of_the_papers_network_is_over_one_pixel(box_px):
    images = keras.Input((box_px, box_px, 1))
    model = keras.Model(images, banjac2021(images, 512, CosineHead()))
    assert model.get_layer("pool7").output.shape == (None, 1, 1, 512)
