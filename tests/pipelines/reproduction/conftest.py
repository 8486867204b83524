"""Numbers as trials give them, with losses and errors that are asked for."""

import pytest


@pytest.fixture
def numbers():
    """Gives numbers(validation, ...): those of a level, whose losses all are as asked for."""

    def make(validation, *, training=None, o4_error=0.2, pairs=False):
        made = {
            "training": [validation if training is None else training] * 3,
            "validation": [validation * (1 + change) for change in (-0.02, 0, 0.02)],
            "distance_loss": validation,
            "loss": o4_error**2,
            "o4_error": o4_error,
        }
        return made | ({"pairs": [[0.1, 1.0, 3.0], [0.3, 1.1, 2.5]]} if pairs else {})

    return make
