"""The first half of `cryotwin embed`: shards of (key, feature), each read, extracted and written.

An order is a stretch of particles. What is worked on at a time are fixed batches that start where
the order starts, so the numbers do not depend on who carries it out.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cryotwin.datasets.example_bytes import serialize_example
from cryotwin.datasets.example_reading import read_rows
from cryotwin.datasets.folder import decoded, stacked_fields
from cryotwin.datasets.particle_ctf import ctf_from_fields
from cryotwin.datasets.particle_set import common_pixel_size
from cryotwin.imaging.errors import InputError, one_line
from cryotwin.pipelines.shard_files import RowsOrder, write_records
from cryotwin.pipelines.workers import WorkerError, check_not_stopped

if TYPE_CHECKING:
    import keras


@dataclass(frozen=True)
class ParticleSource:
    """Where images come from.

    Attributes:
        folder: a dataset folder.
        split: of it.
        name: what the user called it, for messages.
        pixel_size_angstrom: of all its images.
        inverted: particles are dark in them.
    """

    folder: str
    split: str
    name: str
    pixel_size_angstrom: float
    inverted: bool = False


@dataclass(frozen=True)
class FeatureTask(RowsOrder):
    """The work order for one shard of features: the element of the Beam pipeline.

    Attributes:
        source: where the images are, of which it takes a stretch.
    """

    source: ParticleSource


@dataclass(frozen=True, eq=False)
class EstimatorInputs:
    """The particles of a shard as an estimator takes them.

    Attributes:
        task: the order.
        keys: P names.
        images: (P, n, n).
        ctf: (P, n, n), or None for an estimator that does not take it.
    """

    task: FeatureTask
    keys: tuple[str, ...]
    images: NDArray[np.float32]
    ctf: NDArray[np.float32] | None

    @property
    def nbytes(self) -> int:
        """The size of the arrays."""
        return self.images.nbytes + (0 if self.ctf is None else self.ctf.nbytes)


def read_inputs(task: FeatureTask, metadata: Mapping[str, Any]) -> EstimatorInputs:
    """Reads the particles of a shard and brings them to the form that an estimator takes.

    Args:
        task: the order.
        metadata: of the estimator, with `takes_ctf`.

    Raises:
        WorkerError: particles that cannot be read or used, or the run was interrupted.
    """
    from cryotwin.models.features import BATCH

    keys: list[str] = []
    parts: list[tuple[NDArray[np.float32], NDArray[np.float32] | None]] = []
    with told_by_worker():
        for start in range(task.start, task.stop, BATCH):
            check_not_stopped()
            rows = range(start, min(start + BATCH, task.stop))
            fields = read_fields(task.source, rows)
            keys += fields["key"].tolist()
            parts.append(fitted_inputs(fields, task.source, metadata))
    images, transfers = zip(*parts, strict=True)
    ctf = None if transfers[0] is None else np.concatenate(transfers)
    return EstimatorInputs(task, tuple(keys), np.concatenate(images), ctf)


def read_fields(source: ParticleSource, rows: range) -> dict[str, NDArray[Any]]:
    """Reads all fields of some particles, as `cryotwin.datasets.folder.load_split` gives them."""
    fields = stacked_fields(list(read_rows(Path(source.folder), source.split, rows)))
    return {name: decoded(values) for name, values in fields.items()}


def fitted_inputs(
    fields: Mapping[str, NDArray[Any]], source: ParticleSource, metadata: Mapping[str, Any]
) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
    """Brings images to the form that an estimator takes.

    Raises:
        InputError: images that no estimator or not this one can take, or of another pixel size.
    """
    from cryotwin.models.inputs import check_images, estimator_inputs

    check_images(fields["image"], source=source.name, keys=fields["key"].tolist())
    sizes = fields["pixel_size_angstrom"].astype(np.float64)
    common_pixel_size(np.append(source.pixel_size_angstrom, sizes), source.name)
    images = -fields["image"] if source.inverted else fields["image"]
    ctf = ctf_from_fields(fields)
    return estimator_inputs(images, source.pixel_size_angstrom, metadata, ctf)


def infer_features(inputs: EstimatorInputs, extractor: "keras.Model") -> NDArray[np.float32]:
    """Gives the features (P, D) of the particles of a shard.

    Raises:
        WorkerError: the extractor does not take them.
    """
    from cryotwin.models.features import extract_features

    check_not_stopped()
    with told_by_worker():
        return extract_features(extractor, inputs.images, inputs.ctf)


def write_features(task: FeatureTask, keys: tuple[str, ...], features: NDArray[np.float32]) -> None:
    """Writes a shard of (key, feature)."""
    check_not_stopped()
    write_records(
        task,
        (
            serialize_example({"key": key, "feature": feature})
            for key, feature in zip(keys, features, strict=True)
        ),
    )


@contextmanager
def told_by_worker() -> Iterator[None]:
    """Turns what is wrong with particles into the one line of a WorkerError."""
    try:
        yield
    except (InputError, OSError, ValueError) as error:
        raise WorkerError(one_line(error)) from error
