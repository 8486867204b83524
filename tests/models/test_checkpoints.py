import resource

import keras
import numpy as np
import pytest

from cryotwin.imaging.errors import InputError
from cryotwin.models.checkpoints import Checkpoint, Progress


def _model():
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(50), keras.layers.Dense(1)])
    model.compile(optimizer=keras.optimizers.AdamW(1e-2), loss="mse")
    return model


def _step(model, seed):
    rng = np.random.default_rng(seed)
    model.train_on_batch(rng.standard_normal((8, 4)), rng.standard_normal((8, 1)))


@pytest.fixture
def full_disk():
    """Lets no file of this process grow beyond a kilobyte."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill():
        resource.setrlimit(resource.RLIMIT_FSIZE, (1024, before[1]))

    def make_room():
        resource.setrlimit(resource.RLIMIT_FSIZE, before)

    yield fill, make_room
    make_room()


def test_a_restored_model_takes_the_same_next_step(tmp_path):
    model, checkpoint = _model(), Checkpoint(tmp_path, {"views": "these"})
    _step(model, 0)
    progress = Progress(step=1, seconds=2.5, loss_sum=0.1, loss_count=1, best_mse=0.3)
    checkpoint.save(model, progress, best=[np.arange(3.0)])
    _step(model, 1)

    again = _model()
    found, best = checkpoint.restore(again)
    _step(again, 1)

    assert found == progress
    assert np.array_equal(best[0], np.arange(3.0))
    for one, other in zip(model.get_weights(), again.get_weights(), strict=True):
        assert np.array_equal(one, other)


def test_a_disk_that_fills_leaves_the_checkpoint_before_and_training_goes_on(tmp_path, full_disk):
    fill, make_room = full_disk
    model, checkpoint = _model(), Checkpoint(tmp_path, {})
    checkpoint.save(model, Progress(step=1))
    fill()
    with pytest.raises(OSError, match="too large") as caught:
        checkpoint.save(model, Progress(step=2))
    make_room()

    assert caught.value.filename == str(tmp_path / "checkpoint.npz")
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint.npz"]
    assert checkpoint.restore(_model())[0] == Progress(step=1)
    checkpoint.save(model, Progress(step=2))
    assert checkpoint.restore(_model())[0] == Progress(step=2)


def test_a_damaged_checkpoint_is_told(tmp_path):
    checkpoint = Checkpoint(tmp_path, {})
    checkpoint.save(_model(), Progress())
    path = tmp_path / "checkpoint.npz"
    path.write_bytes(path.read_bytes()[:700])
    with pytest.raises(InputError, match=r"checkpoint\.npz: cannot be read as a checkpoint"):
        checkpoint.restore(_model())
