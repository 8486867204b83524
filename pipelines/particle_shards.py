"""The second half of a run: the plan of the shards, and the files that hold them."""

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from cryotwin.datasets.example_bytes import serialize_example
from cryotwin.datasets.folder import shard_name
from cryotwin.datasets.orientation_lists import is_orientation_list, read_listed
from cryotwin.datasets.splits import (
    SPLITS,
    cluster_splits,
    even_parts,
    split_indices,
    split_sizes,
)
from cryotwin.datasets.synthesis import (
    Particles,
    ParticleSettings,
    make_particles,
    particle_example,
    particle_projector,
)
from cryotwin.datasets.tfrecords import write_record
from cryotwin.imaging.atomic import atomic_output
from cryotwin.imaging.errors import InputError
from cryotwin.imaging.maps import read_map
from cryotwin.imaging.projection import Projector
from cryotwin.imaging.stopwatch import Stopwatch
from cryotwin.pipelines.generate_settings import GenerateSettings
from cryotwin.pipelines.shard_files import is_complete
from cryotwin.pipelines.subjects import Subject
from cryotwin.pipelines.workers import WorkerError, check_not_stopped

_BATCH_BYTES = 16 * 2**20
"""Images made at a time, at most: two batches and one volume bound the memory of a worker."""


@dataclass(frozen=True)
class ShardPart:
    """A stretch of one structure's particles in one split.

    Attributes:
        structure: its name.
        pixel_size_angstrom: edge of a pixel.
        volume: file of the scaled volume, relative to the folder.
        start: first particle, counted within the structure and the split.
        stop: the one after the last.
    """

    structure: str
    pixel_size_angstrom: float
    volume: str
    start: int
    stop: int


@dataclass(frozen=True)
class ShardTask:
    """The work order for one shard: the element of the Beam pipeline.

    Small, whatever the number of particles: their indices follow from the settings.

    Attributes:
        folder: where the shard goes; holds the volumes too.
        split: the split that it belongs to.
        shard: its number.
        shards: how many shards the split has.
        parts: the particles, structure by structure.
        settings: how to make them.
    """

    folder: str
    split: str
    shard: int
    shards: int
    parts: tuple[ShardPart, ...]
    settings: GenerateSettings

    @property
    def path(self) -> Path:
        """The file that the shard ends up in."""
        return Path(self.folder) / shard_name(self.split, self.shard, self.shards)

    @property
    def count(self) -> int:
        """How many particles it holds."""
        return sum(part.stop - part.start for part in self.parts)


def plan_shards(
    subjects: Sequence[Subject], settings: GenerateSettings, folder: Path, per_shard: int
) -> list[ShardTask]:
    """Orders the shards of all splits.

    The particles of a split, structure after structure, are cut into the fewest shards of at
    most `per_shard`: a shard holds particles of several structures where these have few.

    Raises:
        InputError: there are too few clusters, where the splits are made of them.
    """
    counts = _counts(subjects, settings)
    tasks = []
    for split in SPLITS:
        ends = np.cumsum(counts[split])
        stretches = even_parts(np.arange(ends[-1]), per_shard)
        for shard, stretch in enumerate(stretches):
            parts = _cut(subjects, ends, int(stretch[0]), int(stretch[-1]) + 1)
            tasks.append(
                ShardTask(
                    folder=str(folder.resolve()),
                    split=split,
                    shard=shard,
                    shards=len(stretches),
                    parts=tuple(parts),
                    settings=settings,
                )
            )
    return tasks


def _counts(subjects: Sequence[Subject], settings: GenerateSettings) -> dict[str, list[int]]:
    """Gives the particles of each structure in each split."""
    if settings.split_by == "particle":
        return {
            split: [size] * len(subjects) for split, size in split_sizes(settings.count).items()
        }
    sizes: dict[str, int] = {}
    for subject in subjects:
        sizes[subject.cluster] = sizes.get(subject.cluster, 0) + settings.count
    home = cluster_splits(sizes, seed=settings.seed)
    return {
        split: [settings.count * (home[subject.cluster] == split) for subject in subjects]
        for split in SPLITS
    }


def _cut(
    subjects: Sequence[Subject], ends: NDArray[np.int64], start: int, stop: int
) -> Iterator[ShardPart]:
    """Cuts particles `start` to `stop` of a split into stretches of one structure each.

    The particles of structure k are those before ends[k] that no earlier structure has.
    """
    for place in range(int(np.searchsorted(ends, start, side="right")), len(subjects)):
        first = int(ends[place - 1]) if place else 0
        if first >= stop:
            return
        own = max(start, first) - first, min(stop, int(ends[place])) - first
        if own[0] < own[1]:
            subject = subjects[place]
            yield ShardPart(subject.name, subject.pixel_size_angstrom, subject.volume_file, *own)


def write_shard(task: ShardTask, stopwatch: Stopwatch) -> int:
    """Makes one shard and writes it whole; a shard that is there already is kept.

    Args:
        task: the order.
        stopwatch: is told how long "load", "project", "perturb", "serialise" and "write" took.

    Returns:
        How many images were made.

    Raises:
        WorkerError: the file cannot be written, or the run was interrupted.
    """
    check_not_stopped()
    if is_complete(task):
        return 0
    try:
        with atomic_output(task.path) as temporary, temporary.open("wb") as file:
            _write_records(task, file, stopwatch)
    except OSError as error:
        raise WorkerError(f"{task.path}: cannot write ({error.strerror or error})") from error
    return task.count


def _write_records(task: ShardTask, file: IO[bytes], stopwatch: Stopwatch) -> None:
    """Writes all records; a batch is written while the next one is made."""
    with ThreadPoolExecutor(max_workers=1) as writer:
        written: Future[None] | None = None
        for part in task.parts:
            settings = particle_settings(part, task)
            for particles, indices in _batches(part, settings, task, stopwatch):
                if written is not None:
                    written.result()
                written = writer.submit(_write_batch, particles, indices, settings, file, stopwatch)
        if written is not None:
            written.result()


def _batches(
    part: ShardPart, settings: ParticleSettings, task: ShardTask, stopwatch: Stopwatch
) -> Iterator[tuple[Particles, list[int]]]:
    """Makes the particles of a part, some at a time, with their indices."""
    with stopwatch.stage("load"):
        projector = _projector(Path(task.folder) / part.volume, task.settings.projector)
    batch = max(1, min(projector.batch, _BATCH_BYTES // (4 * projector.size**2)))
    indices = _particle_indices(part, task)
    for start in range(0, len(indices), batch):
        check_not_stopped()
        some = indices[start : start + batch]
        given = None
        if is_orientation_list(settings.orientations):
            given = read_listed(Path(task.folder), some)
        particles = make_particles(projector, some, settings, given=given, stopwatch=stopwatch)
        yield particles, some


def _write_batch(
    particles: Particles,
    indices: Sequence[int],
    settings: ParticleSettings,
    file: IO[bytes],
    stopwatch: Stopwatch,
) -> None:
    for place, index in enumerate(indices):
        with stopwatch.stage("serialise"):
            payload = serialize_example(particle_example(particles, place, index, settings))
        with stopwatch.stage("write"):
            write_record(file, payload)


def _projector(volume: Path, backend: str) -> Projector:
    """Prepares a volume, or takes the one of the shard before: most shards share it with theirs."""
    try:
        return _prepared(volume, volume.stat().st_mtime_ns, backend)
    except InputError as error:  # Another worker has written the volume: the machine is at fault.
        raise WorkerError(str(error)) from error


@lru_cache(maxsize=1)
def _prepared(volume: Path, written_ns: int, backend: str) -> Projector:
    return particle_projector(read_map(volume).data, backend)


def particle_settings(part: ShardPart, task: ShardTask) -> ParticleSettings:
    """Gives what decides the particles of one part of a shard, besides its volume."""
    return ParticleSettings(
        structure=part.structure,
        pixel_size_angstrom=part.pixel_size_angstrom,
        seed=task.settings.seed,
        orientations=task.settings.orientations,
        perturbation=task.settings.perturbation.of_split(
            task.split, perturb_train=task.settings.perturb_train
        ),
        symmetry=task.settings.symmetry,
    )


def _particle_indices(part: ShardPart, task: ShardTask) -> list[int]:
    """Lists the particles of a part by their index within the structure."""
    settings = task.settings
    if settings.split_by == "cluster":
        return list(range(part.start, part.stop))
    own = split_indices(settings.count, seed=settings.seed, structure=part.structure)[task.split]
    indices: list[int] = own[part.start : part.stop].tolist()
    return indices
