"""RELION's .star files: particles in, orientations in and out.

Files of RELION 3.0 and of 3.1 and later are read, the newer form is written. What came in goes out
again, but for the orientations: RELION's next job may need any of it.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import starfile
from numpy.typing import ArrayLike, NDArray

from cryotwin.datasets.image_stacks import (
    AS_STACK,
    find_stack,
    format_image_name,
    parse_image_name,
    read_frames,
)
from cryotwin.datasets.particle_set import ParticleSet, common_pixel_size
from cryotwin.datasets.star_tables import (
    ANGLE_COLUMNS,
    KEY_COLUMN,
    SHARED_COLUMNS,
    image_names_of,
    keys_of,
    numbers_of,
    optics_groups,
    orientations_of,
    pixel_sizes_of,
    quaternions_of,
    read_blocks,
    read_tables,
)
from cryotwin.imaging.atomic import atomic_output
from cryotwin.imaging.errors import InputError
from cryotwin.imaging.rotations import matrices_to_relion_angles, quaternions_to_matrices

Array = NDArray[np.floating]

CONFIDENCE_COLUMN = "rlnParticleFigureOfMerit"
"""RELION's column for how good a particle is: here how far its orientation can be trusted."""

_DIGITS = "%.12g"
"""More than RELION writes, so that numbers that it wrote come out as they went in."""

_PRIORS = {
    "rlnAngleRotPrior": "rlnAngleRot",
    "rlnAngleTiltPrior": "rlnAngleTilt",
    "rlnAnglePsiPrior": "rlnAnglePsi",
    "rlnOriginXPriorAngst": "rlnOriginXAngst",
    "rlnOriginYPriorAngst": "rlnOriginYAngst",
}
"""Columns that say where RELION's local searches look: beside the new orientations."""

_IN_PIXELS = ["rlnOriginX", "rlnOriginY", "rlnOriginXPrior", "rlnOriginYPrior"]
"""RELION 3.0's columns, for which newer ones in angstrom are written."""

_NO_MICROSCOPE = {
    "rlnVoltage": 300.0,
    "rlnSphericalAberration": 0.0,
    "rlnAmplitudeContrast": 1.0,
}
"""RELION asks for a microscope: of this one the CTF is 1 at every frequency."""


@dataclass(frozen=True)
class Orientations:
    """The orientations in a .star file.

    Attributes:
        keys: P unique names.
        quaternions: (P, 4) scalar first, w >= 0.
        shifts_angstrom: (P, 2) as (x, y), the displacement t of equation (1).
        confidence: (P,), or None when the file has none.
    """

    keys: list[str]
    quaternions: Array
    shifts_angstrom: Array
    confidence: Array | None


def read_star(path: str | Path, *, mixed_pixel_sizes: bool = False) -> ParticleSet:
    """Reads the particles that a RELION .star file lists, with their images.

    Image stacks are looked for as `image_stacks.find_stack` says.

    Args:
        path: the file.
        mixed_pixel_sizes: let particles of several pixel sizes pass.

    Raises:
        InputError: when it is no particle .star file, a column or a stack is missing, pixel sizes
            or image sizes differ and may not, a particle is listed twice, or values are not finite.
    """
    path = Path(path)
    optics, table, others = read_tables(path)
    names = image_names_of(path, table)
    pixel_sizes = pixel_sizes_of(path, optics, table)
    pixel_size = common_pixel_size(pixel_sizes, path, mixed=mixed_pixel_sizes)
    frames = [parse_image_name(name) for name in names]
    keys = keys_of(path, table, names)
    quaternions, shifts = orientations_of(path, table, pixel_sizes)
    images, stacks = read_frames(frames, listed_in=path)
    if optics is None:
        optics, groups = optics_groups(table)
        table = table.drop(columns=SHARED_COLUMNS, errors="ignore").assign(rlnOpticsGroup=groups)
    return ParticleSet(
        images=images,
        pixel_size_angstrom=pixel_size,
        keys=keys,
        quaternions=quaternions,
        shifts_angstrom=shifts,
        source=str(path),
        image_names=names,
        stacks=stacks,
        optics=optics,
        columns=table,
        tables=others,
        pixel_sizes_angstrom=pixel_sizes,
    )


def read_orientations(path: str | Path) -> Orientations:
    """Reads keys and orientations from a .star file; its image stacks need not be there.

    Raises:
        InputError: when it is no particle .star file or has no orientations.
    """
    path = Path(path)
    optics, table, _ = read_tables(path)
    names = image_names_of(path, table)
    # Only origins in pixels, as RELION 3.0 has them, need a pixel size.
    in_pixels = "rlnOriginX" in table and "rlnOriginXAngst" not in table
    pixel_sizes = pixel_sizes_of(path, optics, table) if in_pixels else np.ones(len(table))
    common_pixel_size(pixel_sizes, path, mixed=True)
    quaternions, shifts = orientations_of(path, table, pixel_sizes)
    if quaternions is None or shifts is None:
        raise InputError(f"{path}: no orientations in it (rlnAngleRot, rlnAngleTilt, rlnAnglePsi)")
    confidence = None
    if CONFIDENCE_COLUMN in table:
        confidence = numbers_of(path, table, [CONFIDENCE_COLUMN])[:, 0]
    return Orientations(keys_of(path, table, names), quaternions, shifts, confidence)


def read_star_angles(path: str | Path) -> NDArray[np.float64]:
    """Reads the orientations of the rows of a .star file that need not list images.

    Returns:
        Quaternions (P, 4) in the order of the rows, scalar first, w >= 0.

    Raises:
        InputError: when it is no .star file, or no table of it has RELION's three angles.
    """
    path = Path(path)
    for table in read_blocks(path).values():
        if len(table) and all(column in table for column in ANGLE_COLUMNS):
            return quaternions_of(path, table)
    raise InputError(f"{path}: no orientations in it (rlnAngleRot, rlnAngleTilt, rlnAnglePsi)")


def write_orientations_star(
    path: str | Path,
    particles: ParticleSet,
    quaternions: ArrayLike,
    shifts_angstrom: ArrayLike,
    confidence: ArrayLike | None = None,
    *,
    halves: ArrayLike | None = None,
    image_names: Sequence[str] | None = None,
    lies_in: Path | None = None,
) -> None:
    """Writes orientations as a RELION 3.1 .star file, whole or not at all.

    Every column and table of the particles' own file is kept. The angles and origins are replaced,
    as are the priors on them, where there were some: they say where RELION's local searches look.
    Origins are in angstrom, whatever they were in. A stack that would not be found from the new
    file's place is named by its whole path.

    Args:
        path: the file to write.
        particles: P particles.
        quaternions: (P, 4) orientations, scalar first.
        shifts_angstrom: (P, 2) as (x, y), the displacement t of equation (1): rlnOriginX/YAngst
            is -t.
        confidence: (P,) how far each orientation can be trusted, for rlnParticleFigureOfMerit.
        halves: (P,) 0 or 1, the half that each particle belongs to: rlnRandomSubset is one more.
        image_names: P names "000001@stack.mrcs" of where the images are now. Where the particles
            had other names, rlnImageOriginalName keeps them.
        lies_in: the folder from which stacks must be found, if the file will be moved there.

    Raises:
        InputError: when a length does not fit, or nothing says where the images are.
    """
    path = Path(path)
    count = len(particles.keys)
    quaternions = _rows(quaternions, (count, 4), "quaternions")
    shifts = _rows(shifts_angstrom, (count, 2), "shifts_angstrom")
    table = _with_names(particles, image_names, lies_in or path.parent)
    angles = matrices_to_relion_angles(quaternions_to_matrices(quaternions))
    found = dict(zip(ANGLE_COLUMNS, angles.T, strict=True))
    # Adding zero turns -0.0 into 0.0.
    found |= {"rlnOriginXAngst": -shifts[:, 0] + 0.0, "rlnOriginYAngst": -shifts[:, 1] + 0.0}
    found |= {prior: found[value] for prior, value in _PRIORS.items() if prior in table}
    if halves is not None:
        found["rlnRandomSubset"] = _rows(halves, (count,), "halves").astype(int) + 1
    if confidence is not None:
        found[CONFIDENCE_COLUMN] = _rows(confidence, (count,), "confidence")
    table = table.drop(columns=_IN_PIXELS, errors="ignore").assign(**found)
    table[KEY_COLUMN] = particles.keys
    tables = {"optics": _written_optics(particles), "particles": table} | particles.tables
    with atomic_output(path) as temporary:
        starfile.write(tables, temporary, float_format=_DIGITS, na_rep="nan")


def _with_names(
    particles: ParticleSet, image_names: Sequence[str] | None, folder: Path
) -> pd.DataFrame:
    """Gives a copy of the particles' table, with the names of their images as they are now."""
    table = pd.DataFrame(index=range(len(particles.keys)))
    if particles.columns is not None:
        table = particles.columns.reset_index(drop=True)
    names = list(image_names) if image_names is not None else lasting_names(particles, folder)
    if len(names) != len(table):
        raise InputError(f"image_names must name {len(table)} particles, not {len(names)}")
    moved = image_names is not None and particles.image_names is not None
    if moved and "rlnImageOriginalName" not in table:
        table["rlnImageOriginalName"] = particles.image_names
    if "rlnImageName" not in table:
        table.insert(0, "rlnImageName", names)
    if "rlnOpticsGroup" not in table:
        table["rlnOpticsGroup"] = 1
    return table.assign(rlnImageName=[_as_relion_names(name) for name in names])


def _as_relion_names(name: str) -> str:
    """Names an image in an .mrc file, as cryoSPARC has stacks, so that RELION takes it for one."""
    return name + AS_STACK if name.endswith(".mrc") else name


def lasting_names(particles: ParticleSet, folder: Path) -> list[str]:
    """Names P images so that a file in `folder` finds their stacks, wherever one works.

    Names stay as they came where that holds, for RELION joins files by them; others get the whole
    path of the stack.

    Raises:
        InputError: the particles came from no stack.
    """
    if particles.image_names is None:
        raise InputError(f"{folder}: the particles of {particles.source} lie in no stack; name one")
    lasting = {}
    for stack, file in particles.stacks.items():
        found = find_stack(stack, folder, current=False)
        lasting[stack] = stack if found and os.path.samefile(found, file) else str(file.resolve())
    frames = [parse_image_name(name) for name in particles.image_names]
    return [format_image_name(frame, lasting.get(stack, stack)) for frame, stack in frames]


def _written_optics(particles: ParticleSet) -> pd.DataFrame:
    if particles.optics is None:
        optics = optics_groups(pd.DataFrame(index=range(1)))[0]
    else:
        optics = particles.optics.copy()
    if not any(column in optics for column in _NO_MICROSCOPE):
        optics = optics.assign(**_NO_MICROSCOPE)
    if "rlnImagePixelSize" not in optics:
        optics["rlnImagePixelSize"] = particles.pixel_size_angstrom
    optics["rlnImageSize"] = particles.images.shape[-1]
    optics["rlnImageDimensionality"] = 2
    return optics


def _rows(values: ArrayLike, shape: tuple[int, ...], what: str) -> Array:
    array = np.asarray(values, dtype=np.float64)
    if array.shape != shape:
        raise InputError(f"{what} must have the shape {shape}, not {array.shape}")
    return array
