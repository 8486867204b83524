"""What TensorBoard shows of a training: its figures, and estimated against true distances."""

import io
import math
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from cryotwin.models.event_files import EventFile
from cryotwin.models.training import EpochReport

PICTURE_EPOCHS = 5
"""Epochs from a picture to the next."""

_BINS = 90
_DPI, _INCHES = 100, 4


class TrainingLog:
    """Writes each epoch's report into a folder for TensorBoard, on any backend.

    Args:
        folder: for TensorBoard's --logdir. A training that goes on adds a file to it.

    Raises:
        OSError: the folder cannot be made or written.
    """

    def __init__(self, folder: Path) -> None:
        self._file = EventFile(folder)

    def write(self, report: EpochReport) -> None:
        """Adds the figures of an epoch, and a picture every `PICTURE_EPOCHS` and at the end."""
        for name, value in (
            ("loss/training", report.loss),
            ("loss/validation_mse_rad2", report.validation_mse_rad2),
            ("learning_rate", report.learning_rate),
        ):
            self._file.add_scalar(name, value, report.epoch)
        if report.epoch % PICTURE_EPOCHS == 1 or report.fraction >= 1:
            png = distance_picture(report.estimated, report.true)
            edge = _DPI * _INCHES
            self._file.add_picture("distances", png, edge, edge, report.epoch)


def distance_picture(estimated: NDArray[np.floating], true: NDArray[np.floating]) -> bytes:
    """Draws a two-dimensional histogram of estimated against true distances as a PNG file.

    Args:
        estimated: (pairs,) in rad; those above pi, of a Euclidean head, are left out.
        true: (pairs,) in rad.
    """
    figure = Figure(figsize=(_INCHES, _INCHES), dpi=_DPI, layout="constrained")
    axes = figure.subplots()
    edges = np.linspace(0, math.pi, _BINS + 1)
    counts, _, _ = np.histogram2d(true, estimated, bins=(edges, edges))
    # The density of the distances is far from uniform: each column has its own scale.
    columns = counts / np.maximum(counts.max(axis=1, keepdims=True), 1)
    axes.pcolormesh(edges, edges, columns.T, cmap="Blues")
    axes.plot([0, math.pi], [0, math.pi], color="black", linewidth=0.5)
    axes.set_xlabel("true distance (rad)")
    axes.set_ylabel("estimated distance (rad)")
    axes.set_aspect("equal")
    file = io.BytesIO()
    figure.savefig(file, format="png")
    return file.getvalue()
