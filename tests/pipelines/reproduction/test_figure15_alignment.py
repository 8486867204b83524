import numpy as np
from matplotlib.figure import Figure

from cryotwin.imaging.rotations import pairwise_distances
from cryotwin.pipelines.reproduction import figure15_alignment
from cryotwin.pipelines.reproduction.error_histograms import error_histogram
from cryotwin.pipelines.reproduction.figure15_alignment import exact_recovery
from cryotwin.pipelines.reproduction.result import OURS, PAPER
from cryotwin.pipelines.reproduction.run import jsonable
from cryotwin.recovery.alignment import align_orientations


def test_an_exact_recovery_has_the_distances_of_the_truth_and_nothing_else():
    true, estimated = exact_recovery(100, "so3", 0)
    np.testing.assert_allclose(pairwise_distances(estimated), pairwise_distances(true), atol=1e-6)
    assert align_orientations(estimated, true, ambiguity="o4").mean_error < 1e-6
    assert align_orientations(estimated, true).mean_error > 0.5


def _run(paper, ours):
    true, estimated = exact_recovery(50, "so3", 1)
    errors = align_orientations(estimated, true).errors
    columns = {
        column: {"mean_error": error, "run_errors": [], "after": error_histogram(errors)}
        for column, error in ((PAPER, paper), (OURS, ours))
    }
    columns[PAPER]["run_errors"] = [paper, 1.7]
    return {"before": error_histogram(errors), **columns}


def test_an_alignment_that_stays_in_a_wrong_minimum_is_told():
    runs = [_run(1e-6, 1e-9), _run(1.6, 1e-9)]
    assert [trend.holds for trend in figure15_alignment.trends(runs)] == [False, True]
    assert [trend.holds for trend in figure15_alignment.trends(runs[:1])] == [True, True]


def test_the_figure_is_drawn_from_json():
    figure = Figure(layout="constrained")
    figure15_alignment.draw(figure, jsonable({"runs": [_run(1e-6, 0.0), _run(1.6, 1e-9)]}))
    assert len(figure.get_axes()) == 3


def test_shares_of_errors_add_up_whatever_their_size():
    shares = error_histogram([0.0, 1e-9, 0.5, np.pi, 4.0])
    assert sum(shares) == 100
    assert shares[0] == 40
    assert shares[-1] == 40
