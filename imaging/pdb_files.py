"""Atoms and the biological assembly from a PDB file's fixed columns.

Read column by column instead of with Biopython's `PDBParser`, which drops an atom whose name
occurs twice, picks altlocs by occupancy and stops at a chain that is taken up again.
"""

import re
from collections.abc import Sequence

import numpy as np
from Bio.Data.PDBData import protein_letters_3to1
from numpy.typing import NDArray

from cryotwin.imaging.assemblies import AssemblyPart
from cryotwin.imaging.atom_tables import AtomTable, CoordinateFile
from cryotwin.imaging.elements import ATOMIC_NUMBERS, NOT_IDENTIFIED
from cryotwin.imaging.errors import InputError
from cryotwin.imaging.file_content import text

OVERFLOWN_SERIAL = re.compile(r"(ATOM  |HETATM)(\d{6,})")
"""A serial number that has outgrown its five columns to the right, and moved the others."""

COMMON_RESIDUES = {*protein_letters_3to1, "HOH", *"ACGU", "DA", "DC", "DG", "DT"}
"""Residues by which a file shows what its column 21 holds."""

Line = str
"""An ATOM or HETATM line of at least 80 columns, all in their places."""


def parse_pdb(content: bytes, where: str) -> CoordinateFile:
    """Reads the models and the first biomolecule (REMARK 350) of a PDB file.

    Serial numbers are not looked at, and residue numbers are names: decimal, hexadecimal and
    hybrid-36 do alike, and so do numbers that start again.

    Args:
        content: the file's text, not compressed.
        where: the file, for messages.

    Raises:
        InputError: no atoms, or broken coordinates or operators.
    """
    lines = text(content).splitlines()
    models = _models(lines)
    if not models:
        raise InputError(f"{where} holds no atoms: expected a PDB file with ATOM or HETATM lines")
    identifier, parts = _first_biomolecule(lines, where)
    return CoordinateFile(
        models=(_table(model, where) for model in models),
        model_count=len(models),
        assembly=identifier,
        assemblies=sum(line.startswith("REMARK 350 BIOMOLECULE:") for line in lines),
        parts=parts,
    )


def _models(lines: Sequence[str]) -> list[list[Line]]:
    models: list[list[Line]] = [[]]
    for line in lines:
        if line.startswith(("ATOM ", "ATOM\t", "HETATM")):
            models[-1].append(_in_place(line))
        elif line.startswith(("MODEL ", "ENDMDL")) and models[-1]:
            models.append([])
    return [model for model in models if model]


def _in_place(line: str) -> Line:
    """Undoes the shift behind a serial number that is too long."""
    if overflown := OVERFLOWN_SERIAL.match(line):
        line = overflown[1] + overflown[2][:5] + line[overflown.end() :]
    return line.ljust(80)


def _table(atoms: Sequence[Line], where: str) -> AtomTable:
    wide_chains = any(line[20] != " " and line[17:20].strip() in COMMON_RESIDUES for line in atoms)
    chain_column = 20 if wide_chains else 21
    residue, chain = slice(17, chain_column), slice(chain_column, 22)
    return AtomTable(
        positions_angstrom=_positions(atoms, where),
        symbols=[_symbol(line) for line in atoms],
        names=[line[12:16] for line in atoms],
        residue_names=[line[residue].strip() for line in atoms],
        residues=[line[22:27].strip() for line in atoms],
        altlocs=[line[16].strip() for line in atoms],
        chains=[line[chain].strip() or line[72:76].strip() for line in atoms],
    )


def _symbol(line: Line) -> str:
    """Gives the element of columns 77 and 78, or "" where old files have something else there."""
    symbol = re.sub(r"[\d+-]", "", line[76:78]).strip().upper()
    return symbol if symbol in ATOMIC_NUMBERS or symbol == NOT_IDENTIFIED else ""


def _positions(atoms: Sequence[Line], where: str) -> NDArray[np.float64]:
    """Gives (n, 3) coordinates x, y, z in angstrom."""
    rows = []
    for line in atoms:
        try:
            rows.append((float(line[30:38]), float(line[38:46]), float(line[46:54])))
        except ValueError:
            found = "tabs" if "\t" in line else f"'{line[30:54].rstrip()}'"
            raise InputError(
                f"{where}: expected three numbers in columns 31 to 54, not {found}, of the line "
                f"'{line[:30].expandtabs(1).rstrip()}'"
            ) from None
    positions = np.asarray(rows, dtype=np.float64)
    if not np.isfinite(positions).all():
        raise InputError(f"{where}: coordinates must be finite, some are not")
    return positions


def _first_biomolecule(lines: Sequence[str], where: str) -> tuple[str, list[AssemblyPart]]:
    identifier = ""
    chain_lists: list[set[str]] = []
    matrices: list[list[list[float]]] = []
    for line in lines:
        if not line.startswith("REMARK 350"):
            continue
        remark = line[10:].strip()
        if remark.startswith("BIOMOLECULE:"):
            if identifier:
                break
            identifier = remark.split(":", 1)[1].strip()
        elif remark.startswith("APPLY THE FOLLOWING TO CHAINS:"):
            chain_lists.append(_chains(remark))
            matrices.append([])
        elif remark.startswith("AND CHAINS:") and chain_lists:
            chain_lists[-1] |= _chains(remark)
        elif re.match(r"BIOMT[123]\s", remark) and matrices:
            try:
                row = [float(value) for value in remark.split()[2:6]]
            except ValueError:
                row = []
            if len(row) != 4:
                raise InputError(f"{where}: expected four numbers in 'REMARK 350 {remark}'")
            matrices[-1].append(row)
    return identifier or "1", _parts(chain_lists, matrices, where)


def _parts(
    chain_lists: Sequence[set[str]], matrices: Sequence[list[list[float]]], where: str
) -> list[AssemblyPart]:
    parts = []
    for chains, rows in zip(chain_lists, matrices, strict=True):
        if len(rows) % 3:
            raise InputError(f"{where}: REMARK 350 has {len(rows)} BIOMT lines, expected threes")
        if rows:
            everywhere = not chains or chains == {"NULL"}
            names = None if everywhere else frozenset(chains)
            parts.append(AssemblyPart(names, np.asarray(rows).reshape(-1, 3, 4)))
    return parts


def _chains(remark: str) -> set[str]:
    return {name.strip() for name in remark.split(":", 1)[1].split(",") if name.strip()}
