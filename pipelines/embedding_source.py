"""The particles that `cryotwin embed` is given, in the form that workers read: a dataset folder.

A dataset folder stays where it is. The particles of a file are read once and written as one into
the staging folder.
"""

from abc import ABC, abstractmethod
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cryotwin.datasets.contrast import check_contrast
from cryotwin.datasets.example_reading import shard_paths
from cryotwin.datasets.folder import check_split, is_dataset_folder, open_folder
from cryotwin.datasets.folder_writing import write_particles
from cryotwin.datasets.particles import read_particle_file
from cryotwin.datasets.relion_columns import example_fields
from cryotwin.datasets.star_tables import SPLIT_COLUMN
from cryotwin.imaging.errors import InputError
from cryotwin.pipelines.feature_shards import ParticleSource, read_fields

_COPY = "particles"
_FILE_SPLIT = "test"
_LOOKED_AT = 500
"""Particles whose contrast is looked at."""


class Particles(ABC):
    """Particles that are open.

    Attributes:
        name: what the user called them, for messages.
        split: the split that their features will be in.
        count: how many there are.
        pixel_size_angstrom: of all.
        fingerprint: what tells them from others.
    """

    name: str
    split: str
    count: int
    pixel_size_angstrom: float
    fingerprint: dict[str, Any]

    @abstractmethod
    def first(self) -> dict[str, NDArray[Any]]:
        """Gives all fields of the first particle."""

    @abstractmethod
    def within(self, staging: Path) -> ParticleSource:
        """Tells workers where the particles are; puts them there if need be."""


def open_particles(
    path: str | Path,
    *,
    split: str = "test",
    limit: int | None = None,
    invert_contrast: bool | None = None,
) -> Particles:
    """Opens a dataset folder, or a .star, .mrcs or .cs file.

    Args:
        path: of it.
        split: of a dataset folder.
        limit: the first so many particles only.
        invert_contrast: particles are dark; None looks, where nothing says that they are bright.

    Raises:
        InputError: there is nothing at `path`, or nothing that can be used.
    """
    if limit is not None and limit < 1:
        raise InputError(f"limit must be at least 1, not {limit}")
    path = Path(path)
    if path.is_dir():
        return _Folder(path, split, limit, invert_contrast)
    return _File(path, limit, invert_contrast)


class _Folder(Particles):
    def __init__(self, path: Path, split: str, limit: int | None, invert: bool | None) -> None:
        folder = open_folder(path)
        missing = {"image", "key", "pixel_size_angstrom"} - set(folder.fields)
        if missing:
            raise InputError(
                f"{path}: a dataset of particle images was expected, its examples have no "
                f"{sorted(missing)[0]!r} (they have {', '.join(folder.fields)})"
            )
        check_split(folder, split)
        self.name, self.split = str(path), split
        self.count = min(folder.split_sizes[split], limit or folder.split_sizes[split])
        if self.count == 0:
            raise InputError(f"{path}: no particles in split {split!r}, at least one was expected")
        source = ParticleSource(str(path.resolve()), split, self.name, float("nan"), bool(invert))
        try:
            some = read_fields(source, range(min(self.count, _LOOKED_AT)))
            shards = [_state(shard) for shard in shard_paths(path, split)]
        except (OSError, ValueError) as error:
            raise InputError(f"split {split!r} of {path} cannot be read: {error}") from error
        if invert is None and not folder.metadata:
            check_contrast(some["image"], self.name)
        self._first = {name: values[:1] for name, values in some.items()}
        self.pixel_size_angstrom = float(self._first["pixel_size_angstrom"][0])
        self._source = replace(source, pixel_size_angstrom=self.pixel_size_angstrom)
        self.fingerprint = {"particles": asdict(self._source), "shards": shards}
        self.fingerprint["count"] = self.count

    def first(self) -> dict[str, NDArray[Any]]:
        return self._first

    def within(self, staging: Path) -> ParticleSource:
        return self._source


class _File(Particles):
    def __init__(self, path: Path, limit: int | None, invert: bool | None) -> None:
        particles = read_particle_file(path)
        if invert:
            particles = particles.inverted()
        elif invert is None and particles.signs is None:
            check_contrast(particles.images[:_LOOKED_AT], str(path))
        if limit is not None:
            particles = particles.first(limit)
        if particles.columns is not None:  # All of them, in the order of the file.
            particles.columns = particles.columns.drop(columns=SPLIT_COLUMN, errors="ignore")
        self._particles = particles
        self.name, self.split, self.count = str(path), _FILE_SPLIT, len(particles)
        self.pixel_size_angstrom = particles.pixel_size_angstrom
        files = [path, *sorted(particles.stacks.values())]
        self.fingerprint = {"particles": [_state(file) for file in files], "count": self.count}
        self.fingerprint["inverted"] = bool(invert)

    def first(self) -> dict[str, NDArray[Any]]:
        fields = {name: values[:1] for name, values in example_fields(self._particles).items()}
        return {**fields, "image": np.asarray(self._particles.images[:1])}

    def within(self, staging: Path) -> ParticleSource:
        copy = staging / _COPY
        if not is_dataset_folder(copy):
            copy.mkdir(exist_ok=True)
            write_particles(copy, self._particles, split=_FILE_SPLIT)
        return ParticleSource(str(copy.resolve()), _FILE_SPLIT, self.name, self.pixel_size_angstrom)


def _state(path: Path) -> list[Any]:
    """Gives the name, the size and the time of a file."""
    known = path.stat()
    return [str(path.resolve()), known.st_size, known.st_mtime_ns]
