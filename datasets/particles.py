"""Particles from wherever they are: a dataset folder, a .star, .mrcs or .cs file."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from cryotwin.datasets.cs_files import read_cs
from cryotwin.datasets.image_stacks import format_image_name, read_stack
from cryotwin.datasets.particle_set import ParticleSet, common_pixel_size
from cryotwin.datasets.relion_columns import ctf_tables
from cryotwin.datasets.star_files import read_star
from cryotwin.datasets.star_tables import optics_groups
from cryotwin.imaging.errors import InputError
from cryotwin.imaging.rotations import canonical_quaternions

__all__ = ["ParticleSet", "read_particle_file", "read_particles"]


def read_particles(path: str | Path, *, split: str = "test") -> ParticleSet:
    """Reads particles.

    Args:
        path: a dataset folder that `cryotwin generate` wrote, a RELION .star file (3.0 or 3.1 and
            later), an .mrcs stack (pixel size from its header) or a cryoSPARC .cs file.
        split: which split of a dataset folder.

    Returns:
        The particles, with orientations and shifts where the source has them.

    Raises:
        InputError: when there is nothing at `path`, it is of another kind, or it is damaged,
            incomplete or inconsistent.
    """
    path = Path(path)
    if path.is_dir():
        return _read_folder(path, split)
    return read_particle_file(path)


def read_particle_file(path: str | Path, *, mixed_pixel_sizes: bool = False) -> ParticleSet:
    """Reads the particles of a .star, .mrcs or .cs file, as `read_particles` does.

    Args:
        path: the file.
        mixed_pixel_sizes: let particles of several pixel sizes pass, which can become a dataset
            but not one map.

    Raises:
        InputError: as `read_particles`.
    """
    path = Path(path)
    if not path.exists():
        raise InputError(
            f"{path}: no such file or folder, a dataset folder or a .star, .mrcs or .cs file of "
            "particles was expected"
        )
    suffix = path.suffix.lower()
    if suffix == ".star":
        return read_star(path, mixed_pixel_sizes=mixed_pixel_sizes)
    if suffix == ".cs":
        return read_cs(path, mixed_pixel_sizes=mixed_pixel_sizes)
    if suffix == ".mrcs":
        return _read_mrcs(path)
    raise InputError(
        f"{path}: particles must be a dataset folder or a .star, .mrcs or .cs file, not "
        f"{suffix or 'a file without suffix'!r} (a stack of images ends in .mrcs)"
    )


def _read_mrcs(path: Path) -> ParticleSet:
    images, pixel_size = read_stack(path)
    return ParticleSet(
        images=images,
        pixel_size_angstrom=pixel_size,
        keys=[format_image_name(frame, path.name) for frame in range(len(images))],
        source=str(path),
        image_names=[format_image_name(frame, path) for frame in range(len(images))],
        stacks={str(path): path},
    )


def _read_folder(path: Path, split: str) -> ParticleSet:
    from cryotwin.datasets.folder import load_split, open_folder

    folder = open_folder(path)
    missing = {"image", "key", "pixel_size_angstrom"} - set(folder.fields)
    if missing:
        raise InputError(
            f"{path}: a dataset of particle images was expected, its examples have no "
            f"{sorted(missing)[0]!r} (they have {', '.join(folder.fields)})"
        )
    arrays = load_split(folder, split)
    sizes = np.asarray(arrays["pixel_size_angstrom"], dtype=np.float64)
    if sizes.size == 0:
        raise InputError(f"{path}: no particles in split {split!r}, at least one was expected")
    optics, columns = _microscope(arrays)
    quaternions = arrays.get("quaternion")
    return ParticleSet(
        images=np.asarray(arrays["image"], dtype=np.float32),
        pixel_size_angstrom=common_pixel_size(sizes, path),
        keys=[str(key) for key in arrays["key"]],
        quaternions=None
        if quaternions is None
        else canonical_quaternions(quaternions.astype(np.float64)),
        shifts_angstrom=arrays.get("shift_angstrom"),
        source=f"{path} ({split} split)",
        volume_path=folder.volume_path(),
        metadata=folder.metadata,
        optics=optics,
        columns=columns,
    )


def _microscope(arrays: dict[str, Any]) -> tuple[pd.DataFrame | None, pd.DataFrame | None]:
    """Translates a dataset's CTF into RELION's tables; None twice when none was applied."""
    voltage = arrays.get("ctf/voltage_kv")
    if voltage is None or not np.any(voltage):
        return None, None
    shared, columns = ctf_tables(arrays)
    optics, groups = optics_groups(shared)
    return optics, columns.assign(rlnOpticsGroup=groups)
