"""How fast images are made."""

import numpy as np

from cryotwin.datasets.perturbation import Perturbation
from cryotwin.imaging.projection import backproject_images, project_volume
from cryotwin.imaging.rotations import quaternions_to_matrices, uniform_quaternions

SIZE, COUNT = 64, 512


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


def test_shift_and_noise(measure):
    images = np.random.default_rng(0).normal(size=(COUNT, SIZE, SIZE)).astype(np.float32)
    perturbation = Perturbation(noise_variance=4, max_shift_px=3)
    measure(
        f"shift and noise of {COUNT} images of {SIZE} px",
        lambda: perturbation.perturb(images, np.random.default_rng(1)),
        items=COUNT,
        unit="images",
    )
