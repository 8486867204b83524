"""What a residue is, by its name: protein, nucleic acid, water, ion or another ligand."""

import re
from functools import cache

from Bio.Data.PDBData import nucleic_letters_3to1_extended, protein_letters_3to1_extended

from cryotwin.imaging.elements import ATOMIC_NUMBERS

WATERS = frozenset(["HOH", "DOD", "WAT", "H2O", "TIP", "TIP3", "TIP4", "TIP5", "TP3", "SOL"])
"""Names of water in the wwPDB and in the force fields of CHARMM, Amber and GROMACS."""

UNIDENTIFIED = frozenset({"UNX", "DUM"})
"""Residues that stand for no known matter: the wwPDB's unknown atoms, and dummies such as those
with which the OPM database draws a membrane."""

SIMULATION_AMINO_ACIDS = frozenset(
    (
        *("HSD", "HSE", "HSP", "HID", "HIE", "HIP", "CYX", "CYM", "ASH", "GLH", "LYN"),
        *("ASX", "GLX", "UNK", "XPL"),
    )
)
"""Names that force fields and old files give to amino acids, unknown to Biopython's tables."""

SIMULATION_NUCLEOTIDES = frozenset(["ADE", "CYT", "GUA", "THY", "URA", "N", "DN", "I", "DI"])

AMINO_ACIDS = SIMULATION_AMINO_ACIDS | {name.strip() for name in protein_letters_3to1_extended}
NUCLEOTIDES = SIMULATION_NUCLEOTIDES | {name.strip() for name in nucleic_letters_3to1_extended}

KINDS = ("protein", "nucleic acid", "ion", "ligand")
"""What is projected, in the order in which reports name it; sugars and lipids are ligands."""


@cache
def residue_kind(name: str) -> str:
    """Tells one of `KINDS`, "water" or "unknown" from a residue's name.

    Args:
        name: the chemical component's code, such as ALA, MSE, DA, ZN or HOH.
    """
    if name in WATERS:
        return "water"
    if name in UNIDENTIFIED:
        return "unknown"
    if name in AMINO_ACIDS:
        return "protein"
    if name in NUCLEOTIDES or re.fullmatch(r"[DR]?[ACGTU][35N]?", name):
        return "nucleic acid"
    return "ion" if re.sub(r"\d+$", "", name.upper()) in ATOMIC_NUMBERS else "ligand"
