"""What changes in the course of training: the learning rate and the noise."""

import math

from cryotwin.models.pair_batches import LEAST_NOISE_LEVEL

_WARM_UP = 0.02
_LEAST_RATE = 1e-3


def learning_rate_factor(fraction: float) -> float:
    """Gives the part of the highest learning rate when `fraction` of the training is over.

    It rises over the first 2% and then falls as a cosine.
    """
    cosine = 0.5 * (1 + math.cos(math.pi * fraction))
    warm_up = min(1.0, (fraction + 1e-3) / _WARM_UP)
    return max(cosine, _LEAST_RATE) * warm_up


def highest_noise_level(fraction: float, curriculum: float) -> float:
    """Gives up to which part of its standard deviation noise is drawn.

    Args:
        fraction: of the training that is over, 0 to 1.
        curriculum: the share of the training over which the level rises, in proportion, from the
            least (`LEAST_NOISE_LEVEL`) to 1; 0 gives 1 throughout.
    """
    if fraction >= curriculum:
        return 1.0
    return LEAST_NOISE_LEVEL + (1 - LEAST_NOISE_LEVEL) * fraction / curriculum
