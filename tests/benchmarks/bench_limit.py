"""How right orientations can be at all: exhaustive matching of images against the true map."""

import numpy as np

from cryotwin.imaging.microscope import signal_variance, snr_from_db
from cryotwin.imaging.projection import project_volume
from cryotwin.imaging.rotations import (
    orientation_distances,
    quaternions_to_matrices,
    uniform_quaternions,
)
from cryotwin.imaging.structures import read_structure
from cryotwin.imaging.volumes import structure_volume
from recovery_limits.projection_matching import match_exhaustively


def test_limit_of_the_bundled_structure_at_minus_6_db(record_result):
    volume = structure_volume(read_structure("7cfn"), size=64).volume
    volume = volume / np.sqrt(signal_variance(volume))
    rng = np.random.default_rng(0)
    true = uniform_quaternions(1000, rng)
    images = project_volume(volume, quaternions_to_matrices(true))
    images += rng.standard_normal(images.shape, np.float32) / np.sqrt(snr_from_db(-6))
    found = match_exhaustively(images, volume, true, np.zeros((1000, 2)), max_shift_px=0.0)
    errors = orientation_distances(found.quaternions, true)
    record_result(
        "1,000 images of 7cfn, 64 px, -6 dB, against the true map: "
        f"error {errors.mean():.4f} rad mean, {np.median(errors):.4f} rad median"
    )
    assert errors.mean() < 0.06
