import numpy as np

from cryotwin.recovery.doubtful_particles import DOUBTFUL_BELOW, least_confident


def test_the_least_confident_come_first_and_good_ones_never():
    confidence = np.array([0.5, 0.0005, 0.9, 0.0001, DOUBTFUL_BELOW])
    assert list(least_confident(confidence)) == [3, 1]
    assert len(least_confident(np.ones(3))) == 0
