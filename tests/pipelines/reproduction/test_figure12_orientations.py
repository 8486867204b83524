import numpy as np
import pytest
from matplotlib.figure import Figure

from cryotwin.pipelines.reproduction import figure12_orientations
from cryotwin.pipelines.reproduction.figure12_orientations import Settings, uniform_rotations_cdf
from cryotwin.pipelines.reproduction.run import jsonable
from cryotwin.pipelines.reproduction.scale import find_scale
from cryotwin.pipelines.reproduction.target import Target
from cryotwin.pipelines.reproduction.workspace import Workspace


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    target = Target.of("7cfn")
    workspace = Workspace(
        tmp_path_factory.mktemp("distributions"),
        find_scale("quick"),
        asymmetric=target,
        symmetric=target,
    )
    names = ("so3", "euler", "euler-half", "so3-quarter")
    return figure12_orientations.run(workspace, Settings(2000, names, 20_000, 5000, 0))


def test_the_share_of_nearer_pairs_is_the_integral_of_the_density():
    distances = np.linspace(0, np.pi, 10_001)
    density = (1 - np.cos(distances)) / np.pi
    integral = np.concatenate([[0], np.cumsum((density[1:] + density[:-1]) / 2)])
    shares = uniform_rotations_cdf(distances)
    np.testing.assert_allclose(shares, integral * distances[1], atol=1e-8)
    assert shares[-1] == pytest.approx(1)


def test_uniform_rotations_have_the_analytic_distances_and_others_have_not(result):
    density, others, short, resampled = result.trends
    assert density.holds
    assert others.holds
    assert short.holds
    assert resampled.holds


def test_18_percent_of_uniform_rotations_are_nearer_than_a_right_angle(result):
    expected = 100 * (np.pi / 2 - 1) / np.pi
    error = 100 * np.sqrt(0.18 * 0.82 / 20_000)
    assert abs(result.curves["so3"]["below_half"] - expected) < 4 * error


def test_half_the_tilts_are_on_one_side_and_a_quarter_has_rot_below_90(result):
    assert min(result.curves["euler-half"]["height"]) >= 0
    assert max(result.curves["so3-quarter"]["rot_degrees"]) <= 90
    assert min(result.curves["so3"]["height"]) < -0.9


def test_distances_of_others_than_uniform_rotations_are_told(result):
    cases = {name: dict(case) for name, case in result.curves.items()}
    cases["so3"] = cases["euler-half"]
    cases["euler"] |= {"below_half": 60.0, "from_uniform_distances": 0.1}
    assert [trend.holds for trend in figure12_orientations.trends(cases, 20_000)] == [
        False,
        True,
        False,
        False,
    ]


def test_the_figure_is_drawn_from_json(result):
    figure = Figure(layout="constrained")
    figure12_orientations.draw(figure, jsonable(result.to_json())["curves"])
    assert len(figure.get_axes()) == 10
