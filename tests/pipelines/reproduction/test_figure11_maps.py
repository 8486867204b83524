import numpy as np
import pytest
from matplotlib.figure import Figure

from cryotwin.pipelines.reproduction import figure11_maps
from cryotwin.pipelines.reproduction.map_slices import shown_slice
from cryotwin.pipelines.reproduction.recovered_maps import (
    AIDED,
    RANDOM,
    TRUE,
    UNAIDED,
)
from cryotwin.pipelines.reproduction.result import OURS, PAPER
from cryotwin.pipelines.reproduction.run import jsonable

_SLICE = shown_slice(np.random.default_rng(0).random((32, 32, 32)))


def _map(resolution):
    fsc = np.exp(-np.arange(17) / 5).tolist()
    return {"fsc": fsc, "resolution_angstrom": resolution, "slice": _SLICE}


@pytest.fixture
def particle():
    """Gives particle(resolutions in angstrom): of the maps of a particle."""

    def make(*, random=60.0, aided=12.2, noisy=15.2, unaided=40.0, ours=8.0, loss=0.1, error=0.2):
        recovered = [
            {
                "column": column,
                "noise_variance": noise,
                "distance_loss": loss,
                "o4_error": error,
                "maps": maps,
            }
            for column, noise, maps in (
                (PAPER, 0.0, {AIDED: _map(aided), UNAIDED: _map(unaided)}),
                (PAPER, 16.0, {AIDED: _map(noisy), UNAIDED: _map(unaided)}),
                (OURS, 0.0, {UNAIDED: _map(ours)}),
                (OURS, 16.0, {UNAIDED: _map(ours)}),
            )
        ]
        bounds = {TRUE: _map(7.4), RANDOM: _map(random)}
        return {
            "particle": "A",
            "nyquist_angstrom": 7.34,
            "box_angstrom": 117.0,
            "true_map": _SLICE,
            "bounds": {PAPER: bounds, OURS: bounds},
            "recovered": recovered,
        }

    return make


def _verdicts(particle):
    return [trend.holds for trend in figure11_maps.trends(particle)]


def test_what_the_paper_reports_holds_but_for_the_gauge(particle):
    assert _verdicts(particle()) == [True, True, False, True]


def test_the_contrary_is_told(particle):
    other = particle(random=8.0, noisy=10.0, unaided=12.5, ours=20.0)
    assert _verdicts(other) == [False, False, True, False]


def test_nothing_is_told_of_maps_of_an_estimator_that_learned_nothing(particle):
    assert _verdicts(particle(loss=0.8)) == [True, None, None, True]


def test_nothing_is_told_of_maps_of_a_recovery_that_failed(particle):
    assert _verdicts(particle(error=1.3)) == [True, None, None, True]


def test_maps_at_nyquist_cannot_be_told_apart(particle):
    assert _verdicts(particle(aided=7.34, noisy=7.34))[1] is None


def test_the_figure_is_drawn_from_json(particle):
    figure = Figure(layout="constrained")
    figure11_maps.draw(figure, jsonable({"particles": [particle(), particle()]}))
    assert len(figure.get_axes()) == 2 * (1 + 10)
