"""Particles of a .star, .mrcs or .cs file as a dataset folder."""

import json
import math
import re
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cryotwin.datasets.example_bytes import serialize_example
from cryotwin.datasets.folder import METADATA_FILE, shard_name, write_dataset_metadata
from cryotwin.datasets.particle_set import ParticleSet
from cryotwin.datasets.relion_columns import example_fields
from cryotwin.datasets.schema import CITATION, DESCRIPTION, FORMAT, example_features
from cryotwin.datasets.splits import SPLITS, even_parts
from cryotwin.datasets.star_export import metadata_path, volumes_path
from cryotwin.datasets.star_tables import SPLIT_COLUMN
from cryotwin.datasets.tfrecords import write_record
from cryotwin.imaging.atomic import atomic_output
from cryotwin.imaging.errors import InputError

SHARD_BYTES = 32 * 2**20
"""A shard has at most so many bytes of images, unless told otherwise."""

_FOREIGN = """\
Single-particle cryo-EM images, converted from {source} by `cryotwin convert`. The rows of the \
rotation of a quaternion are the detector's x axis, its y axis and the viewing direction in the \
object's frame; the origin is pixel N // 2 on every axis."""


def write_particles(
    folder: Path,
    particles: ParticleSet,
    *,
    split: str | None = None,
    particles_per_shard: int | None = None,
    command: str = "",
) -> dict[str, int]:
    """Writes particles as a dataset folder, in their order within each split.

    An example has the fields of the schema that are known: without orientations there are no
    `quaternion` and `shift_angstrom`, without a microscope there is no `ctf`. Where the file was
    exported from a dataset, its splits, cryotwin.json and volumes come back.

    Args:
        folder: an empty folder; it looks like a dataset when this returns.
        particles: what to write.
        split: where the file names the split of each particle: write this one alone, or all when
            None; where it names none: the split of all, "test" when None.
        particles_per_shard: at most so many examples in a file; 32 MiB of them when None.
        command: the command line, for the metadata.

    Returns:
        The number of examples in each split.

    Raises:
        InputError: the name of a split or a number in a column is bad, or the file names splits
            but not `split`.
    """
    fields = example_fields(particles)
    size = particles.images.shape[-1]
    per_shard = particles_per_shard or max(1, SHARD_BYTES // (4 * size**2))
    names = {name.partition("/")[0] for name in fields}
    features = example_features(size, {"image", *names})
    lengths = {}
    for name, rows in _splits(particles, split).items():
        parts = even_parts(rows, per_shard)
        lengths[name] = [len(part) for part in parts]
        for shard, part in enumerate(parts):
            path = folder / shard_name(name, shard, len(parts))
            with atomic_output(path) as temporary, temporary.open("wb") as file:
                for example in _examples(particles, fields, part):
                    write_record(file, serialize_example(example))
    metadata = _restore(particles, folder) or _foreign_metadata(particles, command)
    simulated = "structures" in metadata
    with atomic_output(folder / METADATA_FILE) as temporary:
        temporary.write_text(json.dumps(metadata, indent=1))
    write_dataset_metadata(
        folder,
        features=features,
        shard_lengths=lengths,
        description=DESCRIPTION if simulated else _FOREIGN.format(source=_name(particles)),
        citation=CITATION if simulated else None,
    )
    return {name: sum(counts) for name, counts in lengths.items()}


def _splits(particles: ParticleSet, wanted: str | None) -> dict[str, NDArray[np.int64]]:
    """Gives the rows of each split that is wanted, in the usual order of splits."""
    if particles.columns is None or SPLIT_COLUMN not in particles.columns:
        name = "test" if wanted is None else wanted
        _check_name(name, particles)
        return {name: np.arange(len(particles))}
    names = particles.columns[SPLIT_COLUMN].astype(str).to_numpy()
    found = [str(name) for name in np.unique(names)]
    for name in found:
        _check_name(name, particles)
    ordered = [name for name in SPLITS if name in found]
    ordered += [name for name in found if name not in SPLITS]
    if wanted is not None and wanted not in found:
        known = ", ".join(map(repr, ordered))
        raise InputError(f"split of {particles.source} must be one of {known}, not {wanted!r}")
    return {name: np.flatnonzero(names == name) for name in ordered if wanted in (None, name)}


def _check_name(split: str, particles: ParticleSet) -> None:
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", split) or split.lower() == "all":
        raise InputError(
            f"{particles.source}: a split must be named in letters, digits and _, and not "
            f"'all', but is {split!r}"
        )


def _examples(
    particles: ParticleSet, fields: Mapping[str, NDArray[Any]], rows: NDArray[np.int64]
) -> Iterator[dict[str, Any]]:
    for row in rows:
        example: dict[str, Any] = {"image": particles.images[row]}
        for name, values in fields.items():
            group, _, member = name.partition("/")
            value = str(values[row]) if values.dtype.kind == "U" else values[row]
            if member:
                example.setdefault(group, {})[member] = value
            else:
                example[group] = value
        yield example


def _restore(particles: ParticleSet, folder: Path) -> dict[str, Any] | None:
    """Takes back the metadata and volumes that lie beside an exported .star file."""
    path = Path(particles.source)
    if path.suffix != ".star" or not metadata_path(path).is_file():
        return None
    try:
        metadata: dict[str, Any] = json.loads(metadata_path(path).read_text())
        volumes = [entry["volume"] for entry in metadata.get("structures", [])]
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise InputError(
            f"{metadata_path(path)} does not hold the metadata of a dataset ({error})"
        ) from None
    for volume in volumes:
        copy = volumes_path(path) / Path(str(volume)).name
        if copy.is_file():
            (folder / "volumes").mkdir(exist_ok=True)
            shutil.copyfile(copy, folder / "volumes" / copy.name)
    return metadata


def _foreign_metadata(particles: ParticleSet, command: str) -> dict[str, Any]:
    pixel_size = particles.pixel_size_angstrom
    return {
        "format": FORMAT,
        "command": command,
        "source": _name(particles),
        "count": len(particles.keys),
        "size": particles.images.shape[-1],
        "pixel_size_angstrom": None if math.isnan(pixel_size) else pixel_size,
    }


def _name(particles: ParticleSet) -> str:
    """Names the file alone: the dataset may go to other machines."""
    return Path(particles.source).name
