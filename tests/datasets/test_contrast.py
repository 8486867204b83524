from pathlib import Path

import numpy as np
import pytest

from cryotwin.datasets.contrast import are_dark, centre_contrast, check_contrast
from cryotwin.datasets.particles import read_particles
from cryotwin.imaging.ctf import CtfDistribution
from cryotwin.imaging.errors import InputError
from cryotwin.imaging.microscope import shift_and_apply_ctf
from cryotwin.imaging.projection import project_volume
from cryotwin.imaging.rotations import quaternions_to_matrices, uniform_quaternions
from cryotwin.imaging.structures import read_structure
from cryotwin.imaging.volumes import structure_volume

REAL = Path(__file__).resolve().parents[3] / "shared/data/particles"
COUNT, SIZE = 60, 32


@pytest.fixture(scope="module")
def views():
    found = structure_volume(read_structure("7cfn"), size=SIZE)
    rotations = quaternions_to_matrices(uniform_quaternions(COUNT, np.random.default_rng(0)))
    images = project_volume(found.volume, rotations)
    return images / images.std(), found.pixel_size_angstrom


def test_the_contrast_of_a_disc_is_its_height_over_the_noise():
    axis = np.arange(64) - 32
    disc = np.hypot(axis[:, None], axis[None, :]) <= 16
    rng = np.random.default_rng(0)
    images = 3.0 * disc + 2.0 * rng.standard_normal((50, 64, 64))
    assert centre_contrast(images).mean() == pytest.approx(1.5, rel=0.02)


@pytest.mark.parametrize("noise", [0.0, 1.0, 4.0])
def test_dark_particles_are_told_from_bright_ones_in_noise(views, noise):
    images, _ = views
    images = images + noise * np.random.default_rng(1).standard_normal(images.shape)
    assert not are_dark(images)
    assert are_dark(-images)


def test_a_ctf_does_not_make_bright_particles_dark(views):
    images, pixel_size = views
    rng = np.random.default_rng(2)
    ctf = CtfDistribution().parameters(rng.random((COUNT, 4)))
    seen = shift_and_apply_ctf(images, np.zeros((COUNT, 2)), ctf, pixel_size)
    assert not are_dark(seen + rng.standard_normal(seen.shape))


def test_noise_and_a_single_image_are_not_called_dark(views):
    assert not are_dark(np.random.default_rng(3).standard_normal((200, 32, 32)))
    assert not are_dark(-views[0][:1])


def test_what_is_dark_is_told_with_the_flag_that_helps(views):
    check_contrast(views[0], "p.star")
    with pytest.raises(InputError, match=r"p\.star: .* 100% .*--invert-contrast"):
        check_contrast(-views[0], "p.star")


@pytest.mark.parametrize(
    ("name", "dark"),
    [
        ("class17/sample_particles_relion31.star", False),
        ("relion31/relion31.star", False),
        ("empiar10076/empiar_10076_7.star", True),  # the .cs of the same stack has the sign -1
        ("empiar10076/empiar_10076_7.cs", False),
    ],
)
def test_real_particles_have_the_contrast_that_their_programs_give_them(name, dark):
    if not (REAL / name).exists():
        pytest.skip("the real particles are not there")
    assert are_dark(read_particles(REAL / name).images) is dark
