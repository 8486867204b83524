"""Atoms: what a coordinate file lists, and which of it scatters in a density map.

A reader turns a file into an `AtomTable`, one row an atom as deposited. `select_atoms` keeps
the heavy atoms in one conformation, without water. `Atoms` is what the rest of the package sees.
"""

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import cdist

from cryotwin.imaging.errors import InputError

SYMBOLS = (
    "H He Li Be B C N O F Ne Na Mg Al Si P S Cl Ar K Ca Sc Ti V Cr Mn Fe Co Ni Cu Zn Ga Ge As Se "
    "Br Kr Rb Sr Y Zr Nb Mo Tc Ru Rh Pd Ag Cd In Sn Sb Te I Xe Cs Ba La Ce Pr Nd Pm Sm Eu Gd Tb Dy "
    "Ho Er Tm Yb Lu Hf Ta W Re Os Ir Pt Au Hg Tl Pb Bi Po At Rn Fr Ra Ac Th Pa U Np Pu Am Cm Bk Cf "
    "Es Fm Md No Lr Rf Db Sg Bh Hs Mt Ds Rg Cn Nh Fl Mc Lv Ts Og"
).upper()
ATOMIC_NUMBERS = {symbol: number for number, symbol in enumerate(SYMBOLS.split(), start=1)}
ATOMIC_NUMBERS["D"] = 1

WATERS = frozenset({"HOH", "DOD", "WAT"})
UNKNOWN_RESIDUES = frozenset({"UNX"})
"""Residues of the wwPDB that stand for atoms which nobody could identify: they are left out."""

SHORTEST_BOND_ANGSTROM = 1.0
"""Heavy atoms nearer to each other than this are two records of one place."""

NITROGEN_OR_OXYGEN = frozenset({"ASX", "GLX"})
"""Residues in which one nitrogen and one oxygen could not be told apart (named XE1 or AE1)."""

UNAMBIGUOUS_SYMBOLS = frozenset({"SE", "FE", "ZN", "MG", "MN", "CL", "BR", "CU", "MO", "AL", "LI"})
"""Two-letter elements whose symbol starts no usual name of a carbon, nitrogen or oxygen."""


@dataclass(frozen=True)
class Atoms:
    """The heavy atoms of a structure, its biological assembly built.

    Attributes:
        positions_angstrom: (n, 3) float64, columns x, y, z.
        atomic_numbers: (n,) integers.
        name: short name, fit for a file name ("7cfn").
        source: where it was read from, for people.
        assembly: what was built ("assembly 1, 60 operators", "asymmetric unit").
    """

    positions_angstrom: NDArray[np.float64]
    atomic_numbers: NDArray[np.int64]
    name: str
    source: str
    assembly: str


@dataclass(frozen=True)
class AtomTable:
    """The rows of a coordinate file's first model, in the order of the file.

    Attributes:
        positions_angstrom: (n, 3) float64, columns x, y, z.
        symbols: (n) element symbols; empty where the file gives none.
        names: (n) atom names; four characters wide in a PDB file, whose column tells the element.
        residue_names: (n) names such as ALA or HOH.
        residues: (n) residue number and insertion code; empty where the file numbers none.
        altlocs: (n) labels of alternative locations; empty for none.
        chains: (n) the chain names that the file's assembly refers to.
    """

    positions_angstrom: NDArray[np.float64]
    symbols: list[str]
    names: list[str]
    residue_names: list[str]
    residues: list[str]
    altlocs: list[str]
    chains: list[str]


def select_atoms(table: AtomTable, where: str) -> tuple[NDArray[np.intp], NDArray[np.int64]]:
    """Picks the heavy atoms in their first conformation, without water.

    Args:
        table: the rows as read.
        where: the file, for messages.

    Returns:
        The chosen rows (n,), ascending, and their atomic numbers (n,).

    Raises:
        InputError: an element is not known, or no atom is left.
    """
    numbers = np.zeros(len(table.names), dtype=np.int64)
    elements: dict[tuple[str, str, str], int] = {}
    for row, key in enumerate(zip(table.symbols, table.names, table.residue_names, strict=True)):
        if key[2] in WATERS or key[2] in UNKNOWN_RESIDUES:
            continue
        if key not in elements:
            elements[key] = _atomic_number(*key, where=where)
        numbers[row] = elements[key]
    rows = np.flatnonzero((numbers > 1) & _first_conformation(table))
    if rows.size == 0:
        raise InputError(
            f"{where} holds no atoms: expected at least one that is neither hydrogen nor water"
        )
    return rows, numbers[rows]


def _first_conformation(table: AtomTable) -> NDArray[np.bool_]:
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
    """Clears `keep` (n,) for every row with an altloc but the first of its atom and residue."""
    residue_names: dict[tuple[str, str], str] = {}
    atoms: set[tuple[str, str, str]] = set()
    for row, altloc in enumerate(table.altlocs):
        if altloc and table.residues[row]:
            residue = (table.chains[row], table.residues[row])
            atom = (*residue, table.names[row])
            first_name = residue_names.setdefault(residue, table.residue_names[row])
            keep[row] = first_name == table.residue_names[row] and atom not in atoms
            atoms.add(atom)


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


def _atomic_number(symbol: str, name: str, residue_name: str, where: str) -> int:
    """Looks up an element by its symbol or, without one, by the atom's name."""
    guessed = symbol.upper() or guess_symbol(name, residue_name)
    if guessed not in ATOMIC_NUMBERS and residue_name in NITROGEN_OR_OXYGEN:
        guessed = "N"
    if guessed not in ATOMIC_NUMBERS:
        given = f"'{symbol}'" if symbol else "none given"
        raise InputError(
            f"{where}: unknown element ({given}) of atom '{name.strip()}' in residue "
            f"'{residue_name}': expected the symbol of a chemical element"
        )
    return ATOMIC_NUMBERS[guessed]


def guess_symbol(name: str, residue_name: str) -> str:
    """Guesses an element from an atom's name: CA is carbon in ALA and calcium in CA.

    Args:
        name: as in the file. In a PDB file's four columns a symbol of one letter stands in
            the second, so that " CA " and "CA  " differ.
        residue_name: the residue that the atom is in.

    Returns:
        A symbol in capitals, or "" when there is nothing to go by.
    """
    letters = re.sub(r"[^A-Z]", " ", name.upper()).split()
    if not letters:
        return ""
    first = letters[0]
    aligned = len(name) == 4 and name != name.strip()
    if first == re.sub(r"[^A-Z]", "", residue_name.upper()) and first in ATOMIC_NUMBERS:
        return first
    if aligned and name[0] != " " and name[0].isalpha() and first[:2] in ATOMIC_NUMBERS:
        return first[:2]
    if first[:2] in UNAMBIGUOUS_SYMBOLS and not (aligned and name[0] == " "):
        return first[:2]
    return first[0]
