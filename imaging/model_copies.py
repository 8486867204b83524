"""Models of one file that are the copies of an assembly, told from those of an ensemble.

The wwPDB's files of biological assemblies (.pdb1) hold each copy of the asymmetric unit as a
MODEL. The models of an NMR ensemble or of a trajectory, on the other hand, are answers to one
question, of which one is enough.
"""

import warnings
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

from cryotwin.imaging.atom_tables import AtomTable
from cryotwin.imaging.conformations import SHORTEST_BOND_ANGSTROM

LARGEST_DEVIATION_ANGSTROM = 0.02
"""Root mean square by which rigid copies may differ: coordinates are rounded to 0.001 A."""

LARGEST_OVERLAP = 0.05
"""Share of a copy's atoms that may lie on other copies, as an ion on a symmetry axis does."""


def model_copies(models: Iterator[AtomTable], *, rigid: bool) -> list[AtomTable]:
    """Takes the models of a file that belong into one particle.

    Args:
        models: of the file, at least one.
        rigid: ask of every further model that it is the first one, moved as a whole. False
            where the file's name says that its models are copies, which may differ in chains.

    Returns:
        All models where each lies beside the others (and is rigid, if asked); else the first.
    """
    first = next(models)
    taken = [first]
    occupied = first.positions_angstrom
    for model in models:
        positions = model.positions_angstrom
        moved = not rigid or _is_moved(first, model)
        if not moved or _overlap(positions, occupied) > LARGEST_OVERLAP:
            return [first]
        taken.append(model)
        occupied = np.concatenate([occupied, positions])
    return taken


def _is_moved(first: AtomTable, other: AtomTable) -> bool:
    """Tells whether two models are one body in two places."""
    if first.names != other.names or first.residue_names != other.residue_names:
        return False
    a, b = (t.positions_angstrom - t.positions_angstrom.mean(axis=0) for t in (first, other))
    if len(a) < 3:
        return False
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of atoms in a row, one rotation fits as well as another
        deviation = Rotation.align_vectors(b, a)[1] / np.sqrt(len(a))
    return bool(deviation < LARGEST_DEVIATION_ANGSTROM)


def _overlap(positions: NDArray[np.float64], occupied: NDArray[np.float64]) -> float:
    """Gives the share of the positions (n, 3) that lie on one of the occupied ones (m, 3)."""
    distances, _ = cKDTree(occupied).query(positions, distance_upper_bound=SHORTEST_BOND_ANGSTROM)
    return float(np.isfinite(distances).mean())
