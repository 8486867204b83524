import numpy as np
import pytest

from cryotwin.imaging.orientations import draw_quaternions
from cryotwin.pipelines.reproduction.recovered_maps import map_numbers
from cryotwin.pipelines.reproduction.scale import find_scale
from cryotwin.pipelines.reproduction.target import Target
from cryotwin.pipelines.reproduction.views import ViewSettings, make_views
from cryotwin.pipelines.reproduction.workspace import Workspace
from cryotwin.recovery.alignment import align_orientations
from cryotwin.recovery.handedness import mirror_orientations


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    target = Target.of("7cfn")
    workspace = Workspace(
        tmp_path_factory.mktemp("maps"),
        find_scale("quick"),
        asymmetric=target,
        symmetric=target,
    )
    return make_views(workspace, ViewSettings(target, 32, 900))


def test_true_orientations_give_the_map_to_nyquist_and_random_ones_none(made):
    true = made.splits["test"].quaternions
    best = map_numbers(made, true)
    worst = map_numbers(made, draw_quaternions("so3", len(true), np.random.default_rng(0)))
    assert best["resolution_angstrom"] == pytest.approx(2 * made.pixel_size_angstrom, rel=0.1)
    assert worst["resolution_angstrom"] > 2 * best["resolution_angstrom"]
    assert np.mean(best["fsc"][1:8]) > 0.99


def test_a_map_of_the_other_hand_is_brought_into_the_frame_of_the_truth(made):
    true = made.splits["test"].quaternions
    aligned = align_orientations(mirror_orientations(true), true)
    assert np.mean(map_numbers(made, aligned.quaternions)["fsc"][1:8]) > 0.99
