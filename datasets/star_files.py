"""RELION's .star files: particles in, orientations in and out.

RELION 3.1 and later keep what the particles of one microscope share in a table of optics groups;
RELION 3.0 and earlier repeat it in every row. Both are read, the newer form is written.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import starfile
from numpy.typing import ArrayLike, NDArray

from cryotwin.datasets.image_stacks import (
    find_stack,
    format_image_name,
    parse_image_name,
    read_frames,
)
from cryotwin.datasets.particle_set import ParticleSet, common_pixel_size
from cryotwin.imaging.atomic import atomic_output
from cryotwin.imaging.errors import InputError
from cryotwin.imaging.rotations import (
    matrices_to_quaternions,
    matrices_to_relion_angles,
    quaternions_to_matrices,
    relion_angles_to_matrices,
)

Array = NDArray[np.floating]

KEY_COLUMN = "cryotwinKey"
"""Our column with the particle's key; starfile adds the leading underscore."""

CONFIDENCE_COLUMN = "cryotwinConfidence"
"""Our column with how far an orientation can be trusted, in [0, 1]."""

STRUCTURE_COLUMN = "cryotwinStructure"
"""Our column with the name of the structure that was projected."""

SPLIT_COLUMN = "cryotwinSplit"
"""Our column with the split of a dataset that the particle belongs to."""

_ANGLES = ["rlnAngleRot", "rlnAngleTilt", "rlnAnglePsi"]
_GROUP_NAME = "rlnOpticsGroupName"
_SHARED = ["rlnVoltage", "rlnSphericalAberration", "rlnAmplitudeContrast", "rlnImagePixelSize"]
# What an earlier refinement concluded: it does not hold for new orientations.
_SUPERSEDED = {
    *_SHARED,
    "rlnImageName",
    "rlnMagnification",
    "rlnDetectorPixelSize",
    "rlnPixelSize",
    "rlnClassNumber",
    "rlnRandomSubset",
    "rlnNormCorrection",
    "rlnLogLikeliContribution",
    "rlnMaxValueProbDistribution",
    "rlnNrOfSignificantSamples",
    KEY_COLUMN,
    CONFIDENCE_COLUMN,
}


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
    optics, table = _read_tables(path)
    names = _image_names(path, table)
    pixel_sizes = _pixel_sizes(path, optics, table)
    pixel_size = common_pixel_size(pixel_sizes, path, mixed=mixed_pixel_sizes)
    frames = [parse_image_name(name) for name in names]
    quaternions, shifts = _orientations(path, table, pixel_sizes)
    images, stacks = read_frames(frames, listed_in=path)
    if optics is None:
        optics, groups = optics_groups(table)
        table = table.assign(rlnOpticsGroup=groups)
    return ParticleSet(
        images=images,
        pixel_size_angstrom=pixel_size,
        keys=_keys(path, table, names),
        quaternions=quaternions,
        shifts_angstrom=shifts,
        source=str(path),
        image_names=names,
        stacks=stacks,
        optics=optics,
        columns=table.drop(columns=[c for c in table.columns if _is_superseded(c)]),
        pixel_sizes_angstrom=pixel_sizes,
    )


def read_orientations(path: str | Path) -> Orientations:
    """Reads keys and orientations from a .star file; its image stacks need not be there.

    Raises:
        InputError: when it is no particle .star file or has no orientations.
    """
    path = Path(path)
    optics, table = _read_tables(path)
    names = _image_names(path, table)
    # Only origins in pixels, as RELION 3.0 has them, need a pixel size.
    in_pixels = "rlnOriginX" in table and "rlnOriginXAngst" not in table
    pixel_sizes = _pixel_sizes(path, optics, table) if in_pixels else np.ones(len(table))
    common_pixel_size(pixel_sizes, path, mixed=True)
    quaternions, shifts = _orientations(path, table, pixel_sizes)
    if quaternions is None or shifts is None:
        raise InputError(f"{path}: no orientations in it (rlnAngleRot, rlnAngleTilt, rlnAnglePsi)")
    confidence = None
    if CONFIDENCE_COLUMN in table:
        confidence = _numbers(path, table, [CONFIDENCE_COLUMN])[:, 0]
    return Orientations(_keys(path, table, names), quaternions, shifts, confidence)


def read_star_angles(path: str | Path) -> NDArray[np.float64]:
    """Reads the orientations of the rows of a .star file that need not list images.

    Returns:
        Quaternions (P, 4) in the order of the rows, scalar first, w >= 0.

    Raises:
        InputError: when it is no .star file, or no table of it has RELION's three angles.
    """
    path = Path(path)
    for table in _read_blocks(path).values():
        if len(table) and all(column in table for column in _ANGLES):
            return _quaternions(path, table)
    raise InputError(f"{path}: no orientations in it (rlnAngleRot, rlnAngleTilt, rlnAnglePsi)")


def write_orientations_star(
    path: str | Path,
    particles: ParticleSet,
    quaternions: ArrayLike,
    shifts_angstrom: ArrayLike,
    confidence: ArrayLike | None = None,
    *,
    image_names: Sequence[str] | None = None,
) -> None:
    """Writes orientations as a RELION 3.1 .star file, whole or not at all.

    What the particles' own file said of optics, defocus and origin on the micrograph is kept;
    what an earlier refinement found is not. A stack that would not be found from the new file's
    place is named by its whole path.

    Args:
        path: the file to write.
        particles: P particles.
        quaternions: (P, 4) orientations, scalar first.
        shifts_angstrom: (P, 2) as (x, y), the displacement t of equation (1): rlnOriginX/YAngst
            is -t.
        confidence: (P,) how far each orientation can be trusted.
        image_names: P names "000001@stack.mrcs", for particles that came from no stack file.

    Raises:
        InputError: when a length does not fit, or nothing says where the images are.
    """
    path = Path(path)
    count = len(particles.keys)
    quaternions = _rows(quaternions, (count, 4), "quaternions")
    shifts = _rows(shifts_angstrom, (count, 2), "shifts_angstrom")
    names = list(image_names) if image_names is not None else _lasting_names(particles, path)
    if len(names) != count:
        raise InputError(f"image_names must name {count} particles, not {len(names)}")
    angles = matrices_to_relion_angles(quaternions_to_matrices(quaternions))
    columns: dict[str, Any] = {"rlnImageName": names}
    if particles.columns is not None:
        columns |= {str(name): values.to_numpy() for name, values in particles.columns.items()}
    columns.setdefault("rlnOpticsGroup", np.ones(count, dtype=int))
    columns |= dict(zip(_ANGLES, angles.T, strict=True))
    # Adding zero turns -0.0 into 0.0.
    columns |= {"rlnOriginXAngst": -shifts[:, 0] + 0.0, "rlnOriginYAngst": -shifts[:, 1] + 0.0}
    if confidence is not None:
        columns[CONFIDENCE_COLUMN] = _rows(confidence, (count,), "confidence")
    columns[KEY_COLUMN] = particles.keys
    tables = {"optics": _written_optics(particles), "particles": pd.DataFrame(columns)}
    with atomic_output(path) as temporary:
        starfile.write(tables, temporary)


def optics_groups(table: pd.DataFrame) -> tuple[pd.DataFrame, NDArray[np.intp]]:
    """Collects what particles share into optics groups.

    Args:
        table: P rows, with any of rlnVoltage, rlnSphericalAberration, rlnAmplitudeContrast and
            rlnImagePixelSize; particles with different rlnOpticsGroupName, where there is one,
            stay apart as well.

    Returns:
        The optics table, and the group (P,) of each particle, counted from 1.
    """
    shared = [name for name in (_GROUP_NAME, *_SHARED) if name in table]
    if not shared:
        return _named_groups(pd.DataFrame(index=range(1))), np.ones(len(table), dtype=np.intp)
    distinct = table[shared].drop_duplicates().reset_index(drop=True)
    lookup = {tuple(row): group for group, row in enumerate(distinct.to_numpy(), start=1)}
    groups = [lookup[tuple(row)] for row in table[shared].to_numpy()]
    return _named_groups(distinct), np.array(groups, dtype=np.intp)


def _named_groups(distinct: pd.DataFrame) -> pd.DataFrame:
    numbers = np.arange(1, len(distinct) + 1)
    names = [f"opticsGroup{n}" for n in numbers]
    if _GROUP_NAME in distinct and distinct[_GROUP_NAME].is_unique:
        names = [str(name) for name in distinct[_GROUP_NAME]]
    labels = pd.DataFrame({"rlnOpticsGroup": numbers, _GROUP_NAME: names})
    return pd.concat([labels, distinct.drop(columns=_GROUP_NAME, errors="ignore")], axis=1)


def _written_optics(particles: ParticleSet) -> pd.DataFrame:
    if particles.optics is None:
        optics = optics_groups(pd.DataFrame(index=range(1)))[0]
    else:
        optics = particles.optics.copy()
    optics["rlnImagePixelSize"] = particles.pixel_size_angstrom
    optics["rlnImageSize"] = particles.images.shape[-1]
    optics["rlnImageDimensionality"] = 2
    return optics


def _lasting_names(particles: ParticleSet, target: Path) -> list[str]:
    if particles.image_names is None:
        raise InputError(f"{target}: the particles of {particles.source} lie in no stack; name one")
    lasting = {}
    for stack, file in particles.stacks.items():
        found = find_stack(stack, target.parent)
        lasting[stack] = stack if found and os.path.samefile(found, file) else str(file.resolve())
    frames = [parse_image_name(name) for name in particles.image_names]
    return [format_image_name(frame, lasting.get(stack, stack)) for frame, stack in frames]


def _rows(values: ArrayLike, shape: tuple[int, ...], what: str) -> Array:
    array = np.asarray(values, dtype=np.float64)
    if array.shape != shape:
        raise InputError(f"{what} must have the shape {shape}, not {array.shape}")
    return array


def _is_superseded(column: str) -> bool:
    return column in _SUPERSEDED or column.startswith(("rlnAngle", "rlnOrigin"))


def _read_tables(path: Path) -> tuple[pd.DataFrame | None, pd.DataFrame]:
    """Gives the optics table (None before RELION 3.1) and the particle table."""
    tables = _read_blocks(path)
    for name in ("particles", *tables):
        if name in tables and "rlnImageName" in tables[name] and len(tables[name]):
            return tables.get("optics"), tables[name]
    found = ", ".join(f"data_{name}" for name in tables) or "none"
    raise InputError(
        f"{path}: no table of particles (a column _rlnImageName with rows) in it; tables: {found}"
    )


def _read_blocks(path: Path) -> dict[str, pd.DataFrame]:
    """Gives all tables by name; a block of single values is a table of one row."""
    try:
        blocks = starfile.read(
            path,
            always_dict=True,
            parse_as_string=[
                "rlnImageName",
                "rlnMicrographName",
                KEY_COLUMN,
                STRUCTURE_COLUMN,
                SPLIT_COLUMN,
            ],
        )
    except FileNotFoundError:
        raise InputError(f"{path}: no such file, a .star file of particles was expected") from None
    except OSError:
        raise
    except Exception as error:  # starfile lets whatever its parsing meets pass
        raise InputError(f"{path}: not a .star file ({' '.join(str(error).split())})") from error
    return {
        name: block if isinstance(block, pd.DataFrame) else pd.DataFrame([block])
        for name, block in blocks.items()
    }


def _image_names(path: Path, table: pd.DataFrame) -> list[str]:
    """Gives "000001@stack.mrcs" for each row, numbers padded alike."""
    try:
        return [format_image_name(*parse_image_name(str(name))) for name in table["rlnImageName"]]
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def _keys(path: Path, table: pd.DataFrame, names: list[str]) -> list[str]:
    keys = [str(key) for key in table[KEY_COLUMN]] if KEY_COLUMN in table else names
    rows: dict[str, int] = {}
    for row, key in enumerate(keys, start=1):
        if key in rows:
            raise InputError(
                f"{path}: particle {key!r} stands in rows {rows[key]} and {row}; "
                "each particle must be listed once"
            )
        rows[key] = row
    return keys


def _numbers(path: Path, table: pd.DataFrame, columns: list[str]) -> Array:
    """Gives columns as (P, len(columns)), finite."""
    values: Array = np.empty((len(table), len(columns)))
    for index, column in enumerate(columns):
        numeric = pd.to_numeric(table[column], errors="coerce").to_numpy(dtype=np.float64)
        broken = ~np.isfinite(numeric)
        if broken.any():
            row = int(np.argmax(broken))
            value = table[column].iloc[row]
            raise InputError(
                f"{path}: _{column} in row {row + 1} must be a number, not {str(value)!r}"
            )
        values[:, index] = numeric
    return values


def _pixel_sizes(path: Path, optics: pd.DataFrame | None, table: pd.DataFrame) -> Array:
    """Gives the pixel size in angstrom for each particle (P,)."""
    if optics is not None and "rlnImagePixelSize" in optics:
        sizes = _numbers(path, optics, ["rlnImagePixelSize"])[:, 0]
        if "rlnOpticsGroup" not in table or "rlnOpticsGroup" not in optics:
            # Nothing says which group a particle is in: they must agree.
            return np.full(len(table), common_pixel_size(sizes, path))
        by_group = dict(zip(_numbers(path, optics, ["rlnOpticsGroup"])[:, 0], sizes, strict=True))
        groups = _numbers(path, table, ["rlnOpticsGroup"])[:, 0]
        strangers = sorted(set(groups) - set(by_group))
        if strangers:
            raise InputError(f"{path}: optics group {strangers[0]:g} is not in data_optics")
        return np.array([by_group[group] for group in groups])
    for column in ("rlnImagePixelSize", "rlnPixelSize"):
        if column in table:
            return _numbers(path, table, [column])[:, 0]
    if "rlnDetectorPixelSize" in table and "rlnMagnification" in table:
        detector_um, magnification = _numbers(
            path, table, ["rlnDetectorPixelSize", "rlnMagnification"]
        ).T
        if not (magnification > 0).all():
            raise InputError(f"{path}: _rlnMagnification must be positive")
        return detector_um * 1e4 / magnification
    raise InputError(
        f"{path}: no pixel size in it: expected _rlnImagePixelSize in data_optics, or "
        "_rlnDetectorPixelSize and _rlnMagnification"
    )


def _orientations(
    path: Path, table: pd.DataFrame, pixel_sizes_angstrom: Array
) -> tuple[Array | None, Array | None]:
    """Gives quaternions (P, 4) and shifts (P, 2), or None twice where there are none."""
    if any(column not in table for column in _ANGLES):
        return None, None
    views_differ = len(table) < 2 or bool(_numbers(path, table, _ANGLES[:2]).any())
    if KEY_COLUMN not in table and not views_differ:
        return None, None  # what 2D classification leaves: no orientations in space
    quaternions = _quaternions(path, table)
    shifts = np.zeros((len(table), 2))
    for index, axis in enumerate("XY"):
        if f"rlnOrigin{axis}Angst" in table:
            shifts[:, index] = -_numbers(path, table, [f"rlnOrigin{axis}Angst"])[:, 0]
        elif f"rlnOrigin{axis}" in table:
            origin_px = _numbers(path, table, [f"rlnOrigin{axis}"])[:, 0]
            shifts[:, index] = -origin_px * pixel_sizes_angstrom
    return quaternions, shifts + 0.0


def _quaternions(path: Path, table: pd.DataFrame) -> NDArray[np.float64]:
    return matrices_to_quaternions(relion_angles_to_matrices(_numbers(path, table, _ANGLES)))
