"""How fast 10,000 orientations are aligned with the truth, and whether anything better exists.

`make bench ARGS="-k bench_alignment"`. The peer is a search on a fine grid with local descent.
"""

import numpy as np
import pytest
from brute_alignment import least_mean_angle

from cryotwin.imaging.rotations import (
    matrices_to_quaternions,
    multiply_quaternions,
    rotation_vectors_to_matrices,
    uniform_quaternions,
)
from cryotwin.recovery.alignment import align_orientations

COUNT = 10_000
FEW = 40
TRIALS = 10


def turned(count, seed, ambiguity, symmetry, spread_rad, wild_share=0.0):
    """Makes truths and estimates that are off by errors and by what an alignment allows."""
    rng = np.random.default_rng(seed)
    true, turn = uniform_quaternions(count, rng), uniform_quaternions(2, rng)
    errors = rotation_vectors_to_matrices(rng.normal(0, spread_rad, (count, 3)))
    estimated = multiply_quaternions(matrices_to_quaternions(errors), true)
    wild = round(wild_share * count)
    estimated[:wild] = uniform_quaternions(wild, rng)
    if ambiguity == "object" or symmetry == "C1":
        estimated = multiply_quaternions(estimated, turn[1])
    if ambiguity == "o4":
        estimated = multiply_quaternions(turn[0], estimated)
    return estimated, true


@pytest.mark.parametrize("symmetry", ["C1", "C7", "D2", "O", "I"])
@pytest.mark.parametrize("ambiguity", ["object", "o4"])
def test_alignment_of_many_orientations(ambiguity, symmetry, measure):
    estimated, true = turned(COUNT, 0, ambiguity, symmetry, 0.1)
    measure(
        f"alignment of {COUNT:,} orientations, {symmetry}, {ambiguity}",
        lambda: align_orientations(estimated, true, ambiguity=ambiguity, symmetry=symmetry),
        items=COUNT,
        unit="orientations",
    )


@pytest.mark.parametrize("symmetry", ["C1", "D2"])
@pytest.mark.parametrize("ambiguity", ["object", "o4"])
def test_alignment_against_brute_force(ambiguity, symmetry, record_result):
    """Errors from 0.05 rad to none in common, half of the orientations wild in some."""
    excess = []
    for seed in range(TRIALS):
        spread, wild = [(0.05, 0.0), (0.3, 0.0), (0.8, 0.0), (0.05, 0.5), (0.1, 1.0)][seed % 5]
        estimated, true = turned(FEW, seed, ambiguity, symmetry, spread, wild)
        ours = align_orientations(estimated, true, ambiguity=ambiguity, symmetry=symmetry)
        excess.append(ours.mean_error - least_mean_angle(estimated, true, ambiguity, symmetry))
    record_result(
        f"alignment of {FEW} orientations, {symmetry}, {ambiguity}: mean angle less that of brute "
        f"force, largest of {TRIALS} trials {max(excess):.1e} rad, least {min(excess):.1e} rad"
    )
    assert max(excess) < 1e-5
