import numpy as np

from cryotwin.models.training import EpochReport
from cryotwin.pipelines.reproduction.epoch_curve import EpochCurve

TRUE = np.linspace(0.1, 3, 64)


def epoch(number, loss, off):
    return EpochReport(number, 0.5, loss, off**2, 1e-3, TRUE + off, TRUE)


def test_epochs_are_kept_and_one_that_is_done_again_takes_its_place(tmp_path):
    first = EpochCurve(tmp_path / "curve.json")
    assert np.isclose(first.add(epoch(1, 0.5, 0.2)), 0.04)
    first.add(epoch(2, 0.4, 0.1))
    again = EpochCurve(tmp_path / "curve.json")
    assert again.rows == first.rows
    again.add(epoch(2, 0.3, 0.05))
    np.testing.assert_allclose(again.rows, [[0.5, 0.04], [0.3, 0.0025]])
    assert EpochCurve(tmp_path / "curve.json").rows == again.rows
