"""The pipeline behind `cryotwin generate`: from a list of structures to a dataset folder.

Two Beam pipelines on one runner. In the first an element is a structure: a worker reads it and
writes the scaled volume, or a dead letter. The driver then plans the shards, and in the second
pipeline an element is a shard. The driver verifies the files and writes the metadata. All of that
happens in OUT/.unfinished; at the end the files move up, features.json last. A run that was
killed finds there what is finished and goes on, if its settings and structures are the same.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions

from cryotwin.datasets.folder import (
    METADATA_FILE,
    DatasetFolder,
    is_dataset_folder,
    open_folder,
    write_dataset_metadata,
)
from cryotwin.datasets.orientation_lists import write_listed
from cryotwin.datasets.schema import CITATION, DESCRIPTION, FORMAT, example_features
from cryotwin.datasets.splits import SPLITS
from cryotwin.imaging.errors import InputError
from cryotwin.pipelines.beam_options import beam_options
from cryotwin.pipelines.beam_runs import RunMetrics, run_elements
from cryotwin.pipelines.beam_steps import PrepareStructures, WriteShards
from cryotwin.pipelines.fingerprint import run_fingerprint
from cryotwin.pipelines.generate_settings import GenerateSettings
from cryotwin.pipelines.particle_shards import ShardTask, plan_shards
from cryotwin.pipelines.preparation import (
    DeadLetter,
    PrepareTask,
    count_prepared,
    forget_failures,
    gather,
)
from cryotwin.pipelines.progress import following
from cryotwin.pipelines.shard_files import verify_shards
from cryotwin.pipelines.staging import (
    FAILURES_FILE,
    bytes_written,
    check_output,
    check_room,
    discard,
    keep_shards_of,
    only_run_in,
    prepare_staging,
    publish,
    write_json,
    write_json_lines,
)
from cryotwin.pipelines.structure_lists import StructureEntry
from cryotwin.pipelines.subjects import Grid, Subject

_SHARD_BYTES = 32 * 2**20
_EXAMPLE_OVERHEAD_BYTES = 500
_LOG = "workers.log"


@dataclass(frozen=True)
class GeneratedDataset:
    """A finished dataset, and how it came about.

    Attributes:
        folder: where it is.
        subjects: the structures in it.
        failures: the structures that were left out.
        metrics: what the workers of this run counted and timed.
    """

    folder: DatasetFolder
    subjects: list[Subject]
    failures: list[DeadLetter]
    metrics: RunMetrics


def generate_dataset(
    entries: Sequence[StructureEntry],
    grid: Grid,
    settings: GenerateSettings,
    out: str | Path,
    *,
    runner: str | None = None,
    beam_arguments: Sequence[str] = (),
    overwrite: bool = False,
    fail_fast: bool = False,
    particles_per_shard: int | None = None,
    command: str = "",
    announce: Callable[[list[Subject]], None] | None = None,
) -> GeneratedDataset:
    """Writes a dataset folder: train, validation and test splits as sharded TFRecords.

    The examples depend on `entries`, `grid` and `settings` alone, bit for bit.

    Args:
        entries: the structures, as `list_structures` gives them.
        grid: the box that they are put into.
        settings: what decides the particles.
        out: the folder; workers on other machines must see it under the same path.
        runner: name of a Beam runner; the one in this process when None.
        beam_arguments: more flags for Beam.
        overwrite: replace a dataset that is there.
        fail_fast: give up when a structure cannot be used, instead of leaving it out.
        particles_per_shard: at most so many examples in a file; about 32 MiB of them when None.
        command: the command line, for the metadata.
        announce: called with the structures that are ready, before the images are made.

    Returns:
        The finished dataset. What was left out is told in its failures.jsonl too.

    Raises:
        InputError: the input does not fit together, a dataset is there already, another run
            writes there, or no structure can be used.
        OSError: a worker could not do its part.
    """
    out = Path(out)
    check_output(out, overwrite=overwrite)
    if particles_per_shard is not None and particles_per_shard < 1:
        raise InputError(f"particles per shard must be at least 1, not {particles_per_shard}")
    per_shard = particles_per_shard or max(1, _SHARD_BYTES // (4 * grid.size**2))

    def options() -> PipelineOptions:
        return beam_options(runner, beam_arguments)

    if settings.max_shift_px > grid.size / 2:
        raise InputError(
            f"max shift must be at most half the box of {grid.size} pixels, "
            f"not {settings.max_shift_px:g}: further off, the particle comes in on the other side"
        )

    options()  # Bad flags are told before anything is written.
    check_room(out, _bytes_needed(len(entries), grid, settings))

    is_new = not out.exists()
    with only_run_in(out):
        check_output(out, overwrite=overwrite)  # Another run may have ended a moment ago.
        staging = prepare_staging(out, run_fingerprint(entries, grid, settings))
        tasks = [
            PrepareTask(
                folder=str(staging.resolve()),
                number=number,
                entry=entry,
                grid=grid,
                symmetry=settings.symmetry,
                align_symmetry=settings.align_symmetry,
                fail_fast=fail_fast,
            )
            for number, entry in enumerate(entries)
        ]
        # One structure is sooner read here than by a worker that has to start for it.
        metrics = _prepare(tasks, staging, options() if len(tasks) > 1 else beam_options(None, ()))
        subjects, failures = gather(tasks)
        try:
            _check_survivors(subjects, failures, out, fail_fast=fail_fast)
            shards = plan_shards(subjects, settings, staging, per_shard)
        except InputError:
            discard(staging, folder_too=is_new)
            raise
        if announce:
            announce(subjects)
        keep_shards_of(staging, {"per_shard": per_shard, "names": [s.name for s in subjects]})
        listed = settings.listed_orientations()
        if listed is not None:
            write_listed(staging, listed)
        metrics += _write(shards, staging, options(), grid.size)
        verify_shards(shards)
        _describe(staging, shards, failures, _metadata(subjects, grid, settings, command))
        publish(staging, out)
    return GeneratedDataset(open_folder(out), subjects, failures, metrics)


def _bytes_needed(structures: int, grid: Grid, settings: GenerateSettings) -> int:
    particle = 4 * grid.size**2 + _EXAMPLE_OVERHEAD_BYTES
    return structures * (settings.count * particle + 4 * grid.size**3)


def _prepare(tasks: Sequence[PrepareTask], staging: Path, options: PipelineOptions) -> RunMetrics:
    """Runs one element per structure."""
    forget_failures(staging)
    progress = following(len(tasks), "structures", "prepare", lambda: count_prepared(staging))
    work = beam.ParDo(PrepareStructures())  # type: ignore[no-untyped-call]
    return run_elements(tasks, work, options, progress, staging / _LOG)


def _write(
    tasks: Sequence[ShardTask], staging: Path, options: PipelineOptions, size: int
) -> RunMetrics:
    """Runs one element per shard, and shows how far the files have grown."""
    example_bytes = 4 * size**2 + _EXAMPLE_OVERHEAD_BYTES
    progress = following(
        sum(task.count for task in tasks),
        "particles",
        "generate",
        lambda: bytes_written(staging) // example_bytes,
    )
    work = beam.ParDo(WriteShards())  # type: ignore[no-untyped-call]
    return run_elements(tasks, work, options, progress, staging / _LOG)


def _check_survivors(
    subjects: Sequence[Subject], failures: Sequence[DeadLetter], out: Path, *, fail_fast: bool
) -> None:
    """Raises InputError when no structure can be used, or one cannot and all must."""
    if not failures or (subjects and not fail_fast):
        return
    first = failures[0].reason
    if failures[0].structure not in first:
        first = f"{failures[0].structure}: {first}"
    if len(failures) == 1 or fail_fast:
        raise InputError(first)
    seen = ""
    if not is_dataset_folder(out):  # The dead letters of a dataset that is there are its own.
        write_json_lines(out / FAILURES_FILE, map(asdict, failures))
        seen = f", see {out / FAILURES_FILE}"
    raise InputError(f"none of {len(failures)} structures can be used{seen}; the first: {first}")


def _describe(
    staging: Path,
    shards: Sequence[ShardTask],
    failures: Sequence[DeadLetter],
    metadata: dict[str, Any],
) -> None:
    """Writes all that stands beside the shards and the volumes."""
    if failures:
        write_json_lines(staging / FAILURES_FILE, map(asdict, failures))
    write_json(staging / METADATA_FILE, metadata)
    write_dataset_metadata(
        staging,
        features=example_features(metadata["size"]),
        shard_lengths={
            split: [task.count for task in shards if task.split == split] for split in SPLITS
        },
        description=DESCRIPTION,
        citation=CITATION,
    )


def _metadata(
    subjects: Sequence[Subject], grid: Grid, settings: GenerateSettings, command: str
) -> dict[str, Any]:
    """Collects what cryotwin.json says."""
    pixel_sizes = {subject.pixel_size_angstrom for subject in subjects}
    return {
        "format": FORMAT,
        "command": command,
        "seed": settings.seed,
        "count": settings.count,
        "size": grid.size,
        "pixel_size_angstrom": pixel_sizes.pop() if len(pixel_sizes) == 1 else None,
        "orientations": settings.orientations,
        "projector": settings.projector,
        "symmetry": settings.symmetry,
        "align_symmetry": settings.align_symmetry,
        "fundamental_domain": settings.symmetry != "C1" and settings.orientations_digest is None,
        "snr_db": settings.snr_db,
        **settings.perturbation.to_metadata(),
        "perturb_train": settings.perturb_train,
        "split_by": settings.split_by,
        "structures": [
            {
                "name": subject.name,
                "source": subject.source,
                "atoms": subject.atoms,
                "resolution_angstrom": subject.resolution_angstrom,
                "pixel_size_angstrom": subject.pixel_size_angstrom,
                "diameter_angstrom": subject.diameter_angstrom,
                "signal_variance": subject.signal_variance,
                "cluster": subject.cluster,
                "volume": subject.volume_file,
                "report": subject.report,
            }
            for subject in subjects
        ],
    }
