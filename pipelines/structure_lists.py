"""The STRUCTURE arguments of a command, lists among them, as one list of named entries."""

import csv
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cryotwin.imaging.errors import InputError
from cryotwin.imaging.file_content import stem, suffix
from cryotwin.imaging.structures import SUFFIXES

LIST_SUFFIXES = (".csv", ".txt")
"""Files that list structures."""

SPEC_COLUMNS = ("structure", "file", "path", "id")
"""Columns of a .csv that name a structure, the first one that is filled in counts."""


@dataclass(frozen=True)
class StructureEntry:
    """One structure of a dataset, before it is read.

    Attributes:
        spec: as `cryotwin.imaging.structures.read_structure` takes it; empty if a row names none.
        name: its name in the dataset, the first part of every key.
        cluster: the group of structures that stays in one split; its name unless told.
        where: the list and the row that it stands in, for messages.
    """

    spec: str
    name: str
    cluster: str = ""
    where: str = ""

    @property
    def label(self) -> str:
        """What to call it in a message: as the user wrote it, or its place where nothing is."""
        return self.spec or self.where

    @property
    def place(self) -> str:
        """What it is called and the row that it stands in, where it stands in a list."""
        return f"{self.spec} in {self.where}" if self.spec and self.where else self.label


def list_structures(arguments: Sequence[str]) -> list[StructureEntry]:
    """Turns STRUCTURE arguments into entries, each list file into as many as it has rows.

    Args:
        arguments: structures as `read_structure` takes them; a .csv with a header and one of
            `SPEC_COLUMNS`, optionally `name` and `cluster`; a .txt with one a line, where a line
            that starts with # is a comment. Paths in a list are relative to the list.

    Raises:
        InputError: a list cannot be used, or two structures have one name.
    """
    entries = [entry for argument in arguments for entry in _entries(argument)]
    if not entries:
        raise InputError(f"at least one structure is needed, {', '.join(arguments)} lists none")
    _check_names(entries)
    return entries


def structure_name(spec: str) -> str:
    """Gives a structure's name: a file's without its suffixes, or an id in small letters.

    Keys stand in .star files, where a space ends a value, so other characters than letters,
    digits and . _ - become _.
    """
    name = stem(spec) if suffix(spec) in SUFFIXES else spec.lower()
    return re.sub(r"[^A-Za-z0-9._-]+", "_", name)


def _entries(argument: str) -> Iterator[StructureEntry]:
    if not argument.strip():
        raise InputError(f"a structure is needed, not {argument!r}")
    kind = Path(argument).suffix.lower()
    if kind not in LIST_SUFFIXES:
        name = structure_name(argument)
        yield StructureEntry(argument, name, cluster=name)
        return
    path = Path(argument)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise InputError(f"{path}: no such file, expected a list of structures") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read as a list of structures ({error})") from error
    yield from _csv_entries(path, text) if kind == ".csv" else _text_entries(path, text)


def _text_entries(path: Path, text: str) -> Iterator[StructureEntry]:
    for number, line in enumerate(text.splitlines(), start=1):
        spec = line.strip()
        if spec and not spec.startswith("#"):
            name = structure_name(spec)
            yield StructureEntry(
                _beside(path, spec), name, cluster=name, where=f"{path}, line {number}"
            )


def _csv_entries(path: Path, text: str) -> Iterator[StructureEntry]:
    rows = csv.DictReader(text.splitlines(), strict=True)
    columns = [column for column in SPEC_COLUMNS if column in (rows.fieldnames or ())]
    if not columns:
        raise InputError(
            f"{path}: its header must have one of the columns {', '.join(SPEC_COLUMNS)}, "
            f"not {', '.join(rows.fieldnames or ()) or 'none at all'}"
        )
    try:
        for row in rows:
            yield _row_entry(path, row, columns, rows.line_num)
    except csv.Error as error:
        start = rows.line_num + 1  # Of the row that could not be read; it may go on for lines.
        raise InputError(f"{path}, line {start}: not a .csv ({error})") from error


def _row_entry(
    path: Path, row: Mapping[str, str | None], columns: Sequence[str], line: int
) -> StructureEntry:
    def cell(column: str) -> str:
        return (row.get(column) or "").strip()

    where = f"{path}, line {line}"
    column = next((column for column in columns if cell(column)), None)
    spec = cell(column) if column else ""
    name = cell("name") or spec
    name = structure_name(name) if name else f"line_{line}"
    if column in ("file", "path"):
        spec = str(path.parent / spec)
    elif spec:
        spec = _beside(path, spec)
    return StructureEntry(spec, name, cluster=cell("cluster") or name, where=where)


def _beside(path: Path, spec: str) -> str:
    """Gives the path of a file that stands beside a list, or else what was written."""
    return str(path.parent / spec) if suffix(spec) in SUFFIXES else spec


def _check_names(entries: Sequence[StructureEntry]) -> None:
    """Raises InputError for two entries of one name, which would share keys."""
    seen: dict[str, StructureEntry] = {}
    for entry in entries:
        other = seen.setdefault(entry.name, entry)
        if other is not entry:
            raise InputError(
                f"two structures are named {entry.name!r} ({other.place} and {entry.place}); keys "
                "must be unique: rename a file, or give a list with a column 'name'"
            )
