"""How fast images are made."""

import numpy as np
import pytest

from cryotwin.datasets.perturbation import Perturbation
from cryotwin.imaging.ctf import CtfDistribution
from cryotwin.imaging.noise import NoiseSpectrum
from cryotwin.imaging.projection import backproject_images, project_volume
from cryotwin.imaging.rotations import quaternions_to_matrices, uniform_quaternions

SIZE, COUNT, BATCH = 64, 512, 128
CTF = CtfDistribution(b_factor_angstrom2=50.0)
ICE = NoiseSpectrum((0.0, 0.05, 0.2), (5.0, 2.0, 1.0))


def test_projection_and_its_adjoint(measure):
    rng = np.random.default_rng(0)
    volume = rng.normal(size=(SIZE,) * 3).astype(np.float32)
    rotations = quaternions_to_matrices(uniform_quaternions(COUNT, rng))
    images = project_volume(volume, rotations)
    what = f"of {COUNT} images of {SIZE} px"
    measure(
        f"projection {what}", lambda: project_volume(volume, rotations), items=COUNT, unit="images"
    )
    measure(
        f"backprojection {what}",
        lambda: backproject_images(images, rotations),
        items=COUNT,
        unit="images",
    )


@pytest.mark.parametrize(
    ("what", "perturbation"),
    [
        ("shift and noise", Perturbation(4, 3)),
        ("shift, CTF and noise", Perturbation(4, 3, ctf=CTF)),
        ("shift, CTF and coloured noise", Perturbation(4, 3, "triangular", CTF, ICE)),
    ],
    ids=["shift", "ctf", "coloured"],
)
def test_a_batch_is_perturbed(measure, what, perturbation):
    images = np.random.default_rng(0).normal(size=(BATCH, SIZE, SIZE)).astype(np.float32)
    measure(
        f"{what} of {BATCH} images of {SIZE} px",
        lambda: perturbation.perturb(images, np.random.default_rng(1), pixel_size_angstrom=3.0),
        items=BATCH,
        unit="images",
    )
