"""The tables of RELION's .star files: what they say of each particle, read with care.

RELION 3.1 and later keep what the particles of one microscope share in a table of optics groups;
RELION 3.0 and earlier repeat it in every row. Both are read here.
"""

from pathlib import Path

import numpy as np
import pandas as pd
import starfile
from numpy.typing import NDArray

from cryotwin.datasets.image_stacks import format_image_name, parse_image_name
from cryotwin.datasets.particle_set import common_pixel_size
from cryotwin.imaging.errors import InputError
from cryotwin.imaging.rotations import matrices_to_quaternions, relion_angles_to_matrices

Array = NDArray[np.floating]

KEY_COLUMN = "cryotwinKey"
"""Our column with the particle's key; starfile adds the leading underscore."""

STRUCTURE_COLUMN = "cryotwinStructure"
"""Our column with the name of the structure that was projected."""

SPLIT_COLUMN = "cryotwinSplit"
"""Our column with the split of a dataset that the particle belongs to."""

ANGLE_COLUMNS = ["rlnAngleRot", "rlnAngleTilt", "rlnAnglePsi"]

SHARED_COLUMNS = [
    "rlnVoltage",
    "rlnSphericalAberration",
    "rlnAmplitudeContrast",
    "rlnImagePixelSize",
]
"""What RELION 3.1 keeps in the table of optics groups, and 3.0 in every row."""

_GROUP_NAME = "rlnOpticsGroupName"
_TEXT = [
    "rlnImageName",
    "rlnImageOriginalName",
    "rlnReconstructImageName",
    "rlnMicrographName",
    "rlnGroupName",
    _GROUP_NAME,
    KEY_COLUMN,
    STRUCTURE_COLUMN,
    SPLIT_COLUMN,
]
"""Columns whose values stay text, even where all look like numbers."""

Tables = dict[str, pd.DataFrame]


def read_tables(path: Path) -> tuple[pd.DataFrame | None, pd.DataFrame, Tables]:
    """Gives the optics table (None before RELION 3.1), the particle table and all others by name.

    Raises:
        InputError: it is no .star file, or no table of it lists particle images.
    """
    tables = read_blocks(path)
    for name in ("particles", *tables):
        if name in tables and "rlnImageName" in tables[name] and len(tables[name]):
            particles = tables[name]
            others = {n: t for n, t in tables.items() if n not in ("optics", "particles", name)}
            return tables.get("optics"), particles, others
    found = ", ".join(f"data_{name}" for name in tables) or "none"
    raise InputError(
        f"{path}: no table of particles (a column _rlnImageName with rows) in it; tables: {found}"
    )


def read_blocks(path: Path) -> dict[str, pd.DataFrame]:
    """Gives all tables by name; a block of single values is a table of one row."""
    try:
        blocks = starfile.read(
            path,
            always_dict=True,
            parse_as_string=_TEXT,
        )
    except TypeError:  # starfile's way to meet a block without a table
        names = ", ".join(_block_names(path))
        raise InputError(
            f"{path}: a block without a table in it, expected columns and rows; blocks: {names}"
        ) from None
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


def _block_names(path: Path) -> list[str]:
    lines = path.read_text(errors="replace").splitlines()
    return [line.strip() for line in lines if line.strip().startswith("data_")]


def optics_groups(table: pd.DataFrame) -> tuple[pd.DataFrame, NDArray[np.intp]]:
    """Collects what particles share into optics groups.

    Args:
        table: P rows, with any of rlnVoltage, rlnSphericalAberration, rlnAmplitudeContrast and
            rlnImagePixelSize; particles with different rlnOpticsGroupName, where there is one,
            stay apart as well.

    Returns:
        The optics table, and the group (P,) of each particle, counted from 1.
    """
    shared = [name for name in (_GROUP_NAME, *SHARED_COLUMNS) if name in table]
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


def image_names_of(path: Path, table: pd.DataFrame) -> list[str]:
    """Gives "000001@stack.mrcs" for each row, numbers padded alike."""
    try:
        return [format_image_name(*parse_image_name(str(name))) for name in table["rlnImageName"]]
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def keys_of(path: Path, table: pd.DataFrame, names: list[str]) -> list[str]:
    """Gives the P keys of particles: those of our column, or the names of their images.

    Raises:
        InputError: a particle is listed twice.
    """
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


def numbers_of(path: Path, table: pd.DataFrame, columns: list[str]) -> Array:
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


def pixel_sizes_of(path: Path, optics: pd.DataFrame | None, table: pd.DataFrame) -> Array:
    """Gives the pixel size in angstrom for each particle (P,)."""
    if optics is not None and "rlnImagePixelSize" in optics:
        sizes = numbers_of(path, optics, ["rlnImagePixelSize"])[:, 0]
        if "rlnOpticsGroup" not in table or "rlnOpticsGroup" not in optics:
            # Nothing says which group a particle is in: they must agree.
            return np.full(len(table), common_pixel_size(sizes, path))
        by_group = dict(zip(numbers_of(path, optics, ["rlnOpticsGroup"])[:, 0], sizes, strict=True))
        groups = numbers_of(path, table, ["rlnOpticsGroup"])[:, 0]
        strangers = sorted(set(groups) - set(by_group))
        if strangers:
            raise InputError(f"{path}: optics group {strangers[0]:g} is not in data_optics")
        return np.array([by_group[group] for group in groups])
    for column in ("rlnImagePixelSize", "rlnPixelSize"):
        if column in table:
            return numbers_of(path, table, [column])[:, 0]
    if "rlnDetectorPixelSize" in table and "rlnMagnification" in table:
        detector_um, magnification = numbers_of(
            path, table, ["rlnDetectorPixelSize", "rlnMagnification"]
        ).T
        if not (magnification > 0).all():
            raise InputError(f"{path}: _rlnMagnification must be positive")
        return detector_um * 1e4 / magnification
    raise InputError(
        f"{path}: no pixel size in it: expected _rlnImagePixelSize in data_optics, or "
        "_rlnDetectorPixelSize and _rlnMagnification"
    )


def orientations_of(
    path: Path, table: pd.DataFrame, pixel_sizes_angstrom: Array
) -> tuple[Array | None, Array | None]:
    """Gives quaternions (P, 4) and shifts (P, 2), or None twice where there are none."""
    if any(column not in table for column in ANGLE_COLUMNS):
        return None, None
    views_differ = len(table) < 2 or bool(numbers_of(path, table, ANGLE_COLUMNS[:2]).any())
    if KEY_COLUMN not in table and not views_differ:
        return None, None  # what 2D classification leaves: no orientations in space
    quaternions = quaternions_of(path, table)
    shifts = np.zeros((len(table), 2))
    for index, axis in enumerate("XY"):
        if f"rlnOrigin{axis}Angst" in table:
            shifts[:, index] = -numbers_of(path, table, [f"rlnOrigin{axis}Angst"])[:, 0]
        elif f"rlnOrigin{axis}" in table:
            origin_px = numbers_of(path, table, [f"rlnOrigin{axis}"])[:, 0]
            shifts[:, index] = -origin_px * pixel_sizes_angstrom
    return quaternions, shifts + 0.0


def quaternions_of(path: Path, table: pd.DataFrame) -> NDArray[np.float64]:
    """Gives the orientations (P, 4) of RELION's three angles, scalar first, w >= 0."""
    angles = numbers_of(path, table, ANGLE_COLUMNS)
    return matrices_to_quaternions(relion_angles_to_matrices(angles))
