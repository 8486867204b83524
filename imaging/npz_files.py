"""Particles from NumPy files (.npz) of coordinates: atoms, or one point a residue.

Arrays: `xyz_dA` (n, 3) integers in tenths of an angstrom, and either `Z` (n,), atomic numbers, or
`mass_Da` (n,), the mass of the residue that a point stands for.
"""

import zipfile
import zlib
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cryotwin.imaging.atoms import Atoms
from cryotwin.imaging.errors import InputError
from cryotwin.imaging.file_content import read_content, stem
from cryotwin.imaging.structure_reports import atoms_report

NPZ_SUFFIX = ".npz"

ELECTRONS_PER_DALTON = 0.465
"""Electrons of a residue's heavy atoms over its mass, hydrogens included: the mean over the amino
acids of 7CFN. Nucleotides have 0.478, so that they come out 3% too light beside protein."""

RESIDUE_SPREAD_ANGSTROM = 1.5
"""Standard deviation along an axis of an amino acid's heavy atoms about its alpha carbon (1.57) or
their middle (1.29), over 7CFN, 6WG6 and 5A1A."""

LARGEST_COORDINATE_DA = 1e6

NPZ_FAULTS = (
    *(ValueError, EOFError, OSError, LookupError, SyntaxError, OverflowError, MemoryError),
    *(NotImplementedError, RuntimeError, zipfile.BadZipFile, zlib.error),
)
"""What NumPy and zipfile raise of files that are damaged, encrypted or of another kind."""


def read_npz(path: str | Path) -> Atoms:
    """Reads an .npz file of atoms or of residues.

    Residues are points that scatter like their heavy atoms together: `ELECTRONS_PER_DALTON`
    times the mass, spread by `RESIDUE_SPREAD_ANGSTROM`. Hydrogens among atoms are left out.

    Raises:
        InputError: not an .npz file, arrays that are missing, of another shape or type, or out
            of range, or no heavy atom.
    """
    where = str(path)
    arrays = _load(read_content(path), where)
    positions = _positions(arrays, where)
    if "Z" in arrays:
        weights = _column(arrays["Z"], "Z", 1, 118, len(positions), where)
        kept, kind, spread = weights > 1, "atoms", 0.0
        note = []
        if not kept.any():
            raise InputError(f"{where} holds no atoms: expected at least one that is no hydrogen")
    elif "mass_Da" in arrays:
        masses = _column(arrays["mass_Da"], "mass_Da", 1, 1e5, len(positions), where)
        weights, kept = masses * ELECTRONS_PER_DALTON, masses > 0
        kind, spread = "residues", RESIDUE_SPREAD_ANGSTROM
        note = [f"one point a residue, spread by {spread:g} A"]
    else:
        raise InputError(f"{where} has arrays {sorted(arrays)}: expected Z or mass_Da")
    report = atoms_report(
        kinds=[kind] * int(kept.sum()),
        dropped={"hydrogen": int((~kept).sum())},
        chains=None,
        operators=1,
        assembly="as stored",
        projected=int(kept.sum()),
        notes=note,
    )
    return Atoms(
        positions[kept], weights[kept], stem(path), where, "as stored", spread, report=report
    )


def _load(content: bytes, where: str) -> dict[str, NDArray[Any]]:
    try:
        file = np.load(BytesIO(content), allow_pickle=False)
        if isinstance(file, np.ndarray):
            raise ValueError("it holds a single array without a name")
        with file:
            return {name: file[name] for name in file.files}
    except NPZ_FAULTS as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"{where} is not an .npz file of coordinates: {reason}") from None


def _positions(arrays: dict[str, NDArray[Any]], where: str) -> NDArray[np.float64]:
    """Gives (n, 3) x, y, z in angstrom."""
    if "xyz_dA" not in arrays:
        raise InputError(f"{where} has arrays {sorted(arrays)}: expected xyz_dA")
    tenths = arrays["xyz_dA"]
    shaped = tenths.ndim == 2 and tenths.shape[1:] == (3,) and len(tenths) > 0
    if not shaped or tenths.dtype.kind not in "iuf":
        raise InputError(
            f"{where}: xyz_dA must be numbers of shape (n, 3), not {tenths.dtype} of shape "
            f"{tenths.shape}"
        )
    values = tenths.astype(np.float64)
    if not (np.abs(values) < LARGEST_COORDINATE_DA).all():  # NaN is not smaller either
        raise InputError(f"{where}: xyz_dA must be finite, within {LARGEST_COORDINATE_DA:g}")
    return values / 10


def _column(
    values: NDArray[Any], name: str, low: float, high: float, length: int, where: str
) -> NDArray[np.float64]:
    if values.shape != (length,) or values.dtype.kind not in "iuf":
        raise InputError(
            f"{where}: {name} must be {length} numbers, one a row of xyz_dA, not {values.dtype} of "
            f"shape {values.shape}"
        )
    numbers = values.astype(np.float64)
    bad = ~((numbers >= low) & (numbers <= high))
    if bad.any():
        raise InputError(f"{where}: {name} must be {low:g} to {high:g}, not {numbers[bad][0]:g}")
    return numbers
