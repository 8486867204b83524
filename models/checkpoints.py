"""The state of a training: one file, which is whole or not there, to go on from."""

import json
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import ops

from cryotwin.imaging.atomic import atomic_output
from cryotwin.imaging.errors import InputError

_FILE = "checkpoint.npz"


class Checkpoint:
    """Weights and optimizer state after an epoch, in a folder, with what they belong to.

    Args:
        folder: where the file is kept.
        identity: what must be the same for a training to go on, as text by name.
    """

    def __init__(self, folder: Path, identity: dict[str, str]) -> None:
        self._path = folder / _FILE
        self._identity = identity

    def save(self, model: keras.Model, *, epoch: int, seconds: float) -> None:
        """Writes the state of a compiled model.

        Args:
            model: the model.
            epoch: how many epochs are over.
            seconds: how long they took.
        """
        note = json.dumps({"identity": self._identity, "epoch": epoch, "seconds": seconds})
        arrays = {f"array{i}": ops.convert_to_numpy(v) for i, v in enumerate(_variables(model))}
        with atomic_output(self._path) as path, path.open("wb") as file:
            np.savez(file, note=np.array(note), **arrays)

    def restore(self, model: keras.Model) -> tuple[int, float]:
        """Puts a compiled model into the state that was saved, if one was.

        Returns:
            How many epochs are over and how many seconds they took; zeros without a checkpoint.

        Raises:
            InputError: the checkpoint belongs to another training.
        """
        if not self._path.exists():
            return 0, 0.0
        with np.load(self._path) as saved:
            note: dict[str, Any] = json.loads(str(saved["note"]))
            for what, here in self._identity.items():
                if note["identity"].get(what) != here:
                    raise InputError(
                        f"{self._path.parent}: holds a checkpoint of other {what} "
                        f"({note['identity'].get(what)}); remove the folder to start anew"
                    )
            for i, variable in enumerate(_variables(model)):
                variable.assign(saved[f"array{i}"])
        return int(note["epoch"]), float(note["seconds"])


def _variables(model: keras.Model) -> list[keras.Variable]:
    if not model.optimizer.built:
        model.optimizer.build(model.trainable_variables)
    return [*model.weights, *model.optimizer.variables]
