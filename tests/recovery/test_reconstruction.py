import numpy as np
import pytest

from cryotwin.imaging.ctf import CtfDistribution, CtfParameters, apply_ctf
from cryotwin.imaging.errors import InputError
from cryotwin.imaging.microscope import shift_and_apply_ctf, shift_images
from cryotwin.imaging.point_groups import symmetry_matrices
from cryotwin.imaging.projection import backproject_images, project_volume
from cryotwin.imaging.rotations import quaternions_to_matrices, uniform_quaternions
from cryotwin.imaging.volume_rotation import rotate_volume
from cryotwin.recovery.reconstruction import reconstruct, reconstruct_halves, sphere_support


def _rotations(count, seed=0):
    return quaternions_to_matrices(uniform_quaternions(count, np.random.default_rng(seed)))


def _blobs(size):
    """Three Gaussians within the sphere, well below Nyquist; axes z, y, x."""
    axis = (np.arange(size) - size // 2) * (32 / size)
    z, y, x = np.meshgrid(axis, axis, axis, indexing="ij")
    volume = np.exp(-((x - 4) ** 2 + (y + 3) ** 2 + (z - 1) ** 2) / 12)
    volume += 0.7 * np.exp(-((x + 5) ** 2 + y**2 + (z - 4) ** 2) / 9)
    return volume + 1.2 * np.exp(-(x**2 + (y - 5) ** 2 + (z + 4) ** 2) / 14)


def _relative_difference(first, second):
    return np.linalg.norm(first - second) / np.linalg.norm(second)


@pytest.mark.parametrize("size", [31, 32])
def test_a_volume_comes_back_from_its_projections(size):
    volume, rotations = _blobs(size), _rotations(150)

    found = reconstruct(project_volume(volume, rotations), rotations, damping=1e-6, iterations=40)

    assert found.dtype == np.float32
    assert _relative_difference(found, volume) < 0.02


def test_projections_of_the_reconstruction_are_the_images():
    volume, rotations = _blobs(32), _rotations(100)
    images = project_volume(volume, rotations)

    found = reconstruct(images, rotations, damping=1e-6, iterations=40)

    unseen = _rotations(20, seed=1)
    assert _relative_difference(project_volume(found, rotations), images) < 0.01
    assert (
        _relative_difference(project_volume(found, unseen), project_volume(volume, unseen)) < 0.02
    )


@pytest.mark.parametrize("size", [8, 9])
def test_a_reconstruction_is_the_damped_least_squares_solution(size):
    rng = np.random.default_rng(0)
    rotations = _rotations(12)
    images = rng.standard_normal((12, size, size)).astype(np.float32)
    damping = 0.05
    inside = np.flatnonzero(sphere_support(size))
    voxels = np.zeros((len(inside), size**3))
    voxels[np.arange(len(inside)), inside] = 1

    found = reconstruct(images, rotations, damping=damping, iterations=300)

    columns = [project_volume(v.reshape((size,) * 3), rotations).ravel() for v in voxels]
    projector = np.stack(columns, axis=1).astype(np.float64)
    # The mean of the diagonal of the normal operator, over N.
    level = damping * np.mean(np.sum(projector**2, axis=0)) / size
    normal = projector.T @ projector + level * np.eye(len(inside))
    expected = np.linalg.solve(normal, projector.T @ images.ravel())
    assert _relative_difference(found.ravel()[inside], expected) < 1e-3
    assert not np.delete(found.ravel(), inside).any()


@pytest.mark.parametrize("size", [15, 16])
def test_the_normal_operator_by_fft_is_back_projection_of_projection(size):
    """One step of conjugate gradients along b has the length <b, b> / <b, P^T P b>."""
    rotations = _rotations(30)
    images = np.random.default_rng(0).standard_normal((30, size, size)).astype(np.float32)

    one_step = reconstruct(images, rotations, damping=0.0, iterations=1)
    two_steps = reconstruct(images, rotations, damping=0.0, iterations=2)

    def normal(volume):
        return backproject_images(project_volume(volume, rotations), rotations) * support

    support = sphere_support(size)
    right_side = backproject_images(images, rotations) * support
    moved = normal(right_side)
    step = np.vdot(right_side, right_side) / np.vdot(right_side, moved)
    residual = right_side - step * moved
    direction = residual + right_side * np.vdot(residual, residual) / np.vdot(
        right_side, right_side
    )
    second = np.vdot(residual, residual) / np.vdot(direction, normal(direction))
    assert _relative_difference(one_step, step * right_side) < 1e-4
    assert _relative_difference(two_steps, step * right_side + second * direction) < 1e-4


def test_shifts_of_the_images_are_taken_back():
    volume, rotations = _blobs(32), _rotations(100)
    shifts = np.random.default_rng(0).uniform(-3, 3, (100, 2))
    images = project_volume(volume, rotations)

    centred = reconstruct(images, rotations)
    found = reconstruct(shift_images(images, shifts), rotations, shifts_px=shifts)
    ignored = reconstruct(shift_images(images, shifts), rotations)

    assert _relative_difference(found, centred) < 1e-3
    assert _relative_difference(ignored, centred) > 0.1


def test_a_reconstruction_is_linear_in_the_images():
    rotations = _rotations(40)
    images = project_volume(_blobs(16), rotations)

    found = reconstruct(images, rotations)

    assert _relative_difference(reconstruct(-2.5 * images, rotations), -2.5 * found) < 1e-4


def test_more_images_than_one_batch_are_all_used():
    """Each of the first images has the wrong sign: only the mean over all comes out right."""
    rotations = np.tile(_rotations(25), (100, 1, 1))
    volume = _blobs(12)
    images = np.tile(project_volume(volume, rotations[:25]), (100, 1, 1))
    images[:500] *= -1

    found = reconstruct(images, rotations)
    expected = reconstruct(images[500:525] * (2000 - 500) / 2500, rotations[:25])

    assert _relative_difference(found, expected) < 1e-3


def test_noise_averages_out_over_the_images():
    volume, rng = _blobs(16), np.random.default_rng(0)

    def error(count):
        rotations = _rotations(count)
        images = project_volume(volume, rotations)
        noisy = images + 0.5 * rng.standard_normal(images.shape)
        clean = reconstruct(images, rotations, damping=0.01)
        return np.linalg.norm(reconstruct(noisy, rotations, damping=0.01) - clean)

    assert error(1600) == pytest.approx(error(400) / 2, rel=0.15)


CTF = CtfDistribution(
    defocus_angstrom=(8000.0, 20000.0), astigmatism_angstrom=2000.0, b_factor_angstrom2=60.0
)


def test_a_volume_comes_back_from_images_with_contrast_transfer():
    volume, rotations = _blobs(32), _rotations(300)
    rng = np.random.default_rng(0)
    ctf, shifts = CTF.parameters(rng.random((300, 4))), rng.uniform(-2, 2, (300, 2))
    images = shift_and_apply_ctf(project_volume(volume, rotations), shifts, ctf, 3.0)
    settings = {"shifts_px": shifts, "damping": 1e-6, "iterations": 60}

    found = reconstruct(images, rotations, ctf=ctf, pixel_size_angstrom=3.0, **settings)
    ignored = reconstruct(images, rotations, **settings)

    assert _relative_difference(found, volume) < 0.03
    assert _relative_difference(ignored, volume) > 0.3


@pytest.mark.parametrize("size", [8, 9])
def test_with_contrast_transfer_and_symmetry_it_is_still_the_least_squares_solution(size):
    rng = np.random.default_rng(0)
    rotations, ctf = _rotations(5), CTF.parameters(rng.random((5, 4)))
    images = rng.standard_normal((5, size, size)).astype(np.float32)
    damping = 0.05
    inside = np.flatnonzero(sphere_support(size))
    voxels = np.zeros((len(inside), size**3))
    voxels[np.arange(len(inside)), inside] = 1

    found = reconstruct(
        images,
        rotations,
        ctf=ctf,
        pixel_size_angstrom=4.0,
        symmetry="D3",
        damping=damping,
        iterations=300,
    )

    group = symmetry_matrices("D3")
    equivalent = (rotations[None] @ group[:, None]).reshape(-1, 3, 3)
    everywhere = CtfParameters(**{k: np.tile(v, len(group)) for k, v in ctf.columns().items()})
    columns = [
        apply_ctf(project_volume(v.reshape((size,) * 3), equivalent), everywhere, 4.0).ravel()
        for v in voxels
    ]
    projector = np.stack(columns, axis=1).astype(np.float64)
    level = damping * np.mean(np.sum(projector**2, axis=0)) / size
    normal = projector.T @ projector + level * np.eye(len(inside))
    right_side = projector.T @ np.tile(images, (len(group), 1, 1)).ravel()
    assert _relative_difference(found.ravel()[inside], np.linalg.solve(normal, right_side)) < 1e-3


@pytest.mark.parametrize("symmetry", ["D2", "C3"])
def test_an_image_counts_in_every_equivalent_orientation(symmetry):
    rotations, group = _rotations(60), symmetry_matrices(symmetry)
    volume = sum(rotate_volume(_blobs(24), element) for element in group)
    images = project_volume(volume, rotations)
    equivalent = np.concatenate([rotations @ element for element in group])

    found = reconstruct(images, rotations, symmetry=symmetry)

    expected = reconstruct(np.tile(images, (len(group), 1, 1)), equivalent)
    assert _relative_difference(found, expected) < 1e-3
    assert _relative_difference(rotate_volume(found, group[1]), found) < 0.02


def test_halves_with_contrast_transfer_are_the_maps_of_their_images():
    rotations, rng = _rotations(40), np.random.default_rng(0)
    ctf, halves = CTF.parameters(rng.random((40, 4))), np.arange(40) % 2
    images = apply_ctf(project_volume(_blobs(16), rotations), ctf, 6.0)
    settings = {"pixel_size_angstrom": 6.0, "symmetry": "C2"}

    found = reconstruct_halves(
        images, rotations, halves, shifts_px=np.zeros((40, 2)), ctf=ctf, **settings
    )

    for half, volume in enumerate(found):
        rows = np.flatnonzero(halves == half)
        expected = reconstruct(images[rows], rotations[rows], ctf=ctf.part(rows), **settings)
        assert _relative_difference(volume, expected) < 1e-5


def test_a_ctf_that_does_not_fit_the_images_is_refused():
    images, rotations = np.zeros((3, 8, 8), np.float32), _rotations(3)
    ctf = CTF.parameters(np.full((2, 4), 0.5))
    with pytest.raises(InputError, match="needs pixel_size_angstrom"):
        reconstruct(images, rotations, ctf=ctf)
    with pytest.raises(InputError, match="one or of all 3 images, not of 2"):
        reconstruct(images, rotations, ctf=ctf, pixel_size_angstrom=2.0)
