"""How far features move with a shift: the paper's claim of invariance (its section 3.4)."""

import keras
import numpy as np
import pytest

from cryotwin.models.architectures import ARCHITECTURES
from cryotwin.models.heads import find_head
from cryotwin.models.shift_motion import SHIFTS_PX, feature_motion
from cryotwin.models.siamese import build_extractor


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_motion_of_features_under_a_shift(name, record_result):
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:64, :64] - 32
    a, b = rng.uniform(-9, 9, (2, 6, 8, 1, 1))
    images = np.exp(-((x - a) ** 2 + (y - b) ** 2) / 8).sum(axis=1).astype(np.float32)
    keras.utils.set_random_seed(1)
    motion = feature_motion(build_extractor(name, head=find_head("so3"), feature_dim=64), images)
    figures = "  ".join(f"{shift:g} px {motion[shift]:.4f}" for shift in SHIFTS_PX)
    record_result(f"features of {name}, untrained: {figures}")
