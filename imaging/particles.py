"""From what a coordinate file lists to the particle that is projected."""

import re
from collections import Counter
from collections.abc import Iterator

from cryotwin.imaging.assemblies import build_assembly, count_operators, describe_assembly
from cryotwin.imaging.atom_tables import AtomTable, CoordinateFile, join_tables
from cryotwin.imaging.atoms import Atoms, Selection, select_atoms
from cryotwin.imaging.model_copies import model_copies
from cryotwin.imaging.structure_reports import atoms_report

SINGLE_ATOM_SHARE = 0.9
"""Share of the protein's residues with one atom from which on a model counts as a trace."""


def particle_of(file: CoordinateFile, name: str, source: str, *, copies: bool = False) -> Atoms:
    """Selects atoms, builds the assembly and writes the report.

    Args:
        file: as a parser read it.
        name: as `Atoms`.
        source: as `Atoms`.
        copies: the file's name says that its models are the copies of an assembly.

    Returns:
        Assembly 1, or all models where they are copies of one body beside each other, or else
        what the file lists.

    Raises:
        InputError: an element is not known, or no atom is left.
    """
    models = model_copies(file.models, rigid=not copies)
    table = join_tables(models) if len(models) > 1 else models[0]
    selection = select_atoms(table, source)
    if len(models) > 1:
        atoms = _as_it_lies(table, selection, name, source, models=len(models))
    else:
        atoms = _assembled(file, table, selection, name, source)
    if re.search(r"-pdb-bundle\d+$", name):
        atoms.report["notes"].append("one file of a bundle: the others hold the other chains")
    return atoms


def _as_it_lies(
    table: AtomTable, selection: Selection, name: str, source: str, *, models: int
) -> Atoms:
    """Takes models that are copies: the assembly is built already."""
    assembly = f"{models} models as copies"
    report = atoms_report(
        kinds=selection.kinds.tolist(),
        dropped=selection.dropped,
        chains=len({table.chains[row] for row in selection.rows}),
        operators=models,
        assembly=assembly,
        projected=len(selection.rows),
        notes=list(_notes_on_atoms(table, selection)),
    )
    positions = table.positions_angstrom[selection.rows]
    return Atoms(positions, selection.weights, name, source, assembly, report=report)


def _assembled(
    file: CoordinateFile, table: AtomTable, selection: Selection, name: str, source: str
) -> Atoms:
    """Builds the assembly of a file's first model, if there is one."""
    positions, weights = table.positions_angstrom[selection.rows], selection.weights
    chains = [table.chains[row] for row in selection.rows]
    kept = list(range(len(chains)))
    assembly, operators = "asymmetric unit", 1
    named = _named_chains(file)
    built = build_assembly(positions, chains, file.parts) if file.parts else None
    if built is not None:
        positions, sources = built
        weights = weights[sources]
        kept = sorted(set(sources.tolist()))
        assembly = describe_assembly(file.parts, file.assembly)
        operators = count_operators(file.parts)
    elif file.parts:
        assembly = f"asymmetric unit (assembly {file.assembly} names none of the file's chains)"
    outside = len(chains) - len(kept)
    report = atoms_report(
        kinds=[str(selection.kinds[row]) for row in kept],
        dropped={**selection.dropped, "outside the assembly": outside},
        chains=len({chains[row] for row in kept}),
        operators=operators,
        assembly=assembly,
        projected=len(positions),
        notes=[
            *_notes_on_file(file, outside, sorted(named - set(table.chains))),
            *_notes_on_atoms(table, selection),
        ],
    )
    return Atoms(positions, weights, name, source, assembly, report=report)


def _named_chains(file: CoordinateFile) -> set[str]:
    return {chain for part in file.parts for chain in part.chains or ()}


def _notes_on_file(file: CoordinateFile, outside: int, missing: list[str]) -> Iterator[str]:
    """Tells what of the file is not projected, and what of its assembly is not there."""
    if file.model_count > 1:
        yield f"the first of {file.model_count} models"
    if outside:
        which = (
            f"the first of {file.assemblies} assemblies" if file.assemblies > 1 else "the assembly"
        )
        yield f"{which} leaves out some of the file's chains"
    if missing:
        shown = ", ".join(missing[:5]) + (", ..." if len(missing) > 5 else "")
        yield f"the assembly names chains that the file lacks: {shown}"


def _notes_on_atoms(table: AtomTable, selection: Selection) -> Iterator[str]:
    """Tells what is unusual about the atoms themselves."""
    if selection.guessed:
        yield f"{selection.guessed:,} elements guessed from the names of atoms"
    protein = Counter(
        (table.chains[row], table.residues[row])
        for row, kind in zip(selection.rows, selection.kinds, strict=True)
        if kind == "protein"
    )
    alone = sum(count == 1 for count in protein.values())
    if protein and alone > SINGLE_ATOM_SHARE * len(protein):
        yield "a trace: one atom a residue, each projected as that atom"
