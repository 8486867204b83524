"""How often common lines find a planted gauge, and how near the best one.

`make bench ARGS="tests/benchmarks/bench_gauge.py"` prints a line for each particle, noise and
shift. In each trial all orientations are wrong by independent rotations, of a mean angle between
0.05 and 0.3 rad, and turned by a random A and B, half of them transposed as well (not under a point
group). The gauge is right if what is left is at most 0.005 rad above the error after the best
isometry of the distances, which is that of the planted errors.
"""

import time

import numpy as np
import pytest
from target_views import LARGEST_SHIFT_PX, SYMMETRIES, target_views, with_noise

from cryotwin.imaging.microscope import shift_images
from cryotwin.imaging.rotations import (
    matrices_to_quaternions,
    quaternions_to_matrices,
    rotation_vectors_to_matrices,
    uniform_quaternions,
)
from cryotwin.recovery.alignment import align_orientations
from cryotwin.recovery.gauge import find_gauge

COUNT = 1000
RIGHT_RAD = 0.005
MEAN_LENGTH = np.sqrt(8 / np.pi)
"""Of a vector of three normal numbers."""


@pytest.fixture(scope="module", params=["5j0n", "5a1a"])
def views(request):
    return request.param, *target_views(request.param, COUNT)


@pytest.mark.parametrize(("share_of_box", "trials"), [(0.0, 100), (0.05, 30)])
@pytest.mark.parametrize("snr_db", [None, -3, -9, -12])
def test_a_planted_gauge_is_found(views, snr_db, share_of_box, trials, record_result):
    name, clean, true = views
    symmetry, largest = SYMMETRIES[name], LARGEST_SHIFT_PX if share_of_box else 0.0
    trials = trials if symmetry == "C1" else 30
    excesses, seconds, right_bits = [], [], 0
    for trial in range(trials):
        rng = np.random.default_rng(trial)
        images = clean
        if largest:
            images = shift_images(clean, rng.uniform(-largest, largest, (COUNT, 2)))
        images = with_noise(images, snr_db, rng)
        estimated, transposed = _planted(true, symmetry, rng)
        begin = time.process_time()
        gauge = find_gauge(images, estimated, max_shift_px=largest, symmetry=symmetry, seed=trial)
        seconds.append(time.process_time() - begin)
        right_bits += gauge.transposed == transposed
        found, best = (
            align_orientations(quaternions, true, ambiguity=ambiguity, symmetry=symmetry).mean_error
            for quaternions, ambiguity in ((gauge.apply(estimated), "object"), (estimated, "o4"))
        )
        excesses.append(found - best)
    right = sum(excess <= RIGHT_RAD for excess in excesses)
    noise = "no noise" if snr_db is None else f"{snr_db} dB"
    record_result(
        f"{name} ({symmetry}), {noise}, shifts to {largest:.1f} px: right {right} of {trials} "
        f"(the transpose {right_bits}), above the O(4) error by {np.mean(excesses):.4f} rad in the "
        f"mean and {max(excesses):.4f} at most, {np.mean(seconds):.1f} s of processor"
    )
    assert right_bits == trials
    assert right == trials


def _planted(true, symmetry, rng):
    error_rad = rng.uniform(0.05, 0.3)
    errors = rng.normal(0, error_rad / MEAN_LENGTH, (len(true), 3))
    matrices = quaternions_to_matrices(true) @ rotation_vectors_to_matrices(errors)
    left, right = quaternions_to_matrices(uniform_quaternions(2, rng))
    if symmetry != "C1":
        return matrices_to_quaternions(left @ matrices), False
    matrices = left @ matrices @ right
    transposed = bool(rng.integers(2))
    if transposed:
        matrices = np.swapaxes(matrices, -1, -2)
    return matrices_to_quaternions(matrices), transposed
