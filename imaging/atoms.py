"""Atoms: which of what a coordinate file lists scatters in a density map.

A reader turns a file into `AtomTable`s, one row an atom as deposited. `select_atoms` keeps the
heavy atoms in one conformation, without water. `Atoms` is what the rest of the package sees.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cryotwin.imaging.atom_tables import AtomTable
from cryotwin.imaging.conformations import first_conformation
from cryotwin.imaging.elements import atomic_number
from cryotwin.imaging.errors import InputError
from cryotwin.imaging.residues import residue_kind


@dataclass(frozen=True)
class Atoms:
    """The heavy atoms of a structure, its biological assembly built; or points like atoms.

    Attributes:
        positions_angstrom: (n, 3) float64, columns x, y, z.
        weights: (n,) how strongly each scatters, in electrons: an atom's atomic number. A point
            that stands for a residue has that of the residue's heavy atoms.
        name: short name, fit for a file name ("7cfn").
        source: where it was read from, for people.
        assembly: what was built ("assembly 1, 60 operators", "asymmetric unit").
        spread_angstrom: standard deviation, along each axis, of what a point stands for: 0 for
            an atom, more for a residue.
        report: what was kept and dropped, ready for JSON; see `cryotwin.imaging.structure_reports`.
    """

    positions_angstrom: NDArray[np.float64]
    weights: NDArray[np.float64]
    name: str
    source: str
    assembly: str
    spread_angstrom: float = 0.0
    report: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Selection:
    """Which rows of a table are projected, and why the others are not.

    Attributes:
        rows: (n,) ascending.
        weights: (n,) float64, their atomic numbers.
        kinds: (n,) what each belongs to, one of `cryotwin.imaging.residues.KINDS`.
        dropped: how many rows were left out, by reason.
        guessed: how many rows got their element from their names.
    """

    rows: NDArray[np.intp]
    weights: NDArray[np.float64]
    kinds: NDArray[np.str_]
    dropped: Mapping[str, int]
    guessed: int


def select_atoms(table: AtomTable, where: str) -> Selection:
    """Picks the heavy atoms in their first conformation, without water.

    Args:
        table: the rows as read.
        where: the file, for messages.

    Returns:
        The chosen rows. They and those left out add up to the table.

    Raises:
        InputError: an element is not known, or no atom is left.
    """
    fates, numbers = _fates(table, where)
    fates[(fates == "") & ~first_conformation(table)] = "other conformations"
    rows = np.flatnonzero(fates == "")
    if rows.size == 0:
        raise InputError(
            f"{where} holds no atoms: expected at least one that is neither hydrogen nor water"
        )
    return Selection(
        rows=rows,
        weights=numbers[rows].astype(np.float64),
        kinds=np.array([residue_kind(table.residue_names[row]) for row in rows]),
        dropped=dict(Counter(fates[fates != ""].tolist())),
        guessed=sum(not table.symbols[row] for row in rows),
    )


def _fates(table: AtomTable, where: str) -> tuple[NDArray[np.str_], NDArray[np.int64]]:
    """Gives why each row is dropped (n,), "" where nothing speaks against it, and its number."""
    known: dict[tuple[str, str, str], tuple[str, int]] = {}
    rows = []
    for key in zip(table.symbols, table.names, table.residue_names, strict=True):
        if key not in known:
            known[key] = _fate(*key, where=where)
        rows.append(known[key])
    fates, numbers = zip(*rows, strict=True)
    return np.array(fates, dtype="U32"), np.array(numbers, dtype=np.int64)


def _fate(symbol: str, name: str, residue_name: str, where: str) -> tuple[str, int]:
    kind = residue_kind(residue_name)
    if kind in ("water", "unknown"):
        return kind, 0
    number = atomic_number(symbol, name, residue_name, where)
    return {0: "unknown", 1: "hydrogen"}.get(number, ""), number
