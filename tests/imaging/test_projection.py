import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cryotwin.imaging.errors import InputError
from cryotwin.imaging.projection import backproject_images, make_projector, project_volume
from cryotwin.imaging.rotations import (
    FLIP_Y,
    MIRROR,
    quaternions_to_matrices,
    rotation_vectors_to_matrices,
    uniform_quaternions,
)

CPU_BACKENDS = ["nufft", "gridding"]

CENTRES = np.array([[5.0, -3.0, 2.0], [-4.5, 1.25, -6.0], [0.5, 6.0, 3.5], [-1.0, -5.5, 4.0]])
"""Of four Gaussians, as x, y, z in voxels from the origin voxel."""
SIGMAS = np.array([2.0, 1.7, 2.4, 1.9])
WEIGHTS = np.array([1.0, 0.7, -0.4, 1.3])


def _rotations(count, seed=0):
    return quaternions_to_matrices(uniform_quaternions(count, np.random.default_rng(seed)))


def _gaussians(size, centres=CENTRES, weights=WEIGHTS):
    axis = np.arange(size) - size // 2
    z, y, x = np.meshgrid(axis, axis, axis, indexing="ij")
    volume = np.zeros((size,) * 3)
    for (cx, cy, cz), sigma, weight in zip(centres, SIGMAS, weights, strict=True):
        square = (x - cx) ** 2 + (y - cy) ** 2 + (z - cz) ** 2
        volume += weight * np.exp(-square / (2 * sigma**2))
    return volume


def _projected_gaussians(size, rotations):
    """Integrates the Gaussians in closed form: their centres move to the first two rows of R c."""
    axis = np.arange(size) - size // 2
    y, x = np.meshgrid(axis, axis, indexing="ij")
    images = np.zeros((len(rotations), size, size))
    for centre, sigma, weight in zip(CENTRES, SIGMAS, WEIGHTS, strict=True):
        cx, cy, _ = (rotations @ centre).T[..., None, None]
        square = (x - cx) ** 2 + (y - cy) ** 2
        images += weight * np.sqrt(2 * np.pi) * sigma * np.exp(-square / (2 * sigma**2))
    return images


def _band_limited_noise(size, seed=0):
    """Draws white noise within the sphere of frequencies below Nyquist."""
    spectrum = np.fft.fftn(np.random.default_rng(seed).standard_normal((size,) * 3))
    k = np.fft.fftfreq(size)
    radius = k[:, None, None] ** 2 + k[None, :, None] ** 2 + k[None, None, :] ** 2
    return np.fft.ifftn(spectrum * (radius < 0.25)).real.astype(np.float32)


def _flip_y(images):
    """Mirrors images in y about the origin pixel N // 2."""
    size = images.shape[-1]
    return images[..., (2 * (size // 2) - np.arange(size)) % size, :]


@pytest.mark.parametrize("backend", CPU_BACKENDS)
@pytest.mark.parametrize("size", [39, 40])
def test_projections_of_gaussians_off_the_centre_have_their_closed_form(size, backend):
    rotations = _rotations(20)

    images = project_volume(_gaussians(size), rotations, backend=backend)

    expected = _projected_gaussians(size, rotations)
    assert images.dtype == np.float32
    assert np.abs(images - expected).max() < 1e-4 * np.abs(expected).max()


@pytest.mark.parametrize("backend", CPU_BACKENDS)
@given(st.integers(1, 20), st.integers(1, 5), st.integers(0, 2**31))
@settings(max_examples=25)
def test_back_projection_is_the_adjoint_of_projection(backend, size, count, seed):
    rng = np.random.default_rng(seed)
    rotations = _rotations(count, seed)
    volume = rng.standard_normal((size,) * 3).astype(np.float32)
    images = rng.standard_normal((count, size, size)).astype(np.float32)

    projected = project_volume(volume, rotations, backend=backend)
    smeared = backproject_images(images, rotations, backend=backend)

    scale = np.linalg.norm(projected) * np.linalg.norm(images)
    difference = np.vdot(projected, images) - np.vdot(volume, smeared)
    assert abs(difference) < 1e-5 * scale


@pytest.mark.parametrize("backend", CPU_BACKENDS)
def test_a_projection_keeps_the_sum_of_the_volume(backend):
    volume = _gaussians(32)

    images = project_volume(volume, _rotations(10), backend=backend, tolerance=2e-6)

    assert np.allclose(images.sum(axis=(1, 2)), volume.sum(), rtol=1e-5)


@pytest.mark.parametrize("backend", CPU_BACKENDS)
@pytest.mark.parametrize("size", [35, 36])
def test_the_centre_of_mass_of_a_projection_is_the_projected_centre_of_mass(size, backend):
    volume, rotations = _gaussians(size, weights=np.abs(WEIGHTS)), _rotations(30)
    axis = np.arange(size) - size // 2

    images = project_volume(volume, rotations, backend=backend)

    def moments(array):
        """Gives the mean position along each axis, the last (x) first."""
        others = [tuple(set(range(array.ndim)) - {kept}) for kept in range(array.ndim)]
        return [array.sum(axis=o) @ axis / array.sum() for o in others][::-1]

    expected = (rotations @ moments(volume))[:, :2]
    assert np.allclose([moments(image) for image in images], expected, atol=2e-3)


@pytest.mark.parametrize("backend", CPU_BACKENDS)
@pytest.mark.parametrize("size", [21, 22])
def test_the_view_along_z_is_the_sum_over_z(size, backend):
    volume = _band_limited_noise(size)

    image = project_volume(volume, np.eye(3)[None], backend=backend, tolerance=1e-5)[0]

    assert np.abs(image - volume.sum(axis=0)).max() < 1e-4 * np.abs(image).max()


@pytest.mark.parametrize("size", [21, 22])
def test_an_image_flipped_in_y_is_the_view_flip_y_r(size):
    volume, rotations = _band_limited_noise(size), _rotations(6)

    images = project_volume(volume, rotations)
    flipped = project_volume(volume, FLIP_Y @ rotations)

    assert np.abs(flipped - _flip_y(images)).max() < 1e-4 * np.abs(images).max()


@pytest.mark.parametrize("size", [21, 22])
def test_an_image_turned_by_a_right_angle_is_the_view_rz_r(size):
    volume, rotations = _band_limited_noise(size), _rotations(6)
    quarter_turn = rotation_vectors_to_matrices([0, 0, np.pi / 2])

    images = project_volume(volume, rotations)
    turned = project_volume(volume, quarter_turn @ rotations)

    expected = np.swapaxes(_flip_y(images), -1, -2)
    assert np.abs(turned - expected).max() < 1e-4 * np.abs(images).max()


def test_the_mirrored_object_gives_the_same_images_at_mirrored_orientations():
    rotations = _rotations(6)

    images = project_volume(_gaussians(36), rotations)
    mirrored = project_volume(_gaussians(36, -CENTRES), MIRROR @ rotations)

    assert np.abs(mirrored - images).max() < 1e-4 * np.abs(images).max()


def test_a_projection_is_linear_in_the_volume():
    first, second, rotations = _gaussians(24), _band_limited_noise(24), _rotations(4)

    together = project_volume(2 * first - 3 * second, rotations)

    apart = 2 * project_volume(first, rotations) - 3 * project_volume(second, rotations)
    assert np.abs(together - apart).max() < 1e-5 * np.abs(apart).max()


def test_an_image_does_not_depend_on_which_others_are_projected_with_it():
    volume, rotations = _band_limited_noise(12), _rotations(600)

    together = project_volume(volume, rotations)

    assert np.array_equal(project_volume(volume, rotations), together)
    for part in (slice(0, 1), slice(500, 530), slice(599, 600)):
        alone = project_volume(volume, rotations[part])
        assert np.abs(alone - together[part]).max() < 1e-5 * np.abs(together).max()


@pytest.mark.parametrize("backend", CPU_BACKENDS)
def test_no_orientations_give_no_images_and_no_images_an_empty_volume(backend):
    none = np.zeros((0, 3, 3))

    assert project_volume(np.zeros((8, 8, 8)), none, backend=backend).shape == (0, 8, 8)
    assert not backproject_images(np.zeros((0, 8, 8)), none, backend=backend).any()


@pytest.mark.parametrize("backend", CPU_BACKENDS)
def test_a_projector_that_was_prepared_once_gives_the_images_of_project_volume(backend):
    volume, rotations = _band_limited_noise(18), _rotations(9)

    projector = make_projector(volume, backend=backend, tolerance=1e-3)

    assert projector.size == 18
    expected = project_volume(volume, rotations, backend=backend, tolerance=1e-3)
    assert np.array_equal(projector.project(rotations), expected)
    assert np.array_equal(projector.project(rotations), expected)


@pytest.mark.parametrize("backend", CPU_BACKENDS)
@pytest.mark.parametrize("tolerance", [1e-1, 1e-2, 1e-3, 1e-4, 1e-5])
def test_the_error_of_a_volume_that_fills_its_box_is_within_the_tolerance(backend, tolerance):
    volume, rotations = _band_limited_noise(24), _rotations(30)
    exact = project_volume(volume, rotations, tolerance=2e-6)

    images = project_volume(volume, rotations, backend=backend, tolerance=tolerance)

    error = np.linalg.norm(images - exact) / np.linalg.norm(exact)
    assert error < 1.1 * tolerance


def test_input_of_another_shape_is_named():
    cube, images, rotations = np.zeros((8, 8, 8)), np.zeros((2, 8, 8)), np.stack([np.eye(3)] * 2)

    with pytest.raises(InputError, match=r"cube \(N, N, N\), not of shape \(8, 8, 9\)"):
        project_volume(np.zeros((8, 8, 9)), rotations)
    with pytest.raises(InputError, match=r"\(P, 3, 3\), not \(3, 3\)"):
        project_volume(cube, np.eye(3))
    with pytest.raises(InputError, match=r"not \(2, 4\)"):
        project_volume(cube, np.zeros((2, 4)))
    with pytest.raises(InputError, match=r"not \(2, 8, 9\) and \(2, 3, 3\)"):
        backproject_images(np.zeros((2, 8, 9)), rotations)
    with pytest.raises(InputError, match=r"not \(2, 8, 8\) and \(1, 3, 3\)"):
        backproject_images(images, rotations[:1])


def test_values_that_are_not_finite_are_counted():
    cube, images, rotations = np.zeros((8, 8, 8)), np.zeros((2, 8, 8)), np.stack([np.eye(3)] * 2)
    cube[1, 2, 3:5] = np.nan, np.inf
    images[1, 0, 0] = np.nan

    with pytest.raises(InputError, match="volume must be finite, but 2 of 512 values are not"):
        project_volume(cube, rotations)
    with pytest.raises(InputError, match="images must be finite, but 1 of 128 values are not"):
        backproject_images(images, rotations)


@pytest.mark.parametrize("bad", [np.zeros((3, 3)), 2 * np.eye(3), np.full((3, 3), np.nan)])
def test_matrices_that_do_not_rotate_are_refused(bad):
    projector = make_projector(np.zeros((8, 8, 8)), backend="gridding")

    with pytest.raises(InputError, match=r"must be orthogonal matrices, but rotations\[1\]"):
        projector.project(np.stack([np.eye(3), bad]))


@pytest.mark.parametrize("tolerance", [0, -1e-3, 1e-7, 0.5, np.nan])
def test_a_tolerance_out_of_range_is_named(tolerance):
    with pytest.raises(InputError, match=f"from 2e-06 to 0.1, not {tolerance}"):
        make_projector(np.zeros((8, 8, 8)), backend="gridding", tolerance=tolerance)


def test_an_unknown_backend_is_named_beside_those_that_exist():
    message = "one of 'nufft', 'gridding', 'astra', not 'gpu'"
    with pytest.raises(InputError, match=message):
        project_volume(np.zeros((8, 8, 8)), np.eye(3)[None], backend="gpu")
    with pytest.raises(InputError, match=message):
        backproject_images(np.zeros((1, 8, 8)), np.eye(3)[None], backend="gpu")
