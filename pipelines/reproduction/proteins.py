"""The folder of many proteins: some to train on, and others that no training sees."""

from pathlib import Path

from cryotwin.imaging.errors import InputError
from cryotwin.imaging.structures import SUFFIXES

TRAIN, HELD_OUT = "train", "held_out"


def check_proteins(folder: Path) -> None:
    """Raises InputError unless there are structures in both parts."""
    for part in (TRAIN, HELD_OUT):
        protein_files(folder, part)


def protein_files(folder: Path, part: str) -> list[Path]:
    """Gives the structure files of a part, by name.

    Raises:
        InputError: there are none.
    """
    place = folder / part
    found = sorted(
        path for path in (place.iterdir() if place.is_dir() else ()) if _is_structure(path)
    )
    if not found:
        raise InputError(f"{place}: a folder of structures was expected, in --proteins {folder}")
    return found


def _is_structure(path: Path) -> bool:
    return path.name.lower().endswith(tuple(SUFFIXES))
