import numpy as np
import pytest

from cryotwin.imaging.errors import InputError
from cryotwin.imaging.orientations import ORIENTATIONS, draw_quaternions
from cryotwin.imaging.rotations import quaternions_to_matrices

COUNT = 4000


def directions(distribution: str) -> np.ndarray:
    """Viewing directions (P, 3) in the object's frame: the third rows."""
    quaternions = draw_quaternions(distribution, COUNT, np.random.default_rng(0))
    return quaternions_to_matrices(quaternions)[:, 2]


@pytest.mark.parametrize("distribution", ORIENTATIONS)
def test_quaternions_are_unit_and_canonical(distribution):
    quaternions = draw_quaternions(distribution, 50, np.random.default_rng(0))
    assert quaternions.shape == (50, 4)
    np.testing.assert_allclose(np.linalg.norm(quaternions, axis=1), 1)
    assert (quaternions[:, 0] >= 0).all()


def test_views_uniform_on_so3_have_every_height_equally_often():
    z = directions("so3")[:, 2]
    assert abs(z.mean()) < 0.05
    assert abs(z.var() - 1 / 3) < 0.02


def test_uniform_euler_angles_crowd_the_poles():
    z = directions("euler")[:, 2]
    assert abs((z**2).mean() - 0.5) < 0.03  # the mean of cos^2 over a uniform tilt
    assert (z < 0).any()


def test_the_euler_half_looks_from_above():
    z = directions("euler-half")[:, 2]
    assert (z >= 0).all()
    assert abs((z**2).mean() - 0.5) < 0.03


def test_the_quarter_of_so3_keeps_one_of_four_views_of_a_d2_particle():
    x, y, z = directions("so3-quarter").T
    assert (x >= 0).all()
    assert (y >= 0).all()
    assert abs(z.mean()) < 0.05
    assert abs(z.var() - 1 / 3) < 0.02


def test_an_unknown_distribution_is_quoted_with_the_known_ones():
    with pytest.raises(InputError, match=r"one of 'so3', .*, not 'unifrom'"):
        draw_quaternions("unifrom", 1, np.random.default_rng(0))
