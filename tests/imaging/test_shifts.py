import numpy as np
import pytest

from cryotwin.imaging.errors import InputError
from cryotwin.imaging.shifts import SHIFT_DISTRIBUTIONS, shifts_from_uniform

VARIANCE = {"uniform": 1 / 3, "triangular": 1 / 6, "gaussian": 0.1081}
"""Of a component, over the square of the limit; the Gaussian's is 1/9, less what is cut off."""


@pytest.mark.parametrize("name", SHIFT_DISTRIBUTIONS)
def test_shifts_have_mean_zero_their_variance_and_their_limit(name):
    uniform = np.random.default_rng(0).random((40000, 2))
    shifts = shifts_from_uniform(name, 5.0, uniform)
    assert shifts.dtype == np.float32
    assert np.abs(shifts).max() <= 5
    np.testing.assert_allclose(shifts.mean(axis=0), 0, atol=0.05)
    np.testing.assert_allclose(shifts.var(axis=0) / 25, VARIANCE[name], rtol=0.03)


@pytest.mark.parametrize("name", SHIFT_DISTRIBUTIONS)
def test_shifts_are_finite_and_rise_with_the_uniform_number(name):
    uniform = np.repeat(np.array([0, 1e-9, 0.1, 0.5, 0.7, 1 - 1e-9])[:, None], 2, axis=1)
    shifts = shifts_from_uniform(name, 2.0, uniform)
    assert np.isfinite(shifts).all()
    assert (np.diff(shifts, axis=0) >= 0).all()
    assert shifts[3].tolist() == [0, 0]


def test_the_triangle_has_its_quarters_where_its_area_says():
    # From the centre to x the triangle of limit 1 has the area x - x^2 / 2.
    quarters = shifts_from_uniform("triangular", 1.0, np.array([[0.25, 0.75]]))[0]
    x = 1 - np.sqrt(0.5)
    np.testing.assert_allclose(quarters, [-x, x], rtol=1e-6)


def test_an_unknown_distribution_is_told_with_those_there_are():
    with pytest.raises(InputError, match="one of 'uniform', 'triangular', .* not 'normal'"):
        shifts_from_uniform("normal", 1.0, np.zeros((1, 2)))
