import numpy as np
import pytest

from cryotwin.imaging.gridding_derivatives import differentiate
from cryotwin.imaging.gridding_kernel import best_kernel


@pytest.mark.parametrize("width", [3, 4, 5, 6])
def test_slopes_of_the_kernel_are_those_of_its_polynomials(width):
    table = best_kernel(width, 1.5).polynomials()
    slopes = differentiate(table)
    places = np.linspace(0.02, 0.98, 25)

    def at(polynomials, place):
        # The offset of the first tap falls by 2 where the sample moves by one grid point.
        return np.polyval(polynomials[:, : 2 * width], 1 - 2 * place)

    step = 1e-3
    for place in places:
        expected = (
            at(table.astype(float), place + step) - at(table.astype(float), place - step)
        ) / (2 * step)
        assert np.allclose(at(slopes.astype(float), place), expected, atol=1e-4)
