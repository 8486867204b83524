"""Which trainings and recoveries allow a verdict: one that failed tells nothing about a trend."""

import math

UNLEARNED_RAD2 = math.pi**2 / 12
"""Distance loss of an estimator that says pi / 2 whatever it sees."""


RANDOM_RAD = 2.13
"""Mean error of 1,650 random orientations after the best isometry of their distances."""


def has_learned(loss: float) -> bool:
    """Whether a training got at least half of the way, by its distance loss in rad^2."""
    return loss < UNLEARNED_RAD2 / 2


def has_recovered(error: float) -> bool:
    """Whether a recovery got at least half of the way, by its mean error in rad."""
    return error < RANDOM_RAD / 2


def told(holds: bool, *losses: float) -> bool | None:
    """Gives a verdict if the trainings of these distance losses have learned, else None."""
    return holds if all(has_learned(loss) for loss in losses) else None
