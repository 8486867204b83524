"""One conformation of what a coordinate file lists more than once."""

import itertools
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import cdist

from cryotwin.imaging.atom_tables import AtomTable

SHORTEST_BOND_ANGSTROM = 1.0
"""Heavy atoms nearer to each other than this are two records of one place."""


def first_conformation(table: AtomTable) -> NDArray[np.bool_]:
    """Marks (n,) the rows to keep where a residue or an atom is listed more than once.

    Of the residue names at one position the first is kept, and of each atom the first row. In
    files that have lost their altlocs or insertion codes, the rows of one residue number are
    doubles where they lie on each other, and residues of their own where they do not.
    """
    keep = np.ones(len(table.names), dtype=bool)
    _drop_labelled_doubles(table, keep)
    labels = zip(table.chains, table.residues, table.altlocs, strict=True)
    unlabelled = [(row, key) for row, key in enumerate(labels) if key[1] and not key[2]]
    for _, members in itertools.groupby(unlabelled, key=lambda item: item[1]):
        rows = [row for row, _ in members]
        names = {table.names[row] for row in rows}
        if len(names) < len(rows) or len({table.residue_names[row] for row in rows}) > 1:
            _drop_unlabelled_doubles(table, rows, keep)
    return keep


def _drop_labelled_doubles(table: AtomTable, keep: NDArray[np.bool_]) -> None:
    """Clears `keep` (n,) for every row with an altloc but the first of its atom and residue.

    An atom that comes again under one label, elsewhere, starts a residue of its own: files
    with more chains than letters take a chain's name up again.
    """
    residues: dict[tuple[str, str], tuple[str, dict[tuple[str, str], int]]] = {}
    for row, altloc in enumerate(table.altlocs):
        if not (altloc and table.residues[row]):
            continue
        residue = (table.chains[row], table.residues[row])
        atom = table.names[row]
        first_name, seen = residues.get(residue, (table.residue_names[row], {}))
        again = seen.get((atom, altloc))
        if again is not None and _apart(table, row, again):
            first_name, seen = table.residue_names[row], {}
        keep[row] = first_name == table.residue_names[row] and (atom, "") not in seen
        seen.setdefault((atom, altloc), row)
        seen.setdefault((atom, ""), row)
        residues[residue] = (first_name, seen)


def _apart(table: AtomTable, one: int, other: int) -> bool:
    step = table.positions_angstrom[one] - table.positions_angstrom[other]
    return bool(np.linalg.norm(step) >= SHORTEST_BOND_ANGSTROM)


def _drop_unlabelled_doubles(
    table: AtomTable, rows: Sequence[int], keep: NDArray[np.bool_]
) -> None:
    """Clears `keep` (n,) for doubles among neighbouring rows of one residue number.

    A block that starts with another residue name, or with the first atom once more, is a residue
    of its own, unless it lies on the one before.
    """
    positions = table.positions_angstrom
    residue: list[int] = []
    for block in _blocks(table, rows):
        overlaps = bool(residue) and (
            cdist(positions[residue], positions[block]).min() < SHORTEST_BOND_ANGSTROM
        )
        if not overlaps:
            residue = []
        names = {table.names[row] for row in residue}
        other = bool(residue) and table.residue_names[block[0]] != table.residue_names[residue[0]]
        for row in block:
            if other or table.names[row] in names:
                keep[row] = False
            else:
                names.add(table.names[row])
                residue.append(row)


def _blocks(table: AtomTable, rows: Sequence[int]) -> list[list[int]]:
    """Cuts rows where the residue's name changes or the first atom's name comes again."""
    blocks: list[list[int]] = []
    for row in rows:
        start = blocks[-1][0] if blocks else None
        if (
            start is None
            or table.residue_names[row] != table.residue_names[start]
            or table.names[row] == table.names[start]
        ):
            blocks.append([])
        blocks[-1].append(row)
    return blocks
