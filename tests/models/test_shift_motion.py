import keras
import numpy as np
import pytest
from keras import ops

from cryotwin.models.heads import find_head
from cryotwin.models.shift_motion import SHIFTS_PX, feature_motion
from cryotwin.models.siamese import build_extractor


@pytest.fixture(scope="module")
def images():
    """Smooth blobs in the middle of an empty box, (6, 64, 64)."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:64, :64] - 32
    a, b = rng.uniform(-9, 9, (2, 6, 8, 1, 1))
    return np.exp(-((x - a) ** 2 + (y - b) ** 2) / 8).sum(axis=1).astype(np.float32)


@pytest.fixture(scope="module")
def motions(images):
    found = {}
    for name in ("banjac2021", "resnet_small", "resnet_antialiased"):
        keras.utils.set_random_seed(1)
        found[name] = feature_motion(
            build_extractor(name, head=find_head("so3"), feature_dim=64), images
        )
    return found


def test_what_does_not_depend_on_position_does_not_move(images):
    inputs = keras.Input((None, None, 1))
    moments = [ops.mean(inputs**power, axis=(1, 2)) for power in (1, 2)]
    motion = feature_motion(keras.Model(inputs, ops.concatenate(moments, axis=-1)), images)

    assert list(motion) == list(SHIFTS_PX)
    assert max(motion.values()) < 1e-3


def test_a_feature_that_is_the_position_moves_by_the_shift(images):
    inputs = keras.Input((None, None, 1))
    x = np.arange(64, dtype=np.float32)[None, None, :, None]
    centre = ops.sum(inputs * x, axis=(1, 2)) / ops.sum(inputs, axis=(1, 2))
    extractor = keras.Model(inputs, centre)
    centres = ops.convert_to_numpy(extractor(images[..., None]))

    motion = feature_motion(extractor, images, [0.5, 4.0])

    # Over eight directions the mean square of a shift along x is half the square of the shift.
    unit = np.sqrt(2) * centres.std(ddof=1)
    assert motion[0.5] == pytest.approx(0.5 / np.sqrt(2) / unit, rel=1e-2)
    assert motion[4.0] == pytest.approx(4.0 / np.sqrt(2) / unit, rel=1e-2)


@pytest.mark.parametrize("shift", [0.25, 0.5, 1.0, 2.0, 4.0])
@pytest.mark.parametrize("other", ["banjac2021", "resnet_small"])
def test_features_of_the_antialiased_network_move_less_than_others(motions, shift, other):
    assert motions["resnet_antialiased"][shift] < 0.75 * motions[other][shift]


def test_the_paper_s_network_is_not_invariant_below_its_stride(motions):
    assert motions["banjac2021"][4.0] > 0.1
