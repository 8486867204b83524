"""How fast distances become orientations."""

import numpy as np

from cryotwin.imaging.projection import project_volume
from cryotwin.imaging.rotations import (
    pairwise_distances,
    quaternions_to_matrices,
    uniform_quaternions,
)
from cryotwin.recovery.alignment import align_orientations
from cryotwin.recovery.embedding import embed_distances
from cryotwin.recovery.gauge import find_gauge

COUNT = 1000


def test_embedding_of_all_distances(measure):
    true = uniform_quaternions(COUNT, np.random.default_rng(0))
    noise = np.random.default_rng(1).normal(scale=0.1, size=(COUNT, COUNT))
    distances = np.clip(pairwise_distances(true) + (noise + noise.T) / 2, 0, np.pi)
    np.fill_diagonal(distances, 0)
    measure(
        f"embedding of {COUNT} orientations",
        lambda: embed_distances(distances),
        items=COUNT,
        unit="orientations",
    )


def test_gauge_from_common_lines(measure):
    rng = np.random.default_rng(0)
    true = uniform_quaternions(200, rng)
    volume = rng.normal(size=(64,) * 3).astype(np.float32)
    images = project_volume(volume, quaternions_to_matrices(true))
    measure("gauge of 200 images of 64 px", lambda: find_gauge(images, true), items=1, unit="runs")


def test_alignment_with_the_truth(measure):
    rng = np.random.default_rng(0)
    true, estimated = uniform_quaternions(COUNT, rng), uniform_quaternions(COUNT, rng)
    for ambiguity in ("object", "o4"):
        measure(
            f"alignment of {COUNT} orientations, {ambiguity}",
            lambda ambiguity=ambiguity: align_orientations(estimated, true, ambiguity=ambiguity),
            items=COUNT,
            unit="orientations",
        )
