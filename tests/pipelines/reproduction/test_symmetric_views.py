"""Views of a particle with symmetry lie where their distribution has them."""

import numpy as np
import pytest

from cryotwin.imaging.maps import write_map
from cryotwin.imaging.point_groups import symmetry_matrices
from cryotwin.imaging.rotations import pairwise_distances, quaternions_to_matrices
from cryotwin.imaging.volume_rotation import rotate_volume
from cryotwin.pipelines.reproduction.scale import find_scale
from cryotwin.pipelines.reproduction.target import Target
from cryotwin.pipelines.reproduction.views import ViewSettings, make_views
from cryotwin.pipelines.reproduction.workspace import Workspace


@pytest.fixture(scope="module")
def views_of(tmp_path_factory):
    """Gives views_of(orientations): the test split of a blob's copies under D2."""
    folder = tmp_path_factory.mktemp("symmetric")
    z, y, x = np.mgrid[:32, :32, :32] - 16
    blob = np.exp(-((x - 5) ** 2 + (y - 3) ** 2 + (z - 7) ** 2) / 8)
    write_map(folder / "d2.mrc", sum(rotate_volume(blob, g) for g in symmetry_matrices("D2")), 4)
    target = Target.of(str(folder / "d2.mrc"), "D2")
    workspace = Workspace(folder / "work", find_scale("quick"), asymmetric=target, symmetric=target)
    return lambda orientations: make_views(
        workspace, ViewSettings(target, 32, 900, orientations)
    ).splits["test"]


def test_those_of_so3_are_all_over_it(views_of):
    distances = pairwise_distances(views_of("so3").quaternions)[np.triu_indices(297, 1)]
    assert np.mean(distances < np.pi / 2) == pytest.approx((np.pi / 2 - 1) / np.pi, rel=0.1)


def test_those_of_a_quarter_have_rot_below_90_degrees(views_of):
    directions = quaternions_to_matrices(views_of("so3-quarter").quaternions)[:, 2]
    assert directions[:, :2].min() > 0
    assert directions[:, 2].min() < -0.9


def test_copies_under_the_group_are_the_same_image(views_of):
    views = views_of("so3")
    near = pairwise_distances(views.quaternions, symmetry="D2")
    np.fill_diagonal(near, np.pi)
    first, second = np.unravel_index(near.argmin(), near.shape)
    different = np.std(views.images[first] - views.images[second])
    assert different < 0.3 * np.std(views.images)
