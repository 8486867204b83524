"""The state of a training: one file, which is whole or not there, to go on from."""

import json
import zipfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray

from cryotwin.imaging.atomic import atomic_output
from cryotwin.imaging.errors import InputError
from cryotwin.imaging.interrupts import interrupts_held

_FILE = "checkpoint.npz"


@dataclass
class Progress:
    """How far a training is.

    Attributes:
        step: steps taken, through all epochs; an epoch is so many of them.
        epoch: epochs that are over.
        seconds: time spent.
        loss_sum: of the losses of the steps of the epoch under way.
        loss_count: of these steps.
        best_mse: the lowest validation error so far.
        epochs_without_best: since then.
        over: the training has ended.
    """

    step: int = 0
    epoch: int = 0
    seconds: float = 0.0
    loss_sum: float = 0.0
    loss_count: int = 0
    best_mse: float = float("inf")
    epochs_without_best: int = 0
    over: bool = False


class Checkpoint:
    """Weights, optimizer state and progress, in a folder, with what they belong to.

    Args:
        folder: where the file is kept.
        identity: what must be the same for a training to go on, as text by name.
    """

    def __init__(self, folder: Path, identity: dict[str, str]) -> None:
        self._path = folder / _FILE
        self._identity = identity

    def save(
        self,
        model: keras.Model,
        progress: Progress,
        best: list[NDArray[Any]] | None = None,
    ) -> None:
        """Writes the state of a compiled model; what was there stays if it cannot be written.

        Args:
            model: the model.
            progress: how far it is.
            best: the best weights so far, if they are kept.
        """
        note = json.dumps({"identity": self._identity, "progress": asdict(progress)})
        arrays = {f"array{i}": ops.convert_to_numpy(v) for i, v in enumerate(_variables(model))}
        arrays |= {f"best{i}": weight for i, weight in enumerate(best or [])}
        with interrupts_held(), atomic_output(self._path) as path, path.open("wb") as file:
            np.savez(file, note=np.array(note), **arrays)

    def restore(self, model: keras.Model) -> tuple[Progress, list[NDArray[Any]] | None]:
        """Puts a compiled model into the state that was saved, if one was.

        Returns:
            How far it is, and the best weights if they were kept.

        Raises:
            InputError: the checkpoint belongs to another training, or is damaged.
        """
        if not self._path.exists():
            return Progress(), None
        try:
            with np.load(self._path) as saved:
                arrays = dict(saved)
            note: dict[str, Any] = json.loads(str(arrays["note"]))
        except (ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise InputError(
                f"{self._path}: cannot be read as a checkpoint; remove the folder to start anew"
            ) from error
        for what, here in self._identity.items():
            if note["identity"].get(what) != here:
                raise InputError(
                    f"{self._path.parent}: holds a checkpoint of other {what} "
                    f"({note['identity'].get(what)}); remove the folder to start anew"
                )
        for i, variable in enumerate(_variables(model)):
            variable.assign(arrays[f"array{i}"])
        best = [arrays[f"best{i}"] for i in range(sum(name[:4] == "best" for name in arrays))]
        return Progress(**note["progress"]), best or None


def saved_progress(folder: Path) -> Progress:
    """Reads how far the training of a folder is, through all the processes that it took."""
    with np.load(folder / _FILE) as saved:
        return Progress(**json.loads(str(saved["note"]))["progress"])


def _variables(model: keras.Model) -> list[keras.Variable]:
    """Lists all that a step changes: weights, states of generators, and the optimizer's own."""
    if not model.optimizer.built:
        model.optimizer.build(model.trainable_variables)
    of_metrics = {id(variable) for variable in model.metrics_variables}
    own = [variable for variable in model.variables if id(variable) not in of_metrics]
    return [*own, *model.optimizer.variables]
