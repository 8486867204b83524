import numpy as np
import pytest

from cryotwin.imaging.rotations import pairwise_distances
from cryotwin.pipelines.reproduction import figure7_perturbed_distances as figure7
from cryotwin.pipelines.reproduction.result import OURS, PAPER


def curves(errors, losses):
    runs = [
        [{"o4_error": error, "physical_error": 1.5, "loss": loss} for error, loss in pairs]
        for pairs in zip(
            *(zip(each, more, strict=True) for each, more in zip(errors, losses, strict=True)),
            strict=True,
        )
    ]
    return {"variances": list(range(len(runs))), PAPER: runs, OURS: runs}


def verdicts(made):
    return [trend.holds for trend in figure7._trends(made)]


def test_rising_errors_and_losses_hold():
    assert verdicts(curves([[0.0, 0.1, 0.2]], [[0.0, 0.1, 0.3]])) == [True, True, True]


def test_errors_or_losses_that_fall_do_not():
    assert verdicts(curves([[0.0, 0.2, 0.1]], [[0.0, 0.1, 0.3]]))[0] is False
    assert verdicts(curves([[0.0, 0.1, 0.2]], [[0.2, 0.1, 0.3]]))[1] is False


def test_the_repetition_of_the_lowest_loss_counts_and_wrong_minima_are_told():
    made = curves([[0.0, 0.1], [1.2, 0.15]], [[0.0, 0.1], [0.1, 0.2]])
    assert verdicts(made) == [True, True, False]
    assert figure7._row(made[PAPER][0]) == [0.0, 1.5, 0.0, 1]


@pytest.mark.parametrize("variance", [0.0, 0.3])
def test_distances_are_off_by_errors_of_the_variance_and_stay_in_range(variance):
    true, distances = figure7.perturbed_distances(figure7._Case(200, "so3", variance, 0))
    errors = distances - pairwise_distances(true)
    np.testing.assert_array_equal(distances, distances.T)
    assert distances.min() >= 0
    assert distances.max() <= np.pi
    middle = np.abs(pairwise_distances(true) - np.pi / 2) < 0.3  # Clipping is far away.
    assert np.var(errors[middle]) == pytest.approx(variance, rel=0.1, abs=1e-12)
