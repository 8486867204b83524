import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import scipy.special
from hypothesis import given
from hypothesis import strategies as st

from cryotwin.imaging import gridding_kernel
from cryotwin.imaging.gridding_kernel import KaiserBessel, best_kernel, choose_kernel, deapodisation
from cryotwin.imaging.projection import backproject_images, make_projector, project_volume
from cryotwin.imaging.rotations import quaternions_to_matrices, uniform_quaternions

WIDTHS = list(gridding_kernel.WIDTHS)
OVERSAMPLING = gridding_kernel.OVERSAMPLING


def _rotations(count, seed=0):
    return quaternions_to_matrices(uniform_quaternions(count, np.random.default_rng(seed)))


def _noise(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


@given(st.lists(st.integers(1, 90), min_size=1, max_size=6), st.integers(0, 2**31))
def test_an_image_has_the_same_bits_whatever_is_projected_with_it(cuts, seed):
    projector = make_projector(_noise(14, 14, 14), backend="gridding", tolerance=1e-3)
    rotations = _rotations(sum(cuts), seed)
    order = np.random.default_rng(seed).permutation(len(rotations))

    together = projector.project(rotations)

    parts = np.split(rotations, np.cumsum(cuts)[:-1])
    assert np.array_equal(np.concatenate([projector.project(p) for p in parts]), together)
    assert np.array_equal(projector.project(rotations[order]), together[order])


def test_threads_that_share_a_projector_give_the_same_bits():
    projector = make_projector(_noise(32, 32, 32), backend="gridding")
    rotations = _rotations(400)

    with ThreadPoolExecutor(4) as pool:
        parts = list(pool.map(projector.project, np.array_split(rotations, 8)))

    assert np.array_equal(np.concatenate(parts), projector.project(rotations))


@pytest.mark.parametrize("tolerance", [1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 2e-6])
@pytest.mark.parametrize("size", [15, 16])
def test_the_adjoint_is_exact_however_rough_the_projection(size, tolerance):
    volume, images, rotations = _noise(size, size, size), _noise(7, size, size), _rotations(7)
    precision = {"backend": "gridding", "tolerance": tolerance}

    projected = project_volume(volume, rotations, **precision)
    smeared = backproject_images(images, rotations, **precision)

    scale = np.linalg.norm(projected) * np.linalg.norm(images)
    assert abs(np.vdot(projected, images) - np.vdot(volume, smeared)) < 1e-6 * scale


@pytest.mark.parametrize("size", [15, 16])
def test_back_projection_agrees_with_that_of_the_reference(size):
    images, rotations = _noise(40, size, size), _rotations(40)

    smeared = backproject_images(images, rotations, backend="gridding", tolerance=2e-6)

    expected = backproject_images(images, rotations, backend="nufft")
    assert np.abs(smeared - expected).max() < 2e-5 * np.abs(expected).max()


def test_views_of_the_axes_are_exact_where_samples_lie_on_the_rim():
    """Every frequency up to Nyquist, on the planes that bound the stored half of the grid."""
    volume = _noise(20, 20, 20)
    turns = np.eye(3)[[[0, 1, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]]]
    rotations = np.concatenate([turns, -turns])

    images = project_volume(volume, rotations, backend="gridding", tolerance=2e-6)

    expected = project_volume(volume, rotations, backend="nufft")
    assert np.abs(images - expected).max() < 2e-5 * np.abs(expected).max()


@pytest.mark.parametrize("width", WIDTHS)
def test_the_polynomials_are_the_kernel(width):
    kernel = best_kernel(width, OVERSAMPLING)
    table = kernel.polynomials()
    u = np.linspace(-1, 1, 201)
    x = (u[:, None] + 1) / 2 + np.arange(width) - width / 2

    values = np.stack([np.polyval(table[:, 2 * tap], u) for tap in range(width)], axis=1)

    root = np.sqrt(np.maximum(1 - (2 * x / width) ** 2, 0))
    exact = scipy.special.i0(kernel.beta * root) / scipy.special.i0(kernel.beta)
    alone = gridding_kernel.aliasing(kernel, OVERSAMPLING)
    assert np.abs(values - exact).max() < max(0.1 * alone, 3e-7)
    assert np.array_equal(table[:, 1 : 2 * width : 2], table[:, : 2 * width : 2])
    assert not table[:, 2 * width :].any()


def test_the_transform_of_the_kernel_is_its_integral():
    kernel = KaiserBessel(width=4, beta=8.0)
    x, weights = scipy.special.roots_legendre(60)
    values = scipy.special.i0(kernel.beta * np.sqrt(1 - x**2)) / scipy.special.i0(kernel.beta)
    frequencies = np.linspace(0, 1.5, 31)

    waves = np.cos(2 * np.pi * frequencies[:, None] * x * kernel.width / 2)

    expected = waves @ (values * weights) * kernel.width / 2
    # The kernel is a step at its ends, which the quadrature sees at its own pace.
    assert np.allclose(kernel.transform(frequencies), expected, atol=1e-6)


@pytest.mark.parametrize("width", WIDTHS)
def test_deapodisation_undoes_the_kernel_up_to_what_aliases(width):
    kernel = best_kernel(width, OVERSAMPLING)
    position = np.linspace(-0.5, 0.5, 41) / OVERSAMPLING

    undone = deapodisation(kernel, position) * kernel.transform(position)

    aliased = 1 - undone
    assert (aliased >= -1e-12).all()
    assert np.sqrt(3 * aliased.mean()) < 2 * gridding_kernel.aliasing(kernel, OVERSAMPLING) + 1e-6


def test_a_smaller_tolerance_takes_a_wider_kernel():
    widths = [choose_kernel(t, OVERSAMPLING).width for t in (1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 2e-6)]

    assert widths == [3, 4, 5, 6, 7, 8]


def test_it_runs_where_no_folder_can_take_the_compiled_loops(tmp_path):
    """As in a container with a read-only package and no home."""
    code = (
        "import numba.core.caching as caching\n"
        "caching.CacheImpl._locator_classes = []\n"
        "import numpy as np\n"
        "from cryotwin.imaging.projection import project_volume\n"
        "volume = np.zeros((6, 6, 6)); volume[3, 3, 3] = 1\n"
        "image = project_volume(volume, np.eye(3)[None], backend='gridding')[0]\n"
        "assert image.argmax() == 3 * 6 + 3, image\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=os.environ, cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
