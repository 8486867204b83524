import numpy as np
import pytest

from cryotwin.imaging.errors import InputError
from cryotwin.imaging.rotations import quaternions_to_matrices, uniform_quaternions
from cryotwin.models.heads import find_head
from cryotwin.models.siamese import build
from cryotwin.recovery.alignment import align_orientations
from cryotwin.recovery.feature_embedding import (
    FeaturePlacer,
    choose_landmarks,
    embed_features,
    embed_landmarks,
)

COUNT = 3000


def _features(quaternions, symmetry="C1", spread=0.0, seed=1):
    """What an ideal so3 head reads: the kernels' features, off by a normal error each."""
    columns = np.moveaxis(quaternions_to_matrices(quaternions), -1, 0)  # (3, P, 3)
    if symmetry == "C1":
        blocks = [np.concatenate(columns, axis=1)]
    else:
        assert symmetry == "D2"
        c1, c2, c3 = columns
        blocks = [np.einsum("pa,pb->pab", c, c).reshape(len(c), 9) for c in columns]
        blocks.append(np.einsum("pa,pb,pc->pabc", c1, c2, c3).reshape(len(c1), 27))
        assert find_head("so3", "D2").block_sizes(45) == (9, 9, 9, 18)
        # The last block has room for 18 numbers: an orthonormal basis of what the 27 span.
        basis = np.linalg.svd(blocks[3], full_matrices=False)[2][:18]
        assert np.allclose(blocks[3] @ basis.T @ basis, blocks[3], atol=1e-9)
        blocks[3] = blocks[3] @ basis.T
    rng = np.random.default_rng(seed)
    blocks = [block + rng.normal(0, spread, block.shape) for block in blocks]
    units = [block / np.linalg.norm(block, axis=1, keepdims=True) for block in blocks]
    return np.concatenate(units, axis=1).astype(np.float32)


@pytest.fixture(scope="module")
def true():
    return uniform_quaternions(COUNT, np.random.default_rng(0))


def _o4_errors(estimated, true, symmetry="C1"):
    return align_orientations(estimated, true, ambiguity="o4", symmetry=symmetry).errors


def test_exact_features_give_the_orientations_of_more_particles_than_landmarks(true):
    found = embed_features(_features(true), find_head("so3"), landmarks=200)

    assert _o4_errors(found.embedding.quaternions, true).max() < 1e-3
    assert found.embedding.trusted
    assert found.embedding.loss < 1e-6
    assert found.residuals.max() < 1e-3


@pytest.mark.parametrize("symmetry", ["C1", "D2"])
def test_placed_particles_are_as_near_to_the_truth_as_those_embedded_on_all_pairs(true, symmetry):
    some = true[:500]
    features, head = _features(some, symmetry, spread=0.05), find_head("so3", symmetry)

    jointly = embed_features(features, head)
    placed = embed_features(features, head, landmarks=250)

    assert list(jointly.landmarks) == list(range(500))
    assert len(placed.landmarks) == 250
    first, second = (
        _o4_errors(found.embedding.quaternions, some, symmetry) for found in (jointly, placed)
    )
    assert second.mean() < 1.1 * first.mean()
    rest = np.delete(np.arange(500), placed.landmarks)
    assert second[rest].mean() < 1.1 * first.mean()


def test_a_particle_whose_features_belong_to_none_has_the_largest_residual(true):
    features = _features(true, spread=0.03)
    features[17] = -features[17]  # No rotation has these nine numbers.

    found = embed_features(features, find_head("so3"), landmarks=100)

    assert found.residuals.argmax() == 17
    assert found.residuals[17] > 5 * np.median(found.residuals)


def test_the_same_comes_out_with_any_number_of_threads_and_from_a_mapped_file(true, tmp_path):
    features, head = _features(true, spread=0.03), find_head("so3")
    np.save(tmp_path / "features.npy", features)
    placed = []

    one = embed_features(features, head, landmarks=100, progress=placed.append)
    mapped = np.load(tmp_path / "features.npy", mmap_mode="r")
    two = embed_features(mapped, head, landmarks=100, threads=2)

    assert np.array_equal(one.embedding.quaternions, two.embedding.quaternions)
    assert np.array_equal(one.residuals, two.residuals)
    assert sum(placed) == COUNT


def test_batches_of_features_are_placed_as_they_come(true):
    features, head = _features(true, spread=0.03), find_head("so3")
    at_once = embed_features(features, head, landmarks=100)

    rows = choose_landmarks(COUNT, 100, seed=0)
    known = embed_landmarks(features[rows], rows, head)
    placer = FeaturePlacer(known.features, known.embedding.quaternions, head)
    parts = [placer.place(features[start : start + 700]) for start in range(0, COUNT, 700)]

    quaternions = np.concatenate([part.quaternions for part in parts])
    rest = np.delete(np.arange(COUNT), rows)
    assert np.allclose(quaternions[rest], at_once.embedding.quaternions[rest], atol=1e-5)


def test_landmarks_are_drawn_by_the_seed_without_repetition():
    rows = choose_landmarks(10_000, None, seed=3)
    assert len(rows) == len(set(rows)) == 1000
    assert np.array_equal(rows, np.sort(rows))
    assert np.array_equal(rows, choose_landmarks(10_000, None, seed=3))
    assert not np.array_equal(rows, choose_landmarks(10_000, None, seed=4))
    assert np.array_equal(choose_landmarks(50, 80, seed=0), np.arange(50))


def test_the_head_of_a_model_takes_its_own_features():
    from cryotwin.models.features import extract_features
    from cryotwin.models.siamese import head_of

    model = build("resnet_small", feature_dim=12, symmetry="C7")
    images = np.random.default_rng(0).standard_normal((40, 16, 16)).astype(np.float32)
    features = extract_features(model.get_layer("extractor"), images)

    found = embed_features(features, head_of(model), landmarks=20)

    assert found.embedding.quaternions.shape == (40, 4)


def test_features_and_landmarks_that_cannot_be_used_are_told_in_one_line(true):
    features, head = _features(true[:50]), find_head("so3")
    with pytest.raises(InputError, match=r"\(P, D\) with P >= 4, not \(3, 9\)"):
        embed_features(features[:3], head)
    with pytest.raises(InputError, match="landmarks must be at least 4, not 3"):
        embed_features(features, head, landmarks=3)
    features[20, 3] = np.nan
    for landmarks in (None, 10):
        with pytest.raises(InputError, match="features must be finite"):
            embed_features(features, head, landmarks=landmarks)
    known = embed_landmarks(features[:10], np.arange(10), head)
    with pytest.raises(InputError, match=r"must be \(P, 9\), as those of the landmarks"):
        FeaturePlacer(known.features, known.embedding.quaternions, head).place(features[:, :5])
