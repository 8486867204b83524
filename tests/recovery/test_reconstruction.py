import numpy as np
import pytest

from cryotwin.imaging.ctf import CtfDistribution, CtfParameters, apply_ctf
from cryotwin.imaging.microscope import shift_and_apply_ctf, shift_images
from cryotwin.imaging.point_groups import symmetry_matrices
from cryotwin.imaging.projection import project_volume
from cryotwin.imaging.rotations import quaternions_to_matrices, uniform_quaternions
from cryotwin.imaging.volume_rotation import rotate_volume
from cryotwin.recovery.reconstruction import reconstruct, reconstruct_halves, sphere_support
from cryotwin.recovery.resolution import fourier_shell_correlation


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
@pytest.mark.parametrize("symmetry", ["C1", "D3"])
def test_with_little_damping_hardly_any_volume_fits_the_images_better(size, symmetry):
    rng = np.random.default_rng(0)
    group = symmetry_matrices(symmetry)
    count = 60 // len(group)
    rotations, ctf = _rotations(count), CTF.parameters(rng.random((count, 4)))
    clean = project_volume(_blobs(size), rotations)
    images = apply_ctf(clean, ctf, 4.0) + 0.3 * clean.std() * rng.standard_normal(clean.shape)
    views = (rotations[None] @ group[:, None]).reshape(-1, 3, 3)
    each = CtfParameters(**{k: np.tile(v, len(group)) for k, v in ctf.columns().items()})

    def project(volume):
        return apply_ctf(project_volume(volume, views), each, 4.0).ravel()

    found = reconstruct(
        images,
        rotations,
        ctf=ctf,
        pixel_size_angstrom=4.0,
        symmetry=symmetry,
        damping=1e-4,
        iterations=100,
    )

    voxels = np.eye(size**3)[np.flatnonzero(sphere_support(size))]
    projector = np.stack([project(v.reshape((size,) * 3)) for v in voxels], axis=1)
    target = np.tile(images, (len(group), 1, 1)).ravel()
    best = projector @ np.linalg.lstsq(projector, target, rcond=None)[0]
    left, least = np.sum((target - project(found)) ** 2), np.sum((target - best) ** 2)
    assert least * (1 - 1e-6) < left < 1.05 * least


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

    found = reconstruct(images, rotations, damping=0.1)
    expected = reconstruct(images[500:525] * (2000 - 500) / 2500, rotations[:25], damping=0.1)

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


@pytest.mark.parametrize("symmetry", ["D2", "C3"])
def test_an_image_counts_in_every_equivalent_orientation(symmetry):
    rotations, group = _rotations(60), symmetry_matrices(symmetry)
    volume = sum(rotate_volume(_blobs(24), element) for element in group)
    images = project_volume(volume, rotations)
    equivalent = np.concatenate([rotations @ element for element in group])

    found = reconstruct(images, rotations, symmetry=symmetry)

    expected = reconstruct(np.tile(images, (len(group), 1, 1)), equivalent)
    assert _relative_difference(found, expected) < 1e-3
    assert _relative_difference(rotate_volume(found, group[1]), found) < 0.05


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


def test_both_projectors_give_one_map():
    rotations = _rotations(100)
    images = project_volume(_blobs(24), rotations)
    maps = [reconstruct(images, rotations, backend=backend) for backend in ("gridding", "nufft")]
    assert _relative_difference(*maps) < 1e-3


@pytest.mark.parametrize(("snr", "count"), [(10.0, 300), (0.1, 300), (0.1, 2000)])
def test_the_damping_that_is_measured_is_about_the_best(snr, count):
    volume, rotations = _blobs(24), _rotations(count)
    images = project_volume(volume, rotations)
    noise = np.random.default_rng(0).standard_normal(images.shape) * images.std() / np.sqrt(snr)

    def agreement(damping):
        found = reconstruct(images + noise, rotations, damping=damping)
        return fourier_shell_correlation(found, volume)[1:6].mean()

    errors = {damping: 1 - agreement(damping) for damping in (None, 0.01, 0.1, 1.0, 3.0)}
    best = min(error for damping, error in errors.items() if damping is not None)
    assert errors[None] < 1.1 * best + 1e-4


@pytest.mark.parametrize("count", [0, 1, 3])
def test_a_few_images_or_none_make_a_finite_map(count):
    rotations = _rotations(3)[:count]
    images = project_volume(_blobs(16), _rotations(3))[:count]
    found = reconstruct(images, rotations, symmetry="C2")
    assert np.isfinite(found).all()
    assert found.any() == (count > 0)


def test_images_of_nothing_but_zeros_make_a_map_of_zeros():
    assert not reconstruct(np.zeros((5, 12, 12), np.float32), _rotations(5)).any()


def test_half_maps_do_not_depend_on_the_threads():
    rotations, halves = _rotations(60), np.arange(60) % 2
    images = project_volume(_blobs(16), rotations)
    one, two = (
        reconstruct_halves(images, rotations, halves, shifts_px=np.zeros((60, 2)), threads=threads)
        for threads in (1, 4)
    )
    for first, second in zip(one, two, strict=True):
        assert _relative_difference(first, second) < 1e-5
