import numpy as np
import pytest

from cryotwin.recovery.likely_junk import DOUBTFUL_BELOW, least_confident, likely_junk


@pytest.mark.parametrize("junk", [0, 50, 200])
def test_junk_is_what_lies_low_beyond_chance(junk):
    rng = np.random.default_rng(1)
    confidence = np.concatenate([rng.uniform(0, 1, 10_000), rng.uniform(0, 1e-4, junk)])
    assert likely_junk(confidence) == pytest.approx(junk, abs=25)


def test_the_least_confident_come_first_and_good_ones_never():
    confidence = np.array([0.5, 0.005, 0.9, 0.001, DOUBTFUL_BELOW])
    assert list(least_confident(confidence)) == [3, 1]
    assert len(least_confident(np.ones(3))) == 0
