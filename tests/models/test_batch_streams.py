import threading
from itertools import islice

import keras
import numpy as np
import pytest

from cryotwin.imaging.errors import InputError
from cryotwin.models.batch_streams import GivenBatches, made_ahead


def _batch(number, size=2):
    return np.full((size, 4, 4, 1), number, np.float32), np.zeros((size, 9), np.float32)


def _numbers(source, first, count):
    batches = islice(source.stream(first, lambda step: 1.0), count)
    return [int(images[0, 0, 0, 0]) for images, _ in batches]


class _Numbered(keras.utils.PyDataset):
    def __len__(self):
        return 3

    def __getitem__(self, index):
        return _batch(index)


def test_whatever_holds_the_batches_they_begin_again_and_at_any_step():
    for batches in ([_batch(0), _batch(1), _batch(2)], _Numbered()):
        source = GivenBatches(batches)
        assert source.steps_per_epoch == 3
        assert _numbers(source, 0, 7) == [0, 1, 2, 0, 1, 2, 0]
        assert _numbers(source, 4, 3) == [1, 2, 0]


def test_a_generator_gives_what_it_has_and_no_more():
    source = GivenBatches((_batch(number) for number in range(3)), steps_per_epoch=2)
    stream = source.stream(0, lambda step: 1.0)
    assert [int(next(stream)[0][0, 0, 0, 0]) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(InputError, match="came to an end before the training did"):
        next(stream)


def test_batches_of_the_loader_have_rotations_as_rows():
    rotations = np.random.default_rng(0).standard_normal((2, 3, 3)).astype(np.float32)
    given = GivenBatches([{"image": _batch(5)[0], "rotation": rotations, "structure": [0, 0]}])
    images, rows = next(given.stream(0, lambda step: 1.0))
    assert images.shape == (2, 4, 4, 1)
    assert np.array_equal(rows, rotations.reshape(2, 9))


def test_batches_of_several_structures_are_refused():
    batch = {"image": _batch(5)[0], "rotation": np.zeros((2, 9)), "structure": [0, 1]}
    with pytest.raises(InputError, match="several structures"):
        next(GivenBatches([batch]).stream(0, lambda step: 1.0))


def test_batches_without_a_length_or_of_one_image_are_refused():
    with pytest.raises(InputError, match="give steps_per_epoch"):
        GivenBatches(_batch(number) for number in range(3))
    with pytest.raises(InputError, match="a batch has 1 images"):
        next(GivenBatches([_batch(0, size=1)]).stream(0, lambda step: 1.0))


def test_what_fails_where_batches_are_made_fails_where_they_are_taken():
    def failing():
        yield 1
        raise InputError("the disk is gone")

    with made_ahead(failing()) as batches:
        assert next(batches) == 1
        with pytest.raises(InputError, match="the disk is gone"):
            next(batches)


def test_no_thread_is_left_when_training_ends_before_the_batches():
    before = threading.active_count()
    with made_ahead(iter(range(1000))) as batches:
        assert list(islice(batches, 5)) == [0, 1, 2, 3, 4]
    assert threading.active_count() == before
