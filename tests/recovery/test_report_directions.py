import numpy as np
import pytest

from cryotwin.imaging.point_groups import symmetry_matrices
from cryotwin.imaging.rotations import (
    quaternions_to_matrices,
    relion_angles_to_matrices,
    uniform_quaternions,
)
from cryotwin.recovery.report_directions import (
    direction_density,
    domain_centre,
    domain_margin,
    viewing_directions,
)

GROUPS = ["C2", "C7", "D2", "D7", "T", "O", "I1", "I3"]


def even_views(count=20000):
    return uniform_quaternions(count, np.random.default_rng(0))


def drawn(figure):
    """The densities that a figure shows."""
    meshes = [mesh.get_array() for mesh in figure.axes[0].collections]
    known = [np.ma.filled(m.astype(float), np.nan).ravel() for m in meshes if m is not None]
    values = np.concatenate(known)
    return values[np.isfinite(values)]


def test_even_views_have_density_one_everywhere():
    figure = viewing_directions(even_views())
    density = np.concatenate(
        [mesh.get_array().ravel() for mesh in figure.axes[0].collections if mesh.get_array().size]
    )
    assert density.mean() == pytest.approx(1, abs=0.05)
    assert density.std() < 0.25


@pytest.mark.parametrize("symmetry", GROUPS)
def test_every_direction_has_one_copy_in_the_part_that_is_drawn(symmetry):
    group = symmetry_matrices(symmetry)
    directions = quaternions_to_matrices(even_views(500))[:, 2]
    copies = np.einsum("pc,gcd->pgd", directions, group)
    inside = domain_margin(copies, domain_centre(group), group) > 0
    assert (inside.sum(axis=1) == 1).all()


@pytest.mark.parametrize("symmetry", ["D2", "O"])
def test_even_views_have_density_one_under_a_point_group(symmetry):
    density = drawn(viewing_directions(even_views(), symmetry=symmetry))
    assert density.mean() == pytest.approx(1, abs=0.03)
    assert density.std() < 0.25


def test_copies_of_a_view_count_as_the_same_view():
    group = symmetry_matrices("D7")
    directions = quaternions_to_matrices(even_views(700))[:, 2]
    turned = np.einsum("pc,pcd->pd", directions, group[np.arange(700) % len(group)])
    grid = quaternions_to_matrices(even_views(50))[:, 2]
    one, other = (direction_density(each, group, grid) for each in (directions, turned))
    np.testing.assert_allclose(one, other, rtol=1e-6)


def test_a_preferred_view_is_where_the_density_is_highest():
    group = symmetry_matrices("C4")
    view = relion_angles_to_matrices(np.array([[20.0, 70.0, 0.0]]))[0]
    spin = quaternions_to_matrices(even_views(300))
    # Views from near one side: the viewing direction, a little off.
    off = spin[:, 2] * 0.1 + view[2]
    directions = off / np.linalg.norm(off, axis=1, keepdims=True)
    grid = quaternions_to_matrices(even_views(3000))[:, 2]
    density = direction_density(directions, group, grid)
    nearness = (grid @ np.stack([view[2] @ turn for turn in group]).T).max(axis=1)
    assert nearness[np.argmax(density)] > np.cos(0.15)
    assert density.max() > 10
