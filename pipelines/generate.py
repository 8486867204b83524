"""The pipeline behind `cryotwin generate`: from volumes to a dataset folder.

Elements of the Beam pipeline are shards. The driver writes the scaled volumes, lets the workers
write one file per shard, verifies the files, and writes the metadata. All of that happens in
OUT/.unfinished; at the end the files move up, features.json last. A run that was killed finds its
finished shards there and goes on, if its settings are the same.
"""

import hashlib
import logging
import math
import re
import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from importlib.metadata import version
from pathlib import Path
from types import FrameType
from typing import Any

import apache_beam as beam
import numpy as np
from apache_beam.options.pipeline_options import PipelineOptions
from tqdm import tqdm

from cryotwin.datasets.folder import (
    METADATA_FILE,
    DatasetFolder,
    open_folder,
    write_dataset_metadata,
)
from cryotwin.datasets.orientation_lists import write_listed
from cryotwin.datasets.schema import CITATION, DESCRIPTION, FORMAT, example_features
from cryotwin.datasets.splits import SPLITS, even_parts, split_indices
from cryotwin.datasets.synthesis import ParticleSettings
from cryotwin.imaging.errors import InputError
from cryotwin.imaging.maps import write_map
from cryotwin.imaging.symmetry_axes import align_symmetry_axes
from cryotwin.imaging.volume_symmetry import check_volume_symmetry
from cryotwin.pipelines.beam_options import beam_options, is_local
from cryotwin.pipelines.generate_settings import GenerateSettings
from cryotwin.pipelines.particle_shards import (
    ShardError,
    ShardReport,
    ShardTask,
    is_complete,
    stop_requested,
    write_shard,
)
from cryotwin.pipelines.staging import (
    bytes_written,
    check_output,
    check_room,
    prepare_staging,
    publish,
    write_json,
)
from cryotwin.pipelines.subjects import Subject, checked_variance, common_grid

_SHARD_BYTES = 32 * 2**20
_EXAMPLE_OVERHEAD_BYTES = 500
_POLL_S = 0.5


class WriteShards(beam.DoFn):
    """Makes the shard that an element orders, and reports it."""

    def process(self, task: ShardTask) -> Iterator[ShardReport]:
        """Writes the file of `task` and yields its report."""
        yield write_shard(task)


def generate_dataset(
    subjects: Sequence[Subject],
    settings: GenerateSettings,
    out: str | Path,
    *,
    runner: str | None = None,
    beam_arguments: Sequence[str] = (),
    overwrite: bool = False,
    particles_per_shard: int | None = None,
    command: str = "",
) -> DatasetFolder:
    """Writes a dataset folder: train, validation and test splits as sharded TFRecords.

    The examples depend on `subjects` and `settings` alone, bit for bit.

    Args:
        subjects: the structures, all of one size and pixel size.
        settings: what decides the particles.
        out: the folder; workers on other machines must see it under the same path.
        runner: name of a Beam runner; the one in this process when None.
        beam_arguments: more flags for Beam.
        overwrite: replace a dataset that is there.
        particles_per_shard: at most so many examples in a file; about 32 MiB of them when None.
        command: the command line, for the metadata.

    Returns:
        The finished folder.

    Raises:
        InputError: the input does not fit together, a structure lacks the symmetry, or a dataset
            is there already.
        OSError: a shard could not be written.
    """
    out = Path(out)
    check_output(out, overwrite=overwrite)
    options = beam_options(runner, beam_arguments)
    size, pixel_size = common_grid(subjects)
    if particles_per_shard is not None and particles_per_shard < 1:
        raise InputError(f"particles per shard must be at least 1, not {particles_per_shard}")
    per_shard = particles_per_shard or max(1, _SHARD_BYTES // (4 * size**2))
    check_room(out, settings.count * len(subjects) * (4 * size**2 + _EXAMPLE_OVERHEAD_BYTES))

    subjects = [_with_symmetry(subject, settings) for subject in subjects]
    variances = [checked_variance(subject) for subject in subjects]
    staging = prepare_staging(out, _fingerprint(subjects, settings, per_shard))
    for subject, variance in zip(subjects, variances, strict=True):
        scaled = (subject.volume / math.sqrt(variance)).astype(np.float32)
        write_map(staging / subject.volume_file, scaled, pixel_size)
    listed = settings.listed_orientations()
    if listed is not None:
        write_listed(staging, listed)
    tasks = plan_shards(subjects, settings, staging, per_shard)
    _run_pipeline(tasks, options, staging, settings.count * len(subjects), size)
    _verify(tasks)

    metadata = _metadata(subjects, variances, settings, command)
    write_json(staging / METADATA_FILE, metadata)
    write_dataset_metadata(
        staging,
        features=example_features(size),
        shard_lengths={
            split: [len(task.indices) for task in tasks if task.split == split] for split in SPLITS
        },
        description=DESCRIPTION,
        citation=CITATION,
    )
    publish(staging, out)
    return open_folder(out)


def plan_shards(
    subjects: Sequence[Subject], settings: GenerateSettings, staging: Path, per_shard: int
) -> list[ShardTask]:
    """Orders the shards of all splits, each with particles of one structure."""
    tasks = []
    indices = [
        split_indices(settings.count, seed=settings.seed, structure=subject.name)
        for subject in subjects
    ]
    for split in SPLITS:
        parts = [
            (subject, part)
            for subject, own in zip(subjects, indices, strict=True)
            for part in even_parts(own[split], per_shard)
        ]
        for shard, (subject, part) in enumerate(parts):
            tasks.append(
                ShardTask(
                    folder=str(staging.resolve()),
                    volume=subject.volume_file,
                    split=split,
                    shard=shard,
                    shards=len(parts),
                    indices=tuple(part.tolist()),
                    settings=ParticleSettings(
                        structure=subject.name,
                        pixel_size_angstrom=subject.pixel_size_angstrom,
                        seed=settings.seed,
                        orientations=settings.orientations,
                        perturbation=settings.perturbation_of(split),
                        symmetry=settings.symmetry,
                    ),
                )
            )
    return tasks


def _with_symmetry(subject: Subject, settings: GenerateSettings) -> Subject:
    """Checks that a structure has the symmetry; turns it to RELION's axes before, if asked to."""
    if settings.align_symmetry:
        aligned = align_symmetry_axes(subject.volume, settings.symmetry).astype(np.float32)
        subject = replace(subject, volume=aligned)
    check_volume_symmetry(subject.volume, settings.symmetry, subject.name)
    return subject


def _fingerprint(
    subjects: Sequence[Subject], settings: GenerateSettings, per_shard: int
) -> dict[str, Any]:
    """Collects everything that the bytes of a shard depend on."""
    return {
        "settings": asdict(settings),
        "particles_per_shard": per_shard,
        "structures": [
            {
                "name": subject.name,
                "pixel_size_angstrom": subject.pixel_size_angstrom,
                "volume": hashlib.sha256(np.ascontiguousarray(subject.volume).data).hexdigest(),
            }
            for subject in subjects
        ],
        "versions": {name: version(name) for name in ("cryotwin", "finufft", "numpy", "scipy")},
    }


def _run_pipeline(
    tasks: Sequence[ShardTask], options: PipelineOptions, staging: Path, total: int, size: int
) -> None:
    """Runs one element per shard, and shows how far the files have grown."""
    level = logging.ERROR
    if is_local(options):
        level = logging.CRITICAL  # A failure is told in one line below.
    with _logging_at(level), _interruptible(), _progress(staging, total, size):
        try:
            pipeline = beam.Pipeline(options=options)
            (
                pipeline
                | "Shards" >> beam.Create(list(tasks))
                | "Spread" >> beam.Reshuffle()
                | "Write" >> beam.ParDo(WriteShards())  # type: ignore[no-untyped-call]
            )
            pipeline.run().wait_until_finish()
        except Exception as error:
            if stop_requested.is_set():  # Beam turns Ctrl-C in a worker into a RuntimeError.
                raise KeyboardInterrupt from None
            raise _explained(error) from error


def _explained(error: Exception) -> Exception:
    """Finds the one line of a ShardError in what a runner raises, a traceback as text."""
    lines = re.findall(rf"{ShardError.__name__}: (.*)", f"{type(error).__name__}: {error}")
    if not lines:
        return error
    return OSError(re.sub(r" \[while running .*", "", lines[-1]).strip())


@contextmanager
def _logging_at(level: int) -> Iterator[None]:
    logger = logging.getLogger("apache_beam")
    before = logger.level
    logger.setLevel(level)
    try:
        yield
    finally:
        logger.setLevel(before)


@contextmanager
def _interruptible() -> Iterator[None]:
    """Lets Ctrl-C stop the workers of this process within one batch."""
    stop_requested.clear()
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, frame: FrameType | None) -> None:
        stop_requested.set()
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def _progress(staging: Path, total: int, size: int) -> Iterator[None]:
    """Shows a progress bar fed by the bytes that any runner has written so far."""
    done = threading.Event()
    example_bytes = 4 * size**2 + _EXAMPLE_OVERHEAD_BYTES
    with tqdm(total=total, unit=" particles", desc="generate", disable=None, leave=False) as bar:

        def follow() -> None:
            while not done.wait(_POLL_S):
                bar.update(min(total, bytes_written(staging) // example_bytes) - bar.n)

        follower = threading.Thread(target=follow, daemon=True)
        follower.start()
        try:
            yield
        finally:
            done.set()
            follower.join()


def _verify(tasks: Sequence[ShardTask]) -> None:
    """Checks that every shard is there and whole, whatever the runner said."""
    for task in tasks:
        if not is_complete(task):
            raise OSError(
                f"{task.path} is missing or incomplete: expected {len(task.indices)} examples"
            )


def _metadata(
    subjects: Sequence[Subject],
    variances: Sequence[float],
    settings: GenerateSettings,
    command: str,
) -> dict[str, Any]:
    """Collects what cryotwin.json says."""
    return {
        "format": FORMAT,
        "command": command,
        "seed": settings.seed,
        "count": settings.count,
        "size": subjects[0].volume.shape[0],
        "pixel_size_angstrom": subjects[0].pixel_size_angstrom,
        "orientations": settings.orientations,
        "symmetry": settings.symmetry,
        "align_symmetry": settings.align_symmetry,
        "fundamental_domain": settings.symmetry != "C1" and settings.orientations_digest is None,
        "snr_db": settings.snr_db,
        "noise_variance": settings.perturbation.noise_variance,
        "max_shift_px": settings.max_shift_px,
        "perturb_train": settings.perturb_train,
        "structures": [
            {
                "name": subject.name,
                "source": subject.source,
                "atoms": subject.atoms,
                "resolution_angstrom": subject.resolution_angstrom,
                "diameter_angstrom": subject.diameter_angstrom,
                "signal_variance": variance,
                "volume": subject.volume_file,
            }
            for subject, variance in zip(subjects, variances, strict=True)
        ],
    }
