"""How right orientations can be at all: exhaustive matching of images against the true map."""

import numpy as np

from cryotwin.imaging.fourier import fourier_disc, images_to_disc
from cryotwin.imaging.microscope import signal_variance, snr_from_db
from cryotwin.imaging.projection import project_volume
from cryotwin.imaging.rotations import (
    matrices_to_quaternions,
    orientation_distances,
    quaternions_to_matrices,
    rotation_grid,
    uniform_quaternions,
)
from cryotwin.imaging.structures import read_structure
from cryotwin.imaging.volumes import structure_volume
from cryotwin.recovery.matching import match_globally, match_locally


def test_limit_of_the_bundled_structure_at_minus_6_db(record_result):
    volume = structure_volume(read_structure("7cfn"), size=64).volume
    volume = volume / np.sqrt(signal_variance(volume))
    rng = np.random.default_rng(0)
    true = uniform_quaternions(1000, rng)
    images = project_volume(volume, quaternions_to_matrices(true))
    images += rng.standard_normal(images.shape, np.float32) / np.sqrt(snr_from_db(-6))
    disc, centred = fourier_disc(64), np.zeros((1000, 2))
    coefficients = images_to_disc(images, disc)
    grid = rotation_grid(0.1)
    which, _ = match_globally(
        coefficients, volume, grid, disc, disc.radius <= 16, shifts_px=np.zeros((1, 2))
    )
    everything = disc.radius < 32
    found, _, _ = match_locally(
        coefficients, volume, grid[which], centred, disc, everything, steps=10, fit_shifts=False
    )
    errors = orientation_distances(matrices_to_quaternions(found), true)
    record_result(
        "1,000 images of 7cfn, 64 px, -6 dB, against the true map: "
        f"error {errors.mean():.4f} rad mean, {np.median(errors):.4f} rad median"
    )
    assert errors.mean() < 0.06
