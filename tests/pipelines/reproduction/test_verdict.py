import numpy as np

from cryotwin.pipelines.reproduction.verdict import has_learned, told


def test_who_answers_a_right_angle_to_all_has_not_learned():
    true = np.linspace(0, np.pi, 10_001)
    nothing = float(np.mean((true - np.pi / 2) ** 2))
    assert not has_learned(nothing)
    assert has_learned(0.3)


def test_a_verdict_needs_all_trainings_to_have_learned():
    assert told(True, 0.3, 0.1) is True
    assert told(False, 0.3) is False
    assert told(True, 0.3, 0.8) is None
