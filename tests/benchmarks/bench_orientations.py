"""How fast particles get orientations, and pairs are found."""

import numpy as np
import pytest

from cryotwin.datasets.pairs import sample_pairs
from cryotwin.datasets.perturbation import Perturbation
from cryotwin.datasets.synthesis import ParticleSettings, draw_orientations
from cryotwin.imaging.rotations import pairwise_distances, uniform_quaternions

COUNT = 20_000


@pytest.mark.parametrize("orientations", ["so3", "euler", "vmf:20:3", "acg:3,1,1,3"])
@pytest.mark.parametrize("symmetry", ["C1", "D2", "I"])
def test_orientations_each_from_its_own_generator(measure, orientations, symmetry):
    settings = ParticleSettings("bench", 1.0, 0, orientations, Perturbation(), symmetry)
    measure(
        f"{COUNT} orientations, {orientations}, {symmetry}",
        lambda: draw_orientations(range(COUNT), settings),
        items=COUNT,
        unit="orientations",
    )


@pytest.mark.parametrize("symmetry", ["C1", "D2", "I"])
@pytest.mark.parametrize("particles", [2_512, 100_000])
def test_pairs_at_uniform_distances(measure, particles, symmetry):
    quaternions = uniform_quaternions(particles, np.random.default_rng(0))
    measure(
        f"10,000 pairs of {particles} particles, {symmetry}",
        lambda: sample_pairs(quaternions, 10_000, np.random.default_rng(1), symmetry=symmetry),
        items=10_000,
        unit="pairs",
    )


@pytest.mark.parametrize("symmetry", ["C1", "D2", "I"])
def test_all_distances(measure, symmetry):
    quaternions = uniform_quaternions(2000, np.random.default_rng(0))
    measure(
        f"all distances of 2000 orientations, {symmetry}",
        lambda: pairwise_distances(quaternions, symmetry=symmetry),
        items=2000**2,
        unit="distances",
    )
