import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import kstest

from cryotwin.imaging.fundamental_domain import domain_radius, to_fundamental_domain
from cryotwin.imaging.point_groups import symmetry_quaternions
from cryotwin.imaging.rotations import (
    canonical_quaternions,
    multiply_quaternions,
    orientation_distances,
    uniform_quaternions,
)

GROUPS = ["C1", "C2", "C7", "D1", "D2", "D5", "T", "O", "I1", "I2", "I3", "I4"]
SEEDS = st.integers(0, 2**32 - 1)


@given(SEEDS, st.sampled_from(GROUPS), st.data())
def test_every_orbit_has_one_representative(seed, group, data):
    quaternions = uniform_quaternions(20, np.random.default_rng(seed))
    g = symmetry_quaternions(group)[
        data.draw(st.integers(0, 59)) % len(symmetry_quaternions(group))
    ]

    chosen = to_fundamental_domain(quaternions, group)

    assert np.allclose(to_fundamental_domain(multiply_quaternions(quaternions, g), group), chosen)
    assert np.allclose(to_fundamental_domain(-quaternions, group), chosen)
    assert np.allclose(to_fundamental_domain(chosen, group), chosen, atol=1e-12)
    assert orientation_distances(quaternions, chosen, symmetry=group).max() < 1e-7
    assert (chosen[:, 0] >= 0).all()


@given(st.sampled_from(GROUPS), st.integers(0, 59), st.integers(0, 59), st.integers(0, 4))
def test_on_the_border_equivalent_orientations_still_give_the_same(group, first, second, step):
    elements = symmetry_quaternions(group)
    # Half-way from the identity to g, and turns by pi about the axes: on the border of the domain.
    border = [elements[first % len(elements)] + elements[0], *np.eye(4)[1:], [0, 1, 1, 0]]
    start = np.array(border[step], dtype=float)
    start /= np.linalg.norm(start)
    moved = multiply_quaternions(start, elements[second % len(elements)])

    chosen = to_fundamental_domain(np.stack([start, moved, -moved]), group)

    assert np.allclose(chosen, chosen[0], atol=1e-8)


@pytest.mark.parametrize("group", GROUPS)
def test_the_domain_holds_its_share_of_so3(group):
    quaternions = uniform_quaternions(30_000, np.random.default_rng(0))
    inside = orientation_distances(
        to_fundamental_domain(quaternions, group), canonical_quaternions(quaternions)
    )
    share = 1 / len(symmetry_quaternions(group))
    assert np.mean(inside < 1e-6) == pytest.approx(share, abs=4 * np.sqrt(share / 30_000) + 1e-9)


@given(SEEDS, st.sampled_from(GROUPS))
def test_distances_do_not_change_in_the_domain(seed, group):
    first, second = uniform_quaternions(40, np.random.default_rng(seed)).reshape(2, 20, 4)
    expected = orientation_distances(first, second, symmetry=group)
    moved = orientation_distances(
        to_fundamental_domain(first, group), to_fundamental_domain(second, group), symmetry=group
    )
    assert np.allclose(moved, expected, atol=1e-9)


@pytest.mark.parametrize(
    ("group", "angle_deg"),
    # The largest misorientations that crystallography knows (Handscomb 1958; Grimmer 1974).
    [
        ("C1", 180),
        ("C6", 180),
        ("D1", 180),
        ("D2", 120),
        ("D4", 98.42),
        ("D6", 93.84),
        ("T", 90),
        ("O", 62.80),
    ],
)
def test_the_radius_of_the_domain_is_the_largest_angle_known_for_the_group(group, angle_deg):
    assert np.degrees(domain_radius(group)) == pytest.approx(angle_deg, abs=0.01)


@pytest.mark.parametrize("group", GROUPS)
def test_no_orientation_in_the_domain_is_farther_than_its_radius_and_some_come_near(group):
    quaternions = uniform_quaternions(20_000, np.random.default_rng(1))
    angles = orientation_distances(to_fundamental_domain(quaternions, group), [1.0, 0, 0, 0])
    assert angles.max() <= domain_radius(group) + 1e-9
    assert angles.max() > 0.93 * domain_radius(group)


@pytest.mark.parametrize("group", ["D2", "O", "I"])
def test_uniform_orientations_are_uniform_in_the_domain(group):
    quaternions = uniform_quaternions(20_000, np.random.default_rng(2))
    angles = orientation_distances(to_fundamental_domain(quaternions, group), [1.0, 0, 0, 0])
    nearest_face = np.pi / {"D2": 2, "O": 4, "I": 5}[group]
    small = angles[angles < nearest_face]  # Below, the domain is a whole ball.
    total = len(symmetry_quaternions(group)) / np.pi

    assert len(small) / len(angles) == pytest.approx(
        total * (nearest_face - np.sin(nearest_face)), abs=0.02
    )
    expected = nearest_face - np.sin(nearest_face)
    assert kstest(small, lambda d: (d - np.sin(d)) / expected).pvalue > 0.01


def test_an_orientation_does_not_depend_on_those_beside_it():
    quaternions = uniform_quaternions(300, np.random.default_rng(3))
    together = to_fundamental_domain(quaternions, "I")
    apart = np.concatenate([to_fundamental_domain(row[None], "I") for row in quaternions])
    assert np.array_equal(together, apart)
