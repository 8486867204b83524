import numpy as np
import pytest

from cryotwin.imaging.ctf import CtfDistribution, CtfParameters, apply_ctf
from cryotwin.imaging.errors import InputError
from cryotwin.imaging.fourier import disc_to_images, fourier_disc, images_to_disc
from cryotwin.imaging.microscope import shift_images
from cryotwin.imaging.point_groups import symmetry_matrices
from cryotwin.imaging.projection import backproject_images, project_volume
from cryotwin.imaging.rotations import quaternions_to_matrices, uniform_quaternions
from cryotwin.recovery.image_sums import sum_images
from cryotwin.recovery.reconstruction import sphere_support

PIXEL_A = 4.0
backends = pytest.mark.parametrize("backend", ["gridding", "nufft"])


def draw(count, size, seed=0):
    rng = np.random.default_rng(seed)
    images = rng.standard_normal((count, size, size)).astype(np.float32)
    rotations = quaternions_to_matrices(uniform_quaternions(count, rng))
    distribution = CtfDistribution(astigmatism_angstrom=2000.0, b_factor_angstrom2=60.0)
    return images, rotations, distribution.parameters(rng.random((count, 4)))


def difference(first, second):
    return np.linalg.norm(first - second) / np.linalg.norm(second)


@backends
@pytest.mark.parametrize("size", [15, 16])
def test_the_right_side_is_the_adjoint_of_what_makes_images(size, backend):
    images, rotations, ctf = draw(12, size)
    shifts = np.random.default_rng(1).uniform(-2, 2, (12, 2))
    settings = {"shifts_px": shifts, "ctf": ctf, "pixel_size_angstrom": PIXEL_A}

    found = sum_images(images, rotations, **settings, backend=backend).right_side

    expected = backproject_images(shift_images(apply_ctf(images, ctf, PIXEL_A), -shifts), rotations)
    assert difference(found, expected) < 5e-4


@backends
@pytest.mark.parametrize("size", [15, 16])
@pytest.mark.parametrize("symmetry", ["C1", "D3"])
def test_the_kernel_convolves_as_projection_and_back_projection_do(size, symmetry, backend):
    _, rotations, ctf = draw(8, size)
    support = sphere_support(size)
    volume = np.random.default_rng(2).standard_normal((size,) * 3).astype(np.float32) * support
    group = symmetry_matrices(symmetry)
    views = (rotations[None] @ group[:, None]).reshape(-1, 3, 3)
    each = CtfParameters(**{k: np.tile(v, len(group)) for k, v in ctf.columns().items()})

    sums = sum_images(
        np.zeros((8, size, size), np.float32),
        rotations,
        ctf=ctf,
        pixel_size_angstrom=PIXEL_A,
        symmetry=symmetry,
        backend=backend,
    )

    transfer = np.fft.rfftn(np.fft.ifftshift(sums.kernel))
    convolved = np.fft.irfftn(np.fft.rfftn(volume, s=(2 * size,) * 3) * transfer)
    found = convolved[:size, :size, :size] * support
    images = apply_ctf(apply_ctf(project_volume(volume, views), each, PIXEL_A), each, PIXEL_A)
    expected = backproject_images(images, views) * support
    assert difference(found, expected) < 5e-4
    assert (sums.views, sums.order) == (8 * len(group), len(group))


def test_the_energy_is_that_of_the_images_below_nyquist():
    images, rotations, _ = draw(700, 16)
    below = disc_to_images(images_to_disc(images, fourier_disc(16)), fourier_disc(16))

    sums = sum_images(images, rotations)

    assert sums.energy == pytest.approx(float(np.sum(below**2)), rel=1e-4)
    # Of white noise each independent value has the variance of a pixel.
    assert sums.energy / sums.values == pytest.approx(1, abs=0.01)


def test_what_does_not_fit_is_refused():
    images, rotations, ctf = draw(3, 8)
    with pytest.raises(InputError, match="needs pixel_size_angstrom"):
        sum_images(images, rotations, ctf=ctf)
    with pytest.raises(InputError, match="one or of all 3 images, not of 2"):
        sum_images(images, rotations, ctf=ctf.part(slice(2)), pixel_size_angstrom=2.0)
    with pytest.raises(InputError, match="not 'astra'"):
        sum_images(images, rotations, backend="astra")
    with pytest.raises(InputError, match="not 'fourier'"):
        sum_images(images, rotations, backend="fourier")
