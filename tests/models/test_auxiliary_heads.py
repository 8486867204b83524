import keras
import numpy as np
import pytest
from keras import ops

from cryotwin.imaging.rotations import quaternions_to_matrices, uniform_quaternions
from cryotwin.models.auxiliary_heads import auxiliary_heads, orientation_error
from cryotwin.models.heads import find_head
from cryotwin.models.pair_batches import Views
from cryotwin.models.pair_trainer import PairTrainer
from cryotwin.models.siamese import build
from cryotwin.models.training import train
from cryotwin.models.training_settings import TrainingSettings

QUATERNIONS = uniform_quaternions(32, np.random.default_rng(0))
ROTATIONS = quaternions_to_matrices(QUATERNIONS).reshape(-1, 9).astype(np.float32)
EXACT = ROTATIONS / np.sqrt(np.float32(3))
"""The features that make the so3 head exact."""


def _reading_exact_features(heads):
    scaled = np.sqrt(3) * np.eye(9)
    heads.get_layer("in_plane").set_weights([scaled[:, :6], np.zeros(6)])
    heads.get_layer("direction").set_weights([scaled[:, 6:], np.zeros(3)])


def test_exact_features_have_no_error_and_others_the_squared_difference_of_the_rows():
    heads = auxiliary_heads(9)
    _reading_exact_features(heads)

    estimated = ops.convert_to_numpy(heads(EXACT))
    assert np.allclose(estimated, ROTATIONS, atol=1e-6)
    assert float(orientation_error(estimated, ROTATIONS)) < 1e-10
    # |R - R'|^2 is 6 - 2 tr(R^T R').
    shuffled = np.roll(ROTATIONS, 1, axis=0)
    expected = np.mean(6 - 2 * np.sum(ROTATIONS * shuffled, axis=1))
    assert float(orientation_error(estimated, shuffled)) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("weight", [0.0, 0.5, 2.0])
def test_the_loss_of_a_step_is_that_of_pairs_and_the_weighted_error(weight):
    features = keras.Input((9,))
    extractor = keras.Model(features, features)
    trainer = PairTrainer(extractor, find_head("so3"), weight)
    pairs = float(PairTrainer(extractor, find_head("so3")).compute_loss(y=ROTATIONS, y_pred=EXACT))

    if weight:
        _reading_exact_features(trainer.auxiliary)
        assert float(trainer.compute_loss(y=ROTATIONS, y_pred=EXACT)) == pytest.approx(pairs)
        trainer.auxiliary.set_weights([np.zeros_like(w) for w in trainer.auxiliary.get_weights()])
    # Of nothing, the error is |R|^2 = 3.
    found = float(trainer.compute_loss(y=ROTATIONS, y_pred=EXACT))
    assert found == pytest.approx(pairs + 3 * weight, rel=1e-5)
    assert len(trainer.trainable_variables) == (4 if weight else 0)


def test_read_outs_are_in_the_checkpoint_and_not_in_the_model(tmp_path):
    basis = np.random.default_rng(1).standard_normal((9, 16, 16))
    images = np.einsum("pk,kyx->pyx", ROTATIONS, basis).astype(np.float32)
    settings = TrainingSettings(
        model="resnet_small",
        feature_dim=12,
        epochs=6,
        batch_size=16,
        auxiliary_weight=0.3,
    )
    reports, views = [], Views(images, QUATERNIONS)

    model = train(views, views, settings, checkpoints=tmp_path / "state", report=reports.append)

    plain = build("resnet_small", feature_dim=12)
    assert [layer.name for layer in model.layers] == [layer.name for layer in plain.layers]
    assert model.count_params() == plain.count_params()
    with np.load(tmp_path / "state" / "checkpoint.npz") as saved:
        shapes = [array.shape for array in saved.values()]
    # Each with the two moments of its optimizer.
    assert shapes.count((12, 6)) == shapes.count((12, 3)) == 3
    assert reports[-1].loss < 0.9 * reports[0].loss
