import numpy as np
import pytest

from cryotwin.imaging.rotations import uniform_quaternions
from cryotwin.pipelines.reproduction.verdict import RANDOM_RAD, has_learned, has_recovered, told
from cryotwin.recovery.alignment import align_orientations


def test_who_answers_a_right_angle_to_all_has_not_learned():
    true = np.linspace(0, np.pi, 10_001)
    nothing = float(np.mean((true - np.pi / 2) ** 2))
    assert not has_learned(nothing)
    assert has_learned(0.3)


def test_random_orientations_are_not_recovered():
    first, second = (uniform_quaternions(1650, np.random.default_rng(seed)) for seed in (0, 1))
    error = align_orientations(first, second, ambiguity="o4").mean_error
    assert error == pytest.approx(RANDOM_RAD, abs=0.02)
    assert not has_recovered(error)
    assert has_recovered(0.2)


def test_a_verdict_needs_all_trainings_to_have_learned():
    assert told(True, 0.3, 0.1) is True
    assert told(False, 0.3) is False
    assert told(True, 0.3, 0.8) is None
