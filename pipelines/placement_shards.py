"""The second half of `cryotwin embed`: each particle placed by its feature, shard by shard.

The landmarks, which the driver has embedded, are a file that all workers read.
"""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cryotwin.datasets.example_bytes import serialize_example
from cryotwin.datasets.example_reading import read_rows
from cryotwin.datasets.folder import stacked_fields
from cryotwin.imaging.atomic import atomic_output
from cryotwin.models.heads import find_head
from cryotwin.models.plain_heads import Head
from cryotwin.pipelines.feature_shards import told_by_worker
from cryotwin.pipelines.shard_files import RowsOrder, is_complete, write_records
from cryotwin.pipelines.workers import check_not_stopped
from cryotwin.recovery.feature_embedding import FeaturePlacer, Landmarks
from cryotwin.recovery.placement import Placement

LANDMARKS_FILE = "landmarks.npz"


@dataclass(frozen=True)
class PlacementTask(RowsOrder):
    """The work order for one shard of orientations: the element of the Beam pipeline.

    Attributes:
        features: the dataset folder of (key, feature), which holds the landmarks too.
    """

    features: str


@dataclass(frozen=True, eq=False)
class _Embedded:
    """What a worker knows of the landmarks."""

    placer: FeaturePlacer
    rows: NDArray[np.intp]
    placement: Placement


def write_landmarks(folder: Path, landmarks: Landmarks, head: Head) -> None:
    """Writes embedded landmarks for the workers, whole or not at all."""
    with atomic_output(folder / LANDMARKS_FILE) as temporary, temporary.open("wb") as file:
        np.savez(
            file,
            rows=landmarks.rows,
            features=landmarks.features,
            quaternions=landmarks.embedding.quaternions,
            residuals=landmarks.residuals,
            head=np.array([head.name, head.symmetry]),
        )


def place_shard(task: PlacementTask) -> int:
    """Places the particles of a shard and writes it whole; a shard that is there is kept.

    Returns:
        How many particles were placed.

    Raises:
        WorkerError: the features cannot be read or the file cannot be written, or the run was
            interrupted.
    """
    check_not_stopped()
    if is_complete(task):
        return 0
    with told_by_worker():
        examples = list(read_rows(Path(task.features), task.split, range(task.start, task.stop)))
        fields = stacked_fields(examples)
        placement = _place(task, fields["feature"])
    write_records(
        task,
        (
            serialize_example({"key": key.decode(), "quaternion": q, "residual_rad": residual})
            for key, q, residual in zip(
                fields["key"],
                placement.quaternions.astype(np.float32),
                placement.residuals.astype(np.float32),
                strict=True,
            )
        ),
    )
    return task.count


def _place(task: PlacementTask, features: NDArray[np.float32]) -> Placement:
    """Places particles; landmarks among them stay where they were embedded."""
    path = Path(task.features) / LANDMARKS_FILE
    known = _embedded(path, path.stat().st_mtime_ns)
    placement = known.placer.place(features)
    first, last = np.searchsorted(known.rows, [task.start, task.stop])
    own = known.rows[first:last] - task.start
    placement.quaternions[own] = known.placement.quaternions[first:last]
    placement.residuals[own] = known.placement.residuals[first:last]
    return placement


@lru_cache(maxsize=1)
def _embedded(path: Path, written_ns: int) -> _Embedded:
    with np.load(path) as file:
        head = find_head(*map(str, file["head"]))
        quaternions = file["quaternions"]
        return _Embedded(
            FeaturePlacer(file["features"], quaternions, head),
            file["rows"],
            Placement(quaternions, file["residuals"]),
        )
