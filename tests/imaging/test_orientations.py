import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import kstest, vonmises_fisher

from cryotwin.imaging.errors import InputError
from cryotwin.imaging.orientations import (
    ORIENTATIONS,
    AngularCentralGaussian,
    PreferredViews,
    draw_quaternions,
    parse_orientations,
)
from cryotwin.imaging.randomness import keyed_generator
from cryotwin.imaging.rotations import (
    matrices_to_relion_angles,
    orientation_distances,
    quaternions_to_matrices,
    relion_angles_to_matrices,
    uniform_quaternions,
)

COUNT = 4000
SPECS = ["so3", "euler", "euler-half", "so3-quarter", "vmf:10", "vmf:300:4", "vmf:5:0,90+120,45"]
SPECS += ["vmf:0", "acg:3,1,1,3", "acg:0.5,1,2,1"]


def matrices(spec: str, count: int = COUNT) -> np.ndarray:
    return quaternions_to_matrices(draw_quaternions(spec, count, np.random.default_rng(0)))


def directions(spec: str) -> np.ndarray:
    """Viewing directions (P, 3) in the object's frame: the third rows."""
    return matrices(spec)[:, 2]


@pytest.mark.parametrize("spec", SPECS)
def test_quaternions_are_unit_and_canonical(spec):
    quaternions = draw_quaternions(spec, 50, np.random.default_rng(0))
    assert quaternions.shape == (50, 4)
    np.testing.assert_allclose(np.linalg.norm(quaternions, axis=1), 1)
    assert (quaternions[:, 0] >= 0).all()


@pytest.mark.parametrize("spec", SPECS)
def test_an_orientation_depends_on_its_own_generator_alone_bit_for_bit(spec):
    distribution = parse_orientations(spec).of_structure(3, "blobs")

    def draw(indices):
        return distribution.draw(len(indices), [keyed_generator(3, "blobs", i) for i in indices])

    together = draw(range(257))
    assert np.array_equal(draw(range(100, 131)), together[100:131])
    assert all(np.array_equal(draw([i])[0], together[i]) for i in range(0, 257, 16))


def test_views_uniform_on_so3_have_every_height_equally_often():
    assert kstest(directions("so3")[:, 2], lambda z: (1 + z) / 2).pvalue > 0.01


def test_distances_of_views_uniform_on_so3_have_the_density_sin_squared_of_half():
    quaternions = draw_quaternions("so3", COUNT, np.random.default_rng(0))
    distances = orientation_distances(quaternions[::2], quaternions[1::2])
    assert kstest(distances, lambda d: (d - np.sin(d)) / np.pi).pvalue > 0.01


@pytest.mark.parametrize(
    ("spec", "rot_deg", "tilt_deg", "on_sphere"),
    [
        ("euler", 360, 180, False),
        ("euler-half", 360, 90, False),
        ("so3-quarter", 90, 180, True),
    ],
)
def test_the_angles_of_the_papers_distributions_have_the_marginals_of_figure_12(
    spec, rot_deg, tilt_deg, on_sphere
):
    rot, tilt, psi = matrices_to_relion_angles(matrices(spec)).T
    assert kstest(rot % 360, "uniform", (0, rot_deg)).pvalue > 0.01
    assert kstest(psi % 360, "uniform", (0, 360)).pvalue > 0.01
    if on_sphere:
        assert kstest(np.cos(np.radians(tilt)), "uniform", (-1, 2)).pvalue > 0.01
    else:
        assert kstest(tilt, "uniform", (0, tilt_deg)).pvalue > 0.01


@pytest.mark.parametrize("kappa", [0, 1e-9, 0.5, 10, 400, 1e5])
def test_heights_above_a_preferred_view_have_the_von_mises_fisher_distribution(kappa):
    axis = relion_angles_to_matrices([[120, 45, 0]])[0, 2]
    heights = directions(f"vmf:{kappa}:120,45") @ axis

    def cumulative(height):
        if kappa < 1e-6:
            return (1 + height) / 2
        return np.expm1(kappa * (height - 1)) / -np.expm1(-2 * kappa) + 1

    assert kstest(heights, cumulative).pvalue > 0.01


def test_a_lobe_is_round_and_the_angle_in_the_plane_uniform():
    lobe = relion_angles_to_matrices([[120, 45, 0]])[0]
    drawn = matrices("vmf:20:120,45")
    x, y, _ = lobe @ drawn[:, 2].T
    assert kstest(np.arctan2(y, x), "uniform", (-np.pi, 2 * np.pi)).pvalue > 0.01
    psi = matrices_to_relion_angles(drawn)[:, 2]
    assert kstest(psi % 360, "uniform", (0, 360)).pvalue > 0.01
    assert abs(np.corrcoef(psi, lobe[2] @ drawn[:, 2].T)[0, 1]) < 0.06


def test_preferred_views_have_the_likelihood_that_scipy_gives():
    axis = relion_angles_to_matrices([[120, 45, 0]])[0, 2]
    log_density = vonmises_fisher(axis, 20.0).logpdf(directions("vmf:20:120,45"))
    # The mean of the logarithm of the density is minus the entropy.
    expected = -vonmises_fisher(axis, 20.0).entropy()
    assert log_density.mean() == pytest.approx(expected, abs=5 / np.sqrt(COUNT))


def test_the_lobes_of_a_mixture_are_equally_frequent():
    axes = relion_angles_to_matrices([[0, 90, 0], [120, 45, 0], [10, 170, 0]])[:, 2]
    nearest = np.argmax(directions("vmf:300:0,90+120,45+10,170") @ axes.T, axis=1)
    assert np.bincount(nearest, minlength=3) == pytest.approx(COUNT / 3, abs=4 * COUNT**0.5)


def test_random_views_belong_to_the_seed_and_the_structure():
    distribution = parse_orientations("vmf:50:3")
    placed = distribution.of_structure(1, "a")
    assert len(placed.directions) == 3
    assert placed == distribution.of_structure(1, "a")
    assert placed.of_structure(2, "b") == placed  # They are settled once.
    assert placed.directions != distribution.of_structure(2, "a").directions
    assert placed.directions != distribution.of_structure(1, "b").directions
    with pytest.raises(ValueError, match="of_structure"):
        distribution.draw(1, np.random.default_rng(0))


def test_random_views_are_uniform_on_the_sphere():
    placed = parse_orientations("vmf:50:1000").of_structure(0, "a")
    rot, tilt = np.array(placed.directions).T
    assert kstest(rot, "uniform", (0, 360)).pvalue > 0.01
    assert kstest(np.cos(np.radians(tilt)), "uniform", (-1, 2)).pvalue > 0.01


@pytest.mark.parametrize("spreads", [(3, 1, 1, 3), (0.5, 1, 2, 1), (1, 1, 1, 1)])
def test_the_angular_central_gaussian_has_tylers_density(spreads):
    rng = np.random.default_rng(0)
    drawn = AngularCentralGaussian(spreads).draw(100_000, rng)
    uniform = uniform_quaternions(200_000, rng)
    density = ((uniform / spreads) ** 2).sum(axis=1) ** -2 / np.prod(spreads)

    assert density.mean() == pytest.approx(1, abs=0.02)  # Over the uniform one.
    # Second and fourth moments do not know the sign of q.
    for power in (2, 4):
        expected = (density[:, None] * uniform**power).mean(axis=0)
        assert (drawn**power).mean(axis=0) == pytest.approx(expected, abs=0.01)


def test_a_gaussian_that_pairs_w_with_z_leaves_the_angle_in_the_plane_uniform():
    drawn = matrices("acg:4,1,1,4")
    psi = matrices_to_relion_angles(drawn)[:, 2]
    assert kstest(psi % 360, "uniform", (0, 360)).pvalue > 0.01
    # The share of w, z is (1 + height) / 2, and for a Gaussian in two planes known in closed form.
    share, ratio = (1 + drawn[:, 2, 2]) / 2, 1 / 4**2
    assert kstest(share, lambda s: ratio * s / (1 - s + ratio * s)).pvalue > 0.01
    assert drawn[:, 2, 2].mean() > 0.5


@given(st.sampled_from(SPECS))
def test_distributions_are_small_and_can_be_pickled(spec):
    distribution = parse_orientations(spec).of_structure(0, "a")
    packed = pickle.dumps(distribution)
    assert len(packed) < 500
    assert pickle.loads(packed) == distribution
    assert hash(pickle.loads(packed)) == hash(distribution)


def test_forms_give_what_they_say():
    assert parse_orientations("vmf:50") == PreferredViews(50, 1)
    assert parse_orientations("vmf:50:3") == PreferredViews(50, 3)
    assert parse_orientations("vmf:5:0,90+120,45.5").directions == ((0, 90), (120, 45.5))
    assert parse_orientations("acg:1,2,3,4") == AngularCentralGaussian((1, 2, 3, 4))
    assert {form.split(":")[0] for form in ORIENTATIONS} >= {"so3", "vmf", "acg"}


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("unifrom", r"one of 'so3', .*'vmf:KAPPA\[:VIEWS\]', .*, not 'unifrom'"),
        ("so3:2", "not 'so3:2'"),
        ("", "not ''"),
        ("vmf", "not 'vmf'"),
        ("vmf:", "expected a number from 0 to 1e\\+06, not ''"),
        ("vmf:-1", "not '-1'"),
        ("vmf:nan", "not 'nan'"),
        ("vmf:10:0", "VIEWS must be a number from 1 to 1000 or directions .*, not '0'"),
        ("vmf:10:many", "not 'many'"),
        ("vmf:10:0,90+1", "expected 2 numbers with commas between .*, not '1'"),
        ("vmf:10:1:2", "not 'vmf:10:1:2'"),
        ("acg:1,2,3", "expected 4 numbers .*, not '1,2,3'"),
        ("acg:1,2,3,0", "from 0.001 to 1000, not '1,2,3,0'"),
    ],
)
def test_a_bad_name_is_quoted_with_what_is_expected(spec, message):
    with pytest.raises(InputError, match=message):
        draw_quaternions(spec, 1, np.random.default_rng(0))
