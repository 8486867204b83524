import numpy as np
import pytest

from cryotwin.imaging.projection import project_volume
from cryotwin.imaging.rotations import quaternions_to_matrices
from cryotwin.pipelines.reproduction.scale import find_scale
from cryotwin.pipelines.reproduction.target import Target
from cryotwin.pipelines.reproduction.views import Condition, ViewSettings, make_views, perturbed
from cryotwin.pipelines.reproduction.workspace import Workspace


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    target = Target.of("7cfn")
    workspace = Workspace(
        tmp_path_factory.mktemp("views"),
        find_scale("quick"),
        asymmetric=target,
        symmetric=target,
    )
    return make_views(workspace, ViewSettings(target, 32, 60))


def test_views_are_projections_of_the_map_along_their_orientations(made):
    test = made.splits["test"]
    rotations = quaternions_to_matrices(test.quaternions)
    expected = project_volume(made.volume, rotations)
    np.testing.assert_allclose(test.images, expected, atol=2e-3 * np.abs(expected).max())


def test_the_paper_splits_5000_projections_as_its_table_1_says():
    from cryotwin.datasets.splits import split_sizes

    assert split_sizes(5000) == {"train": 2512, "validation": 838, "test": 1650}


def test_noise_and_shifts_are_those_of_the_papers_box():
    condition = Condition(noise_variance=16, max_shift_px=10)
    assert condition.at(116).noise_variance == 16
    assert condition.at(58).noise_variance == 4
    assert condition.at(58).max_shift_px == 5
    assert condition.at(58).shift_distribution == "triangular"


def test_the_same_key_freezes_the_noise(made):
    condition = Condition(noise_variance=4)
    views, pixel = made.splits["test"], made.pixel_size_angstrom
    first, again, other = (
        perturbed(views, condition, pixel, *key).images
        for key in (("frozen", "a"), ("frozen", "a"), ("frozen", "b"))
    )
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).mean() > 0.1
    assert np.var(first - views.images) == pytest.approx(4 * (32 / 116) ** 2, rel=0.05)
