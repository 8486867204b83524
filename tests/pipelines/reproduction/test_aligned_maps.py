"""Maps in the frame of the truth: right with right orientations, none with a wrong gauge."""

import numpy as np
import pytest

from cryotwin.datasets.perturbation import PerturbedImages
from cryotwin.imaging import project_volume
from cryotwin.imaging.rotations import quaternions_to_matrices, uniform_quaternions
from cryotwin.models.pair_batches import Views
from cryotwin.pipelines.reproduction.aligned_maps import aligned_map
from cryotwin.pipelines.reproduction.views import SplitViews

_PIXEL = 5.0


@pytest.fixture(scope="module")
def blobs():
    """A volume of 24 px, with 300 noiseless projections of it."""
    z, y, x = np.mgrid[:24, :24, :24] - 12
    centres = np.random.default_rng(0).uniform(-5, 5, (6, 3))
    volume = sum(np.exp(-((x - a) ** 2 + (y - b) ** 2 + (z - c) ** 2) / 3) for a, b, c in centres)
    quaternions = uniform_quaternions(300, np.random.default_rng(1))
    images = project_volume(volume.astype(np.float32), quaternions_to_matrices(quaternions))
    made = SplitViews({"test": Views(images, quaternions)}, volume.astype(np.float32), _PIXEL)
    return made, PerturbedImages(images, np.zeros((300, 2), np.float32), None)


def test_true_orientations_give_the_true_map(blobs):
    made, seen = blobs
    found = aligned_map(made, seen, made.splits["test"].quaternions)
    assert found.resolution_angstrom < 3 * _PIXEL
    assert np.corrcoef(found.volume.ravel(), made.volume.ravel())[0, 1] > 0.98


def test_orientations_in_a_wrong_gauge_give_another_map(blobs):
    made, seen = blobs
    transposed = made.splits["test"].quaternions * [1, -1, -1, -1]
    assert aligned_map(made, seen, transposed).resolution_angstrom > 4 * _PIXEL
