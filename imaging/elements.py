"""Chemical elements, by their symbols or by the names of atoms."""

import re

from cryotwin.imaging.errors import InputError

SYMBOLS = (
    "H He Li Be B C N O F Ne Na Mg Al Si P S Cl Ar K Ca Sc Ti V Cr Mn Fe Co Ni Cu Zn Ga Ge As Se "
    "Br Kr Rb Sr Y Zr Nb Mo Tc Ru Rh Pd Ag Cd In Sn Sb Te I Xe Cs Ba La Ce Pr Nd Pm Sm Eu Gd Tb Dy "
    "Ho Er Tm Yb Lu Hf Ta W Re Os Ir Pt Au Hg Tl Pb Bi Po At Rn Fr Ra Ac Th Pa U Np Pu Am Cm Bk Cf "
    "Es Fm Md No Lr Rf Db Sg Bh Hs Mt Ds Rg Cn Nh Fl Mc Lv Ts Og"
).upper()
ATOMIC_NUMBERS = {symbol: number for number, symbol in enumerate(SYMBOLS.split(), start=1)}
ATOMIC_NUMBERS["D"] = 1

NOT_IDENTIFIED = "X"
"""The wwPDB's symbol of an atom whose element nobody could tell."""

NITROGEN_OR_OXYGEN = frozenset({"ASX", "GLX"})
"""Residues in which one nitrogen and one oxygen could not be told apart (named XE1 or AE1)."""

UNAMBIGUOUS_SYMBOLS = frozenset({"SE", "FE", "ZN", "MG", "MN", "CL", "BR", "CU", "MO", "AL", "LI"})
"""Two-letter elements whose symbol starts no usual name of a carbon, nitrogen or oxygen."""


def atomic_number(symbol: str, name: str, residue_name: str, where: str) -> int:
    """Gives an element's number by its symbol or, without one, by the atom's name.

    Args:
        symbol: as in the file, a charge behind it or not ("Fe2+"); empty where none is given.
        name: the atom's name.
        residue_name: the residue that the atom is in.
        where: the file, for messages.

    Returns:
        The atomic number; 0 for an atom that the file marks as not identified.

    Raises:
        InputError: there is no such element.
    """
    bare = re.sub(r"[\d+-]+$", "", symbol.strip()).upper()
    guessed = bare or guess_symbol(name, residue_name)
    if guessed not in ATOMIC_NUMBERS and residue_name in NITROGEN_OR_OXYGEN:
        return ATOMIC_NUMBERS["N"]
    if bare == NOT_IDENTIFIED:
        return 0
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
