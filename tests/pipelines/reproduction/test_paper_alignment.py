import numpy as np
import pytest

from cryotwin.imaging.rotations import orientation_distances, uniform_quaternions
from cryotwin.pipelines.reproduction.paper_alignment import (
    FourRotation,
    FtrlSettings,
    align_by_ftrl,
)


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_six_angles_and_a_sign_make_an_orthogonal_matrix_of_that_determinant(sign):
    layer = FourRotation(np.random.default_rng(0).uniform(0, 6, 6), sign)
    layer.build(None)
    matrix = np.asarray(layer.matrix(), np.float64)
    np.testing.assert_allclose(matrix @ matrix.T, np.eye(4), atol=1e-6)
    assert np.linalg.det(matrix) == pytest.approx(sign, abs=1e-5)


def test_the_layer_gives_the_distances_after_its_matrix():
    rng = np.random.default_rng(1)
    estimated, true = uniform_quaternions(50, rng), uniform_quaternions(50, rng)
    layer = FourRotation(rng.uniform(0, 6, 6), 1.0)
    got = np.asarray(layer(np.stack([estimated, true], axis=1).astype(np.float32)))[:, 0]
    expected = orientation_distances(estimated @ np.asarray(layer.matrix()).T, true)
    np.testing.assert_allclose(got, expected, atol=1e-4)


def test_the_lowest_run_counts_and_its_errors_are_over_all_orientations():
    rng = np.random.default_rng(2)
    true = uniform_quaternions(300, rng)
    turn = np.linalg.qr(rng.standard_normal((4, 4)))[0]
    found = align_by_ftrl(true @ turn, true, FtrlSettings(steps=60))
    assert len(found.run_errors) == 6
    assert found.mean_error == pytest.approx(min(found.run_errors))
    expected = orientation_distances(true @ turn @ found.matrix.T, true)
    np.testing.assert_allclose(found.errors, expected, atol=1e-6)
    assert found.mean_error < np.mean(found.run_errors) + 1e-12
