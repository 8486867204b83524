"""The columns of an mmCIF file, its long table of atoms read line by line.

Biopython's `MMCIF2Dict` reads every form of CIF, token by token. The table of atoms, nearly all
of a large file, is one line an atom in every file of the wwPDB and of most programs: where it is,
it is split here, in a fifth of the time, and Biopython reads the rest.
"""

import io
import re
import sys
from collections.abc import Collection, Mapping

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

ENDS = ("_", "#", "loop_", "data_", "save_", "global_", "stop_")


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
    chosen = [index for index, name in enumerate(names) if name.split(".")[1] in wanted]
    columns: list[list[str]] = [[] for _ in chosen]
    start = head.end()
    while start < len(text):
        end = text.find("\n", start) + 1 or len(text)
        line = text[start:end]
        if line.startswith(ENDS):
            break
        cells = line.split()
        if cells and (len(cells) != len(names) or line.startswith(";")):
            return {}, text
        if cells:
            for column, index in zip(columns, chosen, strict=True):
                column.append(sys.intern(_unquoted(cells[index])))
        start = end
    found = {names[index]: column for index, column in zip(chosen, columns, strict=True)}
    return found, text[: head.start()] + text[start:]


def _unquoted(cell: str) -> str:
    if cell[0] in "'\"" and cell[-1] == cell[0] and len(cell) > 1:
        return cell[1:-1]
    return cell
