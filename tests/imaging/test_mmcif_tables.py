import pytest

from cryotwin.imaging.errors import InputError
from cryotwin.imaging.mmcif_files import parse_mmcif
from cryotwin.imaging.mmcif_tables import read_columns

NAMES = ["type_symbol", "label_atom_id", "label_comp_id", "label_asym_id", "label_seq_id"]
NAMES += ["Cartn_x", "Cartn_y", "Cartn_z"]
HEAD = "loop_\n" + "".join(f"_atom_site.{name}\n" for name in NAMES)


def test_quotes_of_either_kind_and_none_give_the_same_names():
    rows = ["""C "C1'" DA A 1 1 2 3""", """C C2' DA A 1 1 2 3""", """O 'O5"' DA A 1 1 2 3"""]
    columns = read_columns("data_x\n" + HEAD + "\n".join(rows) + "\n#\n", "made.cif")
    assert columns["_atom_site.label_atom_id"] == ["C1'", "C2'", 'O5"']


def test_a_row_over_two_lines_is_one_row_and_a_name_with_a_blank_one_name():
    rows = "C CA ALA A 1\n1 2 3\nN 'N A' ALA A 2 4 5 6\n"
    columns = read_columns("data_x\n" + HEAD + rows + "#\n", "made.cif")
    assert columns["_atom_site.label_atom_id"] == ["CA", "N A"]
    assert columns["_atom_site.Cartn_z"] == ["3", "6"]


@pytest.mark.parametrize("ending", ["\n", "\r\n"])
@pytest.mark.parametrize("last", ["#\n", "", "loop_\n_other.id\n1\n2\n", "\n_cell.length_a 1\n"])
def test_a_table_ends_where_the_next_item_starts(last, ending):
    text = "data_x\n_entry.id X\n" + HEAD + "C CA ALA A 1 1 2 3\n\n\tN\tN ALA A 1 4 5 6\n" + last
    columns = read_columns(text.replace("\n", ending), "made.cif")
    assert columns["_atom_site.Cartn_x"] == ["1", "4"]
    assert columns["_entry.id"] == ["X"]
    assert ("_other.id" in columns) == ("_other" in last)


def test_of_two_data_blocks_the_first_is_read():
    first, second = (f"data_{x}\n" + HEAD + f"C CA ALA A 1 {x} 2 3\n" for x in (1, 7))
    assert read_columns(first + second, "made.cif")["_atom_site.Cartn_x"] == ["1"]


def test_a_table_cut_within_a_row_is_refused_as_cut_short():
    for text in ("C CA ALA A 1 1 2 3\nC CA AL", "C CA ALA A 1 1 2 3\nC CA ALA A 1 1 2"):
        with pytest.raises(InputError, match="cut short"):
            parse_mmcif(("data_x\n" + HEAD + text).encode(), "made.cif")


def test_a_table_without_rows_holds_no_atoms():
    with pytest.raises(InputError, match="holds no atoms"):
        parse_mmcif(("data_x\n" + HEAD + "#\n").encode(), "made.cif")


def test_a_small_molecules_file_is_refused_for_what_it_lacks():
    text = "data_x\nloop_\n_atom_site_label\n_atom_site_fract_x\nC1 0.1\n"
    with pytest.raises(InputError, match="expected an mmCIF file with _atom_site.Cartn_x"):
        parse_mmcif(text.encode(), "made.cif")
