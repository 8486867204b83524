"""The first half of a run: every structure becomes a scaled volume, or a dead letter.

Both are files in the staging folder, which workers write and the driver reads: no runner has to
carry anything back, and a run that is started again finds what is done.
"""

import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from cryotwin.imaging.errors import InputError, one_line
from cryotwin.imaging.maps import write_map
from cryotwin.imaging.stopwatch import Stopwatch
from cryotwin.pipelines.staging import write_json
from cryotwin.pipelines.structure_lists import StructureEntry
from cryotwin.pipelines.subjects import Grid, Subject, make_subject
from cryotwin.pipelines.workers import WorkerError, check_not_stopped

_READY, _FAILED = "structures", "failures"


@dataclass(frozen=True)
class PrepareTask:
    """The work order for one structure: the element of the Beam pipeline.

    Attributes:
        folder: where the volume goes.
        number: its place in the list of structures.
        entry: which structure.
        grid: the box.
        symmetry: point group that the structure has.
        align_symmetry: turn it where its axes are not RELION's.
        fail_fast: leave it when another structure has failed.
    """

    folder: str
    number: int
    entry: StructureEntry
    grid: Grid
    symmetry: str = "C1"
    align_symmetry: bool = False
    fail_fast: bool = False

    @property
    def record(self) -> Path:
        """The file that tells of the finished volume."""
        return Path(self.folder) / _READY / f"{self.number:07d}.json"

    @property
    def failure(self) -> Path:
        """The file that tells why there is none."""
        return Path(self.folder) / _FAILED / f"{self.number:07d}.json"


@dataclass(frozen=True)
class DeadLetter:
    """A structure that is left out of the dataset, and the reason, one line."""

    structure: str
    reason: str


def prepare_structure(task: PrepareTask, stopwatch: Stopwatch) -> bool:
    """Makes the volume of a structure, or its dead letter; a volume that is there is kept.

    Args:
        task: the order.
        stopwatch: is told how long "read", "density" and "store" took.

    Returns:
        Whether there is a volume now.

    Raises:
        WorkerError: the disk cannot be written, or the run was interrupted.
    """
    check_not_stopped()
    if ready_subject(task) is not None:
        return True
    if task.fail_fast and any(task.failure.parent.glob("*.json")):
        return False
    try:
        subject, volume = make_subject(
            task.entry,
            task.grid,
            stopwatch,
            symmetry=task.symmetry,
            align_symmetry=task.align_symmetry,
        )
    except Exception as error:
        _store(task.failure, asdict(DeadLetter(task.entry.label, _reason(error))))
        return False
    with stopwatch.stage("store"):
        path = Path(task.folder) / subject.volume_file
        try:
            write_map(path, volume, subject.pixel_size_angstrom)
        except OSError as error:
            raise WorkerError(f"{path}: cannot write ({error.strerror or error})") from error
        _store(task.record, asdict(subject))
    return True


def ready_subject(task: PrepareTask) -> Subject | None:
    """Reads what is known of a structure whose volume is there; None when it is not."""
    if not task.record.is_file():
        return None
    subject = Subject(**json.loads(task.record.read_text()))
    return subject if (Path(task.folder) / subject.volume_file).is_file() else None


def dead_letter(task: PrepareTask) -> DeadLetter | None:
    """Reads why a structure is left out; None when it is not."""
    if not task.failure.is_file():
        return None
    return DeadLetter(**json.loads(task.failure.read_text()))


def forget_failures(folder: Path) -> None:
    """Removes the dead letters of an earlier run: what failed is tried again."""
    shutil.rmtree(folder / _FAILED, ignore_errors=True)


def count_prepared(folder: Path) -> int:
    """Counts the structures that are done with, well or not."""
    return sum(1 for name in (_READY, _FAILED) for _ in (folder / name).glob("[0-9]*.json"))


def gather(tasks: Sequence[PrepareTask]) -> tuple[list[Subject], list[DeadLetter]]:
    """Reads what became of all structures, in the order of the list.

    Raises:
        OSError: of one there is no word: a worker has not done its part.
    """
    subjects, letters = [], []
    for task in tasks:
        if subject := ready_subject(task):
            subjects.append(subject)
        elif letter := dead_letter(task):
            letters.append(letter)
        elif not task.fail_fast:
            raise OSError(f"{task.record} is missing: no worker has prepared {task.entry.label}")
    return subjects, letters


def _reason(error: Exception) -> str:
    """Puts an exception in one line; one that is not for users leads with its type."""
    text = one_line(error)
    if isinstance(error, InputError):
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _store(path: Path, content: dict[str, Any]) -> None:
    try:
        write_json(path, content)
    except OSError as error:
        raise WorkerError(f"{path}: cannot write ({error.strerror or error})") from error
