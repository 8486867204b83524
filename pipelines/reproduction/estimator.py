"""A trained estimator of an experiment: its file, how its loss went, and its distances."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from cryotwin.imaging.rotations import pairwise_distances
from cryotwin.models.model_files import load
from cryotwin.pipelines.reproduction.views import Condition, ViewSettings


@dataclass(frozen=True)
class Estimator:
    """A trained estimator.

    Attributes:
        path: its file, with metadata that `recover` reads.
        curve: rows (training loss, validation loss) in rad^2, one an epoch; equation (3).
        seconds: wall-clock time of the training.
    """

    path: Path
    curve: list[list[float]]
    seconds: float

    def load(self) -> keras.Model:
        """Opens it."""
        return load(self.path)


def symmetric_distances(distances: NDArray[np.floating]) -> NDArray[np.float64]:
    """Gives distances (P, P) of a head as recovery takes them: symmetric, in [0, pi]."""
    symmetric = np.clip((distances + distances.T) / 2, 0, np.pi).astype(np.float64)
    np.fill_diagonal(symmetric, 0)
    return symmetric


def distance_loss(
    distances: NDArray[np.floating],
    quaternions: NDArray[np.floating],
    *,
    symmetry: str = "C1",
) -> float:
    """Gives the `uniform_loss` (rad^2) of all pairs of distances (P, P)."""
    pairs = np.triu_indices(len(distances), 1)
    true = pairwise_distances(quaternions, symmetry=symmetry)[pairs]
    return uniform_loss(distances[pairs], true)


def uniform_loss(estimated: NDArray[np.floating], true: NDArray[np.floating]) -> float:
    """Gives the squared error (rad^2) of distances (pairs,), as if the true ones were uniform.

    The mean over 16 intervals of the true distance, which is the loss (3) on the paper's pairs
    (Appendix A) without drawing any.
    """
    squares = (estimated - true) ** 2
    interval = np.minimum((true / true.max() * 16).astype(int), 15)
    counts = np.bincount(interval, minlength=16)
    sums = np.bincount(interval, squares, minlength=16)
    return float(np.mean(sums[counts > 0] / counts[counts > 0]))


def frame_metadata(
    views: ViewSettings,
    pixel_size_angstrom: float,
    condition: Condition,
    *,
    head: str,
    symmetry: str,
) -> dict[str, Any]:
    """Gives what `recover` has to know of an estimator for these projections."""
    return {
        "structure": views.target.name,
        "head": head,
        "symmetry": symmetry,
        "orientations": views.orientations,
        "pixel_size_angstrom": pixel_size_angstrom,
        "box_px": views.box_px,
        "source_pixel_size_angstrom": pixel_size_angstrom,
        "source_box_px": views.box_px,
        **condition.at(views.box_px).to_metadata(),
    }
