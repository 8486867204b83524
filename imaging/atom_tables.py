"""What a coordinate file lists: the rows of its models, and how they make up a particle."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cryotwin.imaging.assemblies import AssemblyPart


@dataclass(frozen=True)
class AtomTable:
    """The rows of one model of a coordinate file, in the order of the file.

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


@dataclass(frozen=True)
class CoordinateFile:
    """A coordinate file as read.

    Attributes:
        models: at least one, made as they are asked for.
        model_count: how many there are.
        assembly: the identifier of the biological assembly that `parts` describe; "" for none.
        assemblies: how many the file describes.
        parts: chains and operators of that assembly.
    """

    models: Iterator[AtomTable]
    model_count: int
    assembly: str
    assemblies: int
    parts: Sequence[AssemblyPart]


def join_tables(tables: Sequence[AtomTable]) -> AtomTable:
    """Puts models behind each other, each with chain names of its own: "A", then "A-2"."""
    chains = [
        chain if number == 1 else f"{chain}-{number}"
        for number, table in enumerate(tables, start=1)
        for chain in table.chains
    ]

    def column(name: str) -> list[str]:
        return [value for table in tables for value in getattr(table, name)]

    return AtomTable(
        positions_angstrom=np.concatenate([table.positions_angstrom for table in tables]),
        symbols=column("symbols"),
        names=column("names"),
        residue_names=column("residue_names"),
        residues=column("residues"),
        altlocs=column("altlocs"),
        chains=chains,
    )
