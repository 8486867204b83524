import numpy as np
import pytest

from cryotwin.imaging.projection import project_volume
from cryotwin.imaging.rotations import quaternions_to_matrices, uniform_quaternions
from cryotwin.models.heads import find_head
from cryotwin.recovery.alignment import align_orientations
from cryotwin.recovery.confidence import judge_orientations
from cryotwin.recovery.feature_embedding import embed_features
from cryotwin.recovery.first_orientations import Views, find_first_orientations
from cryotwin.recovery.stages import Stages

GOOD, JUNK, SIZE = 160, 40, 32
HEAD = find_head("so3")


@pytest.fixture(scope="module")
def particles():
    """Views of eight blobs, then noise; features of exact distances, then all the same one."""
    rng, axis = np.random.default_rng(4), np.arange(SIZE) - SIZE // 2
    volume = np.zeros((SIZE,) * 3)
    for z, y, x in rng.uniform(-6, 6, (8, 3)):
        along = [np.exp(-((axis - centre) ** 2) / 4) for centre in (z, y, x)]
        volume += np.einsum("i,j,k->ijk", *along)
    true = uniform_quaternions(GOOD, rng)
    rotations = quaternions_to_matrices(true)
    images = np.zeros((GOOD + JUNK, SIZE, SIZE), np.float32)
    images[:GOOD] = project_volume(volume, rotations)
    images[:GOOD] /= images[:GOOD].std()
    images += rng.standard_normal(images.shape, np.float32)
    features = np.tile(rng.standard_normal(9) / 3, (GOOD + JUNK, 1))
    features[:GOOD] = rotations.reshape(GOOD, 9) / np.sqrt(3)
    return images, features.astype(np.float32), true


def _found(images, features):
    stages = []
    views = Views(images, pixel_size_angstrom=3.0, ctf=None, symmetry="C1", max_shift_px=0.0)
    found = find_first_orientations(
        views, features, HEAD, seed=0, threads=1, stages=Stages(stages.append)
    )
    return found, stages


def test_junk_is_told_and_does_not_move_the_particles(particles):
    images, features, true = particles

    found, stages = _found(images, features)

    assert found.junk[GOOD:].all()
    assert found.junk[:GOOD].mean() < 0.05
    assert stages.count("embedding") > 1
    assert (found.embedded.landmarks >= GOOD).mean() < 0.02
    error = align_orientations(found.quaternions[:GOOD], true).mean_error
    together = embed_features(features, HEAD).embedding.quaternions[:GOOD]
    assert error < 0.05
    assert align_orientations(together, true, ambiguity="o4").mean_error > error


def test_particles_without_junk_are_embedded_once(particles):
    images, features, true = particles

    found, stages = _found(images[:GOOD], features[:GOOD])

    assert stages == ["embedding", "gauge", "confidence"]
    assert align_orientations(found.quaternions, true).mean_error < 0.05


def test_distances_that_fit_together_are_not_trusted_when_images_are_noise(particles):
    _, features, _ = particles
    noise = np.random.default_rng(9).standard_normal((GOOD, SIZE, SIZE)).astype(np.float32)

    found, _ = _found(noise, features[:GOOD])

    embedding = found.embedded.embedding
    trust = judge_orientations(embedding.trusted, embedding.reason, found.significance)
    assert embedding.trusted
    assert not trust.trusted
    assert "the images do not bear it out" in trust.reason
