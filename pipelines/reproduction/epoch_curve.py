"""How the loss of a training of ours goes: kept epoch by epoch, for a run that is stopped."""

import json
from pathlib import Path

from cryotwin.models.training import EpochReport
from cryotwin.pipelines.reproduction.estimator import uniform_loss
from cryotwin.pipelines.staging import write_json


class EpochCurve:
    """Rows (training loss, validation loss) in rad^2, one an epoch, in a file.

    Attributes:
        rows: those so far, of the processes before as well.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self.rows: list[list[float]] = (
            json.loads(file.read_text(encoding="utf-8")) if file.is_file() else []
        )

    def add(self, epoch: EpochReport) -> float:
        """Keeps an epoch and gives its validation loss, as if distances were uniform."""
        validation = uniform_loss(epoch.estimated, epoch.true)
        del self.rows[epoch.epoch - 1 :]  # Of a run that was killed before its checkpoint.
        self.rows.append([epoch.loss, validation])
        write_json(self._file, self.rows)
        return validation
