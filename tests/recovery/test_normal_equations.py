import numpy as np
import pytest

from cryotwin.imaging.projection import project_volume
from cryotwin.imaging.rotations import quaternions_to_matrices, uniform_quaternions
from cryotwin.recovery.image_sums import sum_images
from cryotwin.recovery.normal_equations import NormalEquations
from cryotwin.recovery.reconstruction import sphere_support


def equations_of(count, size, damping=0.0):
    rng = np.random.default_rng(0)
    rotations = quaternions_to_matrices(uniform_quaternions(count, rng))
    sums = sum_images(rng.standard_normal((count, size, size)), rotations)
    support = sphere_support(size)
    equations = NormalEquations(sums.kernel, support)
    equations.damp(damping)
    return equations, sums.right_side * support, support


def dense(equations, support):
    """The matrix of the equations over the voxels of the support."""
    inside = np.flatnonzero(support)
    units = np.zeros((len(inside), support.size), dtype=np.float32)
    units[np.arange(len(inside)), inside] = 1
    columns = [equations.apply(unit.reshape(support.shape)).ravel()[inside] for unit in units]
    return np.stack(columns, axis=1).astype(np.float64)


@pytest.mark.parametrize("size", [8, 9])
def test_the_operator_is_symmetric_and_damping_makes_it_positive(size):
    equations, _, support = equations_of(10, size, damping=0.1)
    matrix = dense(equations, support)
    assert np.abs(matrix - matrix.T).max() < 1e-4 * np.abs(matrix).max()
    assert np.linalg.eigvalsh(matrix).min() > 0


@pytest.mark.parametrize("size", [8, 9])
def test_conjugate_gradients_end_at_the_solution(size):
    equations, right_side, support = equations_of(10, size, damping=0.1)
    inside = np.flatnonzero(support)

    found = equations.solve(right_side, start=None, iterations=60, tolerance=1e-6)

    expected = np.linalg.solve(dense(equations, support), right_side.ravel()[inside])
    assert np.linalg.norm(found.ravel()[inside] - expected) < 1e-3 * np.linalg.norm(expected)
    assert not np.delete(found.ravel(), inside).any()


def test_a_good_start_needs_no_steps():
    equations, right_side, _ = equations_of(30, 12, damping=0.5)
    solved = equations.solve(right_side, start=None, iterations=60, tolerance=1e-5)
    again = equations.solve(right_side, start=solved, iterations=0, tolerance=1e-5)
    assert np.array_equal(solved, again)
    better = equations.solve(right_side, start=solved, iterations=50, tolerance=1e-4)
    assert np.array_equal(solved, better)


def test_the_damping_of_a_wave_is_a_part_of_the_mean_of_its_shell():
    """Many views fill each shell evenly, so that damping by d adds the part d to the operator."""
    size = 24
    equations, _, support = equations_of(4000, size)
    x = np.arange(size) - size // 2
    wave = (np.cos(2 * np.pi * 6 * x / size) * support).astype(np.float32)
    undamped = np.vdot(wave, equations.apply(wave))
    equations.damp(0.5)
    assert np.vdot(wave, equations.apply(wave)) == pytest.approx(1.5 * undamped, rel=0.05)
    equations.damp(0)
    assert np.vdot(wave, equations.apply(wave)) == pytest.approx(undamped, rel=1e-4)


def test_few_steps_suffice_with_the_preconditioner():
    equations, right_side, _ = equations_of(500, 32, damping=0.3)
    solved = equations.solve(right_side, start=None, iterations=100, tolerance=1e-7)
    found = equations.solve(right_side, start=None, iterations=5, tolerance=0)
    assert np.linalg.norm(found - solved) < 0.02 * np.linalg.norm(solved)


def test_the_degrees_of_freedom_are_the_trace_that_they_estimate():
    size, count = 9, 60
    equations, _, support = equations_of(count, size, damping=0.2)
    rotations = quaternions_to_matrices(uniform_quaternions(count, np.random.default_rng(0)))
    inside = np.flatnonzero(support)
    units = np.zeros((len(inside), size**3), dtype=np.float32)
    units[np.arange(len(inside)), inside] = 1
    views = [project_volume(unit.reshape((size,) * 3), rotations).ravel() for unit in units]
    gram = np.array(views, dtype=np.float64) @ np.array(views, dtype=np.float64).T
    expected = np.trace(np.linalg.solve(dense(equations, support), gram))
    assert equations.degrees_of_freedom() == pytest.approx(expected, rel=0.25)
