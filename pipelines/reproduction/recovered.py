"""Orientations from distances in both columns, and how far they are off."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cryotwin.pipelines.reproduction.paper_recovery import AdamSettings, recover_by_adam
from cryotwin.pipelines.reproduction.workspace import Record
from cryotwin.recovery.embedding import embed_distances
from cryotwin.recovery.evaluation import evaluate_orientations


@dataclass(frozen=True)
class Recovered:
    """Orientations from distances alone.

    Attributes:
        quaternions: (P, 4).
        loss: the recovery loss (4), rad^2.
        o4_error: mean, rad, after the best isometry of the distances: the paper's E_OR, equation
            (5). In both columns by our alignment: the paper's own often stops short (Figure 15).
        physical_error: mean, rad, after the best rotation of the object and its mirror image.
        steps: (checks,) when the loss was looked at; empty for ours.
        losses: (checks,) what it was.
        errors: (P,) rad, those whose mean is `o4_error`.
    """

    quaternions: NDArray[np.float64]
    loss: float
    o4_error: float
    physical_error: float
    steps: list[int]
    losses: list[float]
    errors: NDArray[np.float64]


def recover_as_in_the_paper(
    distances: NDArray[np.floating],
    true: NDArray[np.floating],
    *,
    symmetry: str = "C1",
    seed: int = 0,
) -> Recovered:
    """Recovers by mini-batch Adam from one start (section 3.1).

    Args:
        distances: (P, P) rad.
        true: quaternions (P, 4), for the errors alone.
        symmetry: point group that the errors are under; equation (4) has none.
        seed: of the start.
    """
    found = recover_by_adam(distances, AdamSettings(seed=seed))
    return _compared(found.quaternions, found.loss, true, symmetry, found.steps, found.losses)


def recover_our_way(
    distances: NDArray[np.floating],
    true: NDArray[np.floating],
    *,
    symmetry: str = "C1",
    seed: int = 0,
) -> Recovered:
    """Recovers with `embed_distances`: all pairs, several starts, a certificate.

    Args:
        distances: (P, P) rad.
        true: quaternions (P, 4), for the errors alone.
        symmetry: point group of the distances.
        seed: of the starts.
    """
    found = embed_distances(distances, symmetry=symmetry, seed=seed)
    return _compared(found.quaternions, found.loss, true, symmetry)


def _compared(
    quaternions: NDArray[np.float64],
    loss: float,
    true: NDArray[np.floating],
    symmetry: str,
    steps: Sequence[int] = (),
    losses: Sequence[float] = (),
) -> Recovered:
    errors = evaluate_orientations(quaternions, true, symmetry=symmetry)
    return Recovered(
        quaternions,
        loss,
        errors.o4.mean_error,
        errors.physical.mean_error,
        list(steps),
        list(losses),
        errors.o4.errors,
    )


def recovery_numbers(found: Recovered) -> Record:
    """Gives all but the orientations, for a JSON file."""
    return {
        "o4_error": found.o4_error,
        "physical_error": found.physical_error,
        "loss": found.loss,
        "steps": found.steps,
        "losses": found.losses,
        "errors": found.errors.round(5).tolist(),
    }
