"""Refinement from orientations that are off by 0.1 rad, beside matching to the true map."""

import time

import numpy as np
import pytest
from target_views import (
    LARGEST_SHIFT_PX,
    PIXEL_SIZES_ANGSTROM,
    SIZE,
    SYMMETRIES,
    target_views,
    with_noise,
)

from cryotwin.imaging.microscope import shift_images
from cryotwin.imaging.rotations import (
    matrices_to_quaternions,
    quaternions_to_matrices,
    rotation_vectors_to_matrices,
)
from cryotwin.recovery.alignment import align_orientations
from cryotwin.recovery.compared_images import ComparedImages
from cryotwin.recovery.local_matching import match_images
from cryotwin.recovery.reconstruction import reconstruct
from cryotwin.recovery.reference import Reference
from cryotwin.recovery.refinement import refine_orientations

COUNT = 1650
START_RAD = 0.1


@pytest.mark.parametrize("snr_db", [None, -6, -12], ids=["noiseless", "-6 dB", "-12 dB"])
@pytest.mark.parametrize("name", ["7cfn", "5j0n", "5a1a"])
def test_refinement_beside_the_true_map(name, snr_db, record_result):
    pixel_size = PIXEL_SIZES_ANGSTROM.get(name, 1.5)
    clean, true = target_views(name, COUNT, pixel_size_angstrom=pixel_size)
    rng = np.random.default_rng(1)
    shifts = rng.uniform(-LARGEST_SHIFT_PX, LARGEST_SHIFT_PX, (COUNT, 2))
    images = with_noise(shift_images(clean, shifts), snr_db, rng)
    turns = rng.standard_normal((COUNT, 3))
    turns *= START_RAD / np.linalg.norm(turns, axis=1, keepdims=True)
    start = rotation_vectors_to_matrices(turns) @ quaternions_to_matrices(true)

    began = time.perf_counter()
    found = refine_orientations(
        images,
        matrices_to_quaternions(start),
        np.arange(COUNT) % 2,
        pixel_size_angstrom=pixel_size,
        symmetry=SYMMETRIES[name],
        max_shift_px=LARGEST_SHIFT_PX,
    )
    seconds = time.perf_counter() - began

    errors = align_orientations(found.quaternions, true, symmetry=SYMMETRIES[name]).errors
    limit = _limit_rad(clean, images, true, shifts, name)
    noise = "noiseless" if snr_db is None else f"{snr_db} dB"
    record_result(
        f"{name}, {noise}, {COUNT} images of {SIZE} px: {errors.mean():.5f} rad mean, "
        f"{np.median(errors):.5f} median, in {len(found.rounds)} rounds and {seconds:.0f} s; "
        f"the true map {limit:.5f}"
    )
    assert errors.mean() < (0.003 if snr_db is None else 2.5 * limit)


def _limit_rad(clean, images, true, shifts, name):
    """Matches to a map of the clean images from the truth: the error that noise alone causes."""
    rotations, rows = quaternions_to_matrices(true), np.arange(COUNT)
    volume = reconstruct(clean, rotations, symmetry=SYMMETRIES[name], iterations=40)
    compared = ComparedImages.of(images).below(SIZE / 2, SIZE)
    reference = Reference(volume)
    left = reference.compare(compared, compared.disc.weights, rows, rotations, shifts, 2)
    variance = left.ring_errors.mean(axis=0) / compared.ring_weights
    match = match_images(
        reference,
        compared,
        variance,
        rows,
        rotations,
        shifts,
        most_shift_px=2 * LARGEST_SHIFT_PX,
        steps=10,
        threads=2,
    )
    found = matrices_to_quaternions(match.rotations)
    return align_orientations(found, true, symmetry=SYMMETRIES[name]).mean_error
