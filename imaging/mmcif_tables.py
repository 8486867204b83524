"""The columns of an mmCIF file, its long table of atoms read line by line.

Biopython's `MMCIF2Dict` reads every form of CIF, token by token. The table of atoms, nearly all
of a large file, is one line an atom in every file of the wwPDB and of most programs: where it is,
pandas splits it, and Biopython reads the rest.
"""

import io
import re
from collections.abc import Collection, Mapping

import pandas as pd
from Bio.PDB.MMCIF2Dict import MMCIF2Dict

from cryotwin.imaging.errors import InputError

Columns = Mapping[str, list[str]]
"""Names such as "_atom_site.Cartn_x" to values, one a row."""

LARGEST_TABLES: Mapping[str, Collection[str]] = {
    "_atom_site_anisotrop.": (),
    "_atom_site.": (
        *("Cartn_x", "Cartn_y", "Cartn_z", "type_symbol", "pdbx_PDB_model_num", "label_alt_id"),
        *("label_atom_id", "auth_atom_id", "label_comp_id", "auth_comp_id", "label_seq_id"),
        *("auth_seq_id", "pdbx_PDB_ins_code", "label_asym_id", "auth_asym_id"),
    ),
}
"""The tables that are as long as the structure, and the columns of them that are used."""

TABLE_END = re.compile(r"^(?:_|#|loop_|data_|save_|;)", flags=re.MULTILINE)


def read_columns(text: str, where: str) -> Columns:
    """Reads an mmCIF file's first data block with atoms.

    Args:
        text: the file's.
        where: the file, for messages.

    Raises:
        InputError: not an mmCIF file.
    """
    text = _first_block(text.replace("\r\n", "\n"))
    columns: dict[str, list[str]] = {}
    for category, wanted in LARGEST_TABLES.items():
        found, text = _cut_table(text, category, wanted)
        columns |= found
    try:
        columns |= MMCIF2Dict(io.StringIO(text))
    except (ValueError, LookupError, NameError, ArithmeticError) as error:
        raise InputError(f"{where} is not an mmCIF file: {error}") from None
    return columns


def _first_block(text: str) -> str:
    """Cuts the text before a second data block with atoms, if there is one."""
    tables = list(re.finditer(r"^loop_\s*\n\s*_atom_site\.", text, flags=re.MULTILINE))
    if len(tables) < 2:
        return text
    later = text.rfind("\ndata_", tables[0].end(), tables[1].start())
    return text if later < 0 else text[: later + 1]


def _cut_table(
    text: str, category: str, wanted: Collection[str]
) -> tuple[dict[str, list[str]], str]:
    """Takes columns of a table, and it out of the text; nothing where a row is not one line."""
    head = re.search(
        rf"^loop_[ \t]*\n((?:[ \t]*{re.escape(category)}[^\n]*\n)+)", text, flags=re.MULTILINE
    )
    if head is None:
        return {}, text
    names = [line.split()[0] for line in head[1].splitlines()]
    end = TABLE_END.search(text, head.end())
    stop = end.start() if end else len(text)
    if end and end[0] == ";":
        return {}, text
    chosen = [index for index, name in enumerate(names) if name.split(".")[1] in wanted]
    try:
        rows = pd.read_csv(
            io.StringIO(text[head.end() : stop]),
            sep=r"\s+",
            header=None,
            names=range(len(names)),
            index_col=False,
            usecols=[*chosen, len(names) - 1],
            dtype=object,  # Python's strings, equal ones shared
            keep_default_na=False,
        )
    except ValueError:  # a line of more cells, or no line
        return {}, text
    last = rows[len(names) - 1]
    if last.isna().any() or not last.all():  # a line of fewer
        return {}, text
    found = {names[index]: _unquoted(rows[index].tolist()) for index in chosen}
    return found, text[: head.start()] + text[stop:]


def _unquoted(cells: list[str]) -> list[str]:
    """Takes single quotes off: pandas has seen to the double ones."""
    quoted = {cell for cell in set(cells) if len(cell) > 1 and cell[0] == cell[-1] == "'"}
    return [cell[1:-1] if cell in quoted else cell for cell in cells] if quoted else cells
