import numpy as np
from matplotlib.figure import Figure

from cryotwin.pipelines.reproduction import figure14_exact_distances
from cryotwin.pipelines.reproduction.figure14_exact_distances import Settings
from cryotwin.pipelines.reproduction.result import OURS, PAPER
from cryotwin.pipelines.reproduction.run import jsonable
from cryotwin.pipelines.reproduction.scale import find_scale
from cryotwin.pipelines.reproduction.target import Target
from cryotwin.pipelines.reproduction.workspace import Workspace


def test_exact_distances_are_recovered_in_both_columns(tmp_path):
    target = Target.of("7cfn", "D2")
    workspace = Workspace(tmp_path, find_scale("quick"), asymmetric=target, symmetric=target)
    result = figure14_exact_distances.run(workspace, Settings(60, "D2", 1))
    groups = result.curves["groups"]
    assert [(group["column"], group["symmetry"]) for group in groups] == [
        (PAPER, "C1"),
        (OURS, "C1"),
        (OURS, "D2"),
    ]
    for group in groups:
        assert group["runs"][0]["loss"] < 1e-6
        assert group["runs"][0]["o4_error"] < 1e-3
    assert all(trend.holds for trend in result.trends)
    figure = Figure(layout="constrained")
    figure14_exact_distances.draw(figure, jsonable(result.to_json())["curves"])
    assert len(figure.get_axes()) == 2


def _run(loss, *, trusted=True):
    return {"loss": loss, "o4_error": np.sqrt(loss), "trusted": trusted}


def test_wrong_minima_are_told():
    right, wrong = _run(1e-10), _run(0.2)
    groups = [{"column": PAPER, "runs": [right, wrong]}, {"column": OURS, "runs": [right]}]
    converges, exact, ours = figure14_exact_distances.trends(groups)
    assert not converges.holds
    assert converges.seen.startswith("in 1 of 2 starts")
    assert exact.holds
    assert ours.holds


def test_a_right_minimum_that_is_not_trusted_is_told():
    groups = [
        {"column": PAPER, "runs": [_run(0.2)]},
        {"column": OURS, "runs": [_run(1e-10, trusted=False)]},
    ]
    assert [trend.holds for trend in figure14_exact_distances.trends(groups)] == [False] * 3
