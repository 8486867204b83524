"""Atoms and the biological assembly from mmCIF text."""

import numpy as np
from numpy.typing import NDArray

from cryotwin.imaging.assemblies import AssemblyPart, expand_operators
from cryotwin.imaging.atom_tables import AtomTable, CoordinateFile
from cryotwin.imaging.errors import InputError
from cryotwin.imaging.file_content import text
from cryotwin.imaging.mmcif_tables import Columns, read_columns

MISSING = frozenset({"?", "."})


def parse_mmcif(content: bytes, where: str) -> CoordinateFile:
    """Reads the models and assembly 1 of an mmCIF file.

    Args:
        content: the file's text, not compressed.
        where: the file, for messages.

    Raises:
        InputError: not an mmCIF file, cut short, without atoms, or with broken coordinates.
    """
    columns = read_columns(text(content), where)
    if "_atom_site.Cartn_x" not in columns:
        raise InputError(f"{where} holds no atoms: expected an mmCIF file with _atom_site.Cartn_x")
    lengths = {len(column) for key, column in columns.items() if key.startswith("_atom_site.")}
    if len(lengths) > 1:
        raise InputError(f"{where} is cut short: its atoms' columns differ in length")
    if lengths == {0}:
        raise InputError(f"{where} holds no atoms: its table of them is empty")
    table, models = _atom_table(columns, where)
    identifier, parts = _first_assembly(columns, where)
    return CoordinateFile(
        models=(_rows_of(table, rows) for rows in models),
        model_count=len(models),
        assembly=identifier,
        assemblies=len(set(columns.get("_pdbx_struct_assembly_gen.assembly_id", ()))),
        parts=parts,
    )


def _atom_table(columns: Columns, where: str) -> tuple[AtomTable, list[NDArray[np.intp]]]:
    """Gives all atoms, and the rows of each model in the order of the file."""
    count = len(columns["_atom_site.Cartn_x"])

    def column(*names: str) -> list[str]:
        """The first column of these that the file has, with "" for missing values."""
        found = next(
            (columns[f"_atom_site.{n}"] for n in names if f"_atom_site.{n}" in columns), None
        )
        return ["" if value in MISSING else value for value in found] if found else [""] * count

    # Either numbering alone can be ambiguous: ligands have no label_seq_id, and some files
    # have lost the insertion codes that go with auth_seq_id.
    keys = zip(
        *(column(n) for n in ("auth_seq_id", "pdbx_PDB_ins_code", "label_seq_id")), strict=True
    )
    table = AtomTable(
        positions_angstrom=_positions(columns, where),
        symbols=column("type_symbol"),
        names=column("label_atom_id", "auth_atom_id"),
        residue_names=column("label_comp_id", "auth_comp_id"),
        residues=[" ".join(filter(None, key)) for key in keys],
        altlocs=column("label_alt_id"),
        chains=column("label_asym_id", "auth_asym_id"),
    )
    _, first, codes = np.unique(
        np.asarray(column("pdbx_PDB_model_num")), return_index=True, return_inverse=True
    )
    return table, [np.flatnonzero(codes == model) for model in np.argsort(first)]


def _rows_of(table: AtomTable, rows: NDArray[np.intp]) -> AtomTable:
    """Gives the rows of one model."""
    if rows.size == len(table.names):
        return table

    def pick(values: list[str]) -> list[str]:
        return [values[row] for row in rows]

    return AtomTable(
        positions_angstrom=table.positions_angstrom[rows],
        symbols=pick(table.symbols),
        names=pick(table.names),
        residue_names=pick(table.residue_names),
        residues=pick(table.residues),
        altlocs=pick(table.altlocs),
        chains=pick(table.chains),
    )


def _positions(columns: Columns, where: str) -> NDArray[np.float64]:
    """Gives (n, 3) coordinates x, y, z in angstrom."""
    try:
        axes = [np.asarray(columns[f"_atom_site.Cartn_{axis}"], dtype=np.float64) for axis in "xyz"]
    except (KeyError, ValueError) as error:
        raise InputError(f"{where}: coordinates are missing or no numbers ({error})") from None
    positions = np.stack(axes, axis=1)
    if not np.isfinite(positions).all():
        raise InputError(f"{where}: coordinates must be finite, some are not")
    return positions


def _first_assembly(columns: Columns, where: str) -> tuple[str, list[AssemblyPart]]:
    prefix = "_pdbx_struct_assembly_gen."
    fields = [columns.get(prefix + n) for n in ("assembly_id", "oper_expression", "asym_id_list")]
    if any(field is None for field in fields) or "_pdbx_struct_oper_list.id" not in columns:
        return "", []
    identifiers, expressions, chain_lists = (field or [] for field in fields)
    first = "1" if "1" in identifiers else identifiers[0]
    operators = _operators(columns, where)
    parts = []
    for identifier, expression, chains in zip(identifiers, expressions, chain_lists, strict=False):
        if identifier == first:
            try:
                expanded = expand_operators(expression, operators)
            except InputError as error:
                raise InputError(f"{where}: {error}") from None
            names = frozenset(name.strip() for name in chains.split(","))
            parts.append(AssemblyPart(names, expanded))
    return first, parts


def _operators(columns: Columns, where: str) -> dict[str, NDArray[np.float64]]:
    """Reads _pdbx_struct_oper_list: identifier to (3, 4)."""
    prefix = "_pdbx_struct_oper_list."
    try:
        entries = [
            [columns[f"{prefix}matrix[{row}][{col}]"] for col in (1, 2, 3)]
            + [columns[f"{prefix}vector[{row}]"]]
            for row in (1, 2, 3)
        ]
        values = np.asarray(entries, dtype=np.float64)
    except (KeyError, ValueError) as error:
        raise InputError(f"{where}: assembly operators are incomplete ({error})") from None
    return {name: values[:, :, index] for index, name in enumerate(columns[prefix + "id"])}
