"""Atoms and the biological assembly from a PDB file's fixed columns.

Read column by column instead of with Biopython's `PDBParser`, which drops an atom whose name
occurs twice, picks altlocs by occupancy and stops at a chain that is taken up again.
"""

import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from cryotwin.imaging.assemblies import AssemblyPart
from cryotwin.imaging.atoms import ATOMIC_NUMBERS, AtomTable
from cryotwin.imaging.errors import InputError


def parse_pdb(content: bytes, where: str) -> tuple[AtomTable, str, list[AssemblyPart]]:
    """Reads the first model and the first biomolecule (REMARK 350) of a PDB file.

    Args:
        content: the file's text, not compressed.
        where: the file, for messages.

    Returns:
        The atoms; the assembly's identifier and its parts, "" and [] where the file has none.

    Raises:
        InputError: no atoms, or broken coordinates or operators.
    """
    lines = content.decode("utf-8", errors="replace").splitlines()
    atoms = _first_model(lines)
    if not atoms:
        raise InputError(f"{where} holds no atoms: expected a PDB file with ATOM or HETATM lines")
    table = AtomTable(
        positions_angstrom=_positions(atoms, where),
        symbols=[_symbol(line) for line in atoms],
        names=[line[12:16] for line in atoms],
        residue_names=[line[17:20].strip() for line in atoms],
        residues=[line[22:27].strip() for line in atoms],
        altlocs=[line[16].strip() for line in atoms],
        chains=[line[21].strip() for line in atoms],
    )
    return table, *_first_biomolecule(lines, where)


def _first_model(lines: Sequence[str]) -> list[str]:
    atoms: list[str] = []
    for line in lines:
        if line.startswith(("ATOM  ", "HETATM")):
            atoms.append(line.ljust(80))
        elif line.startswith("ENDMDL") and atoms:
            break
    return atoms


def _symbol(line: str) -> str:
    """Gives the element of columns 77 and 78, or "" where old files have something else there."""
    symbol = line[76:78].strip().upper()
    return symbol if symbol in ATOMIC_NUMBERS or symbol == "X" else ""


def _positions(atoms: Sequence[str], where: str) -> NDArray[np.float64]:
    """Gives (n, 3) coordinates x, y, z in angstrom."""
    rows = []
    for line in atoms:
        try:
            rows.append((float(line[30:38]), float(line[38:46]), float(line[46:54])))
        except ValueError:
            raise InputError(
                f"{where}: expected three numbers in columns 31 to 54, not '{line[30:54]}'"
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
        text = line[10:].strip()
        if text.startswith("BIOMOLECULE:"):
            if identifier:
                break
            identifier = text.split(":", 1)[1].strip()
        elif text.startswith("APPLY THE FOLLOWING TO CHAINS:"):
            chain_lists.append(_chains(text))
            matrices.append([])
        elif text.startswith("AND CHAINS:") and chain_lists:
            chain_lists[-1] |= _chains(text)
        elif re.match(r"BIOMT[123]\s", text) and matrices:
            try:
                row = [float(value) for value in text.split()[2:6]]
            except ValueError:
                row = []
            if len(row) != 4:
                raise InputError(f"{where}: expected four numbers in 'REMARK 350 {text}'")
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


def _chains(text: str) -> set[str]:
    return {name.strip() for name in text.split(":", 1)[1].split(",") if name.strip()}
