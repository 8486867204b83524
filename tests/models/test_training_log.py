import io
import math

import numpy as np
import pytest
from matplotlib.image import imread

from cryotwin.models.training import EpochReport
from cryotwin.models.training_log import TrainingLog


def _report(epoch, fraction):
    true = np.repeat(np.linspace(0.1, 3.0, 200), 20)
    estimated = true + np.random.default_rng(0).normal(0, 0.05, true.shape)
    return EpochReport(epoch, fraction, 0.5 / epoch, 0.3 / epoch, 1e-3, estimated, true)


@pytest.fixture(scope="module")
def events(tmp_path_factory):
    """What TensorFlow reads from the files of seven epochs, the last in a run that went on."""
    tensorflow = pytest.importorskip("tensorflow")
    folder = tmp_path_factory.mktemp("log")
    log = TrainingLog(folder)
    for epoch in range(1, 7):
        log.write(_report(epoch, epoch / 7))
    TrainingLog(folder).write(_report(7, 1.0))
    files = sorted(folder.iterdir())
    assert len(files) == 2
    read = tensorflow.compat.v1.train.summary_iterator
    return [event for file in files for event in read(str(file))]


def test_the_figures_of_each_epoch_are_read_back_by_tensorflow(events):
    assert events[0].file_version == "brain.Event:2"
    found = {
        (value.tag, event.step): value.simple_value
        for event in events
        for value in event.summary.value
        if value.HasField("simple_value")
    }
    assert len(found) == 7 * 3
    for epoch in range(1, 8):
        assert found["loss/training", epoch] == pytest.approx(0.5 / epoch)
        assert found["loss/validation_mse_rad2", epoch] == pytest.approx(0.3 / epoch)
        assert found["learning_rate", epoch] == pytest.approx(1e-3)


def test_a_picture_every_fifth_epoch_and_at_the_end_shows_the_diagonal(events):
    pictures = {
        event.step: value.image
        for event in events
        for value in event.summary.value
        if value.HasField("image")
    }
    assert sorted(pictures) == [1, 6, 7]
    pixels = imread(io.BytesIO(pictures[7].encoded_image_string))
    assert pixels.shape == (pictures[7].height, pictures[7].width, pictures[7].colorspace)
    # Blue is where the counts are, and they are near the diagonal of the frame.
    blue = np.argwhere((pixels[..., 2] > 0.35) & (pixels[..., 0] < 0.3))
    slope = np.polyfit(blue[:, 1], blue[:, 0], 1)[0]
    assert math.isclose(slope, -1, abs_tol=0.1)
