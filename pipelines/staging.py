"""The folder of a run that is under way: OUT/.unfinished, resumed or moved up when complete."""

import fcntl
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cryotwin.datasets.folder import (
    FEATURES_FILE,
    INFO_FILE,
    METADATA_FILE,
    is_dataset_folder,
    open_folder,
)
from cryotwin.datasets.schema import DATASET_NAME
from cryotwin.imaging.atomic import atomic_output
from cryotwin.imaging.errors import InputError
from cryotwin.pipelines.output_paths import check_place

STAGING = ".unfinished"
FAILURES_FILE = "failures.jsonl"
ORIENTATIONS_FOLDER = "orientations"
"""A dataset beside a dataset of features: where their particles lie."""

_FINGERPRINT_FILE = "settings.json"
_PLAN_FILE = "plan.json"
_SHARDS = f"{DATASET_NAME}-*.tfrecord-*"


def check_folder(out: Path) -> None:
    """Raises InputError when `out` is or would be below a file, or is on no file system."""
    check_place(out)
    if out.exists() and not out.is_dir():
        raise InputError(f"{out} is a file; --out must be a folder")


def check_output(out: Path, *, overwrite: bool) -> None:
    """Raises InputError when `out` is no place for a new dataset."""
    check_folder(out)
    if is_dataset_folder(out) and not overwrite:
        raise InputError(f"{out} holds a dataset already; give another --out, or --overwrite")


def check_room(out: Path, needed_bytes: int) -> None:
    """Raises InputError when the disk that holds `out` lacks room for so many bytes."""
    place = next(folder for folder in (out, *out.resolve().parents) if folder.exists())
    free = shutil.disk_usage(place).free
    if free < needed_bytes:
        raise InputError(
            f"{out}: {needed_bytes / 2**20:,.0f} MiB are needed, but no space is left "
            f"on the device beyond {free / 2**20:,.0f} MiB"
        )


@contextmanager
def only_run_in(out: Path) -> Iterator[None]:
    """Makes the folder `out`, and keeps other runs on this machine out of it meanwhile.

    The lock is the system's, and goes with the process however that ends. File systems that lock
    no folders, as NFS, let every run in.

    Raises:
        InputError: another run is under way there.
    """
    out.mkdir(parents=True, exist_ok=True)
    folder = os.open(out, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(folder)
        raise InputError(
            f"{out}: another run writes there; wait for its end, or give another --out"
        ) from None
    except OSError:
        pass  # No locks here.
    try:
        yield
    finally:
        os.close(folder)


def prepare_staging(out: Path, fingerprint: Mapping[str, Any]) -> Path:
    """Makes the folder of an unfinished run, or keeps that of a run with the same fingerprint."""
    staging = out / STAGING
    record = staging / _FINGERPRINT_FILE
    if staging.exists() and not _says(record, fingerprint):
        shutil.rmtree(staging)
    staging.mkdir(parents=True, exist_ok=True)
    for partial in staging.rglob(".partial-*"):
        partial.unlink()
    write_json(record, fingerprint)
    return staging


def keep_shards_of(staging: Path, plan: Mapping[str, Any]) -> None:
    """Removes the shards of an earlier run that had another plan, as names alone do not tell."""
    record = staging / _PLAN_FILE
    if not _says(record, plan):
        for shard in staging.glob(_SHARDS):
            shard.unlink()
        write_json(record, plan)


def _says(record: Path, content: Mapping[str, Any]) -> bool:
    return record.is_file() and record.read_text() == json.dumps(content, indent=1)


def discard(staging: Path, *, folder_too: bool) -> None:
    """Removes the folder of a run that cannot go on, and OUT if it is empty and asked for."""
    shutil.rmtree(staging, ignore_errors=True)
    if folder_too and not any(staging.parent.iterdir()):
        staging.parent.rmdir()


def write_json_lines(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Writes one JSON object a line, whole or not at all."""
    with atomic_output(path) as temporary:
        temporary.write_text("".join(json.dumps(row) + "\n" for row in rows))


def write_json(path: Path, content: Mapping[str, Any] | Sequence[Any]) -> None:
    """Writes a JSON file whole or not at all."""
    with atomic_output(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1))


def bytes_written(staging: Path) -> int:
    """Adds up the shards so far, those in the making too."""
    written = 0
    for path in staging.glob("*tfrecord*"):
        try:
            written += path.stat().st_size
        except FileNotFoundError:  # Moved to its final name meanwhile.
            continue
    return written


def publish(staging: Path, out: Path) -> None:
    """Moves a complete dataset up from its staging folder; features.json goes last."""
    if is_dataset_folder(out):
        _remove_dataset(out)
    for volume in sorted((staging / "volumes").glob("*.mrc")):
        (out / "volumes").mkdir(exist_ok=True)
        volume.replace(out / "volumes" / volume.name)
    if (staging / ORIENTATIONS_FOLDER).exists():
        (staging / ORIENTATIONS_FOLDER).replace(out / ORIENTATIONS_FOLDER)
    for shard in sorted(staging.glob(_SHARDS)):
        shard.replace(out / shard.name)
    (out / FAILURES_FILE).unlink(missing_ok=True)
    if (staging / FAILURES_FILE).exists():
        (staging / FAILURES_FILE).replace(out / FAILURES_FILE)
    for name in (METADATA_FILE, INFO_FILE, FEATURES_FILE):
        (staging / name).replace(out / name)
    shutil.rmtree(staging)


def _remove_dataset(out: Path) -> None:
    """Removes a dataset's own files and leaves all others; features.json goes first."""
    volumes = [entry["volume"] for entry in open_folder(out).metadata.get("structures", [])]
    for name in (FEATURES_FILE, INFO_FILE, METADATA_FILE):
        (out / name).unlink(missing_ok=True)
    for old in out.glob(_SHARDS):
        old.unlink()
    for volume in volumes:
        (out / volume).unlink(missing_ok=True)
    if is_dataset_folder(out / ORIENTATIONS_FOLDER):
        shutil.rmtree(out / ORIENTATIONS_FOLDER)
