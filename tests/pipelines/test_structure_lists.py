import pytest

from cryotwin.imaging.errors import InputError
from cryotwin.pipelines.structure_lists import list_structures, structure_name


def write(path, *lines):
    path.write_text("\n".join(lines))
    return str(path)


@pytest.mark.parametrize(
    ("spec", "name"),
    [
        ("7CFN", "7cfn"),
        ("EMD-1234", "emd-1234"),
        ("folder/My map (2).mrc.gz", "My_map_2_"),
        ("a.b.cif", "a.b"),
    ],
)
def test_a_name_is_fit_for_files_and_star_rows(spec, name):
    assert structure_name(spec) == name


def test_a_table_names_structures_clusters_and_names(tmp_path):
    path = write(
        tmp_path / "list.csv",
        "id,title,cluster,name,file",
        'emd-0001,"a, b",c1,,',
        "1abc,x,,first,sub/1abc.cif",
        "7cfn,,,,",
    )
    first, second, third = list_structures([path])
    assert (first.spec, first.name, first.cluster) == ("emd-0001", "emd-0001", "c1")
    # A file goes before an id, and lies beside the list.
    assert second.spec == str(tmp_path / "sub" / "1abc.cif")
    assert (second.name, second.cluster) == ("first", "first")
    assert (third.spec, third.cluster) == ("7cfn", "7cfn")


def test_a_text_file_has_one_structure_a_line_and_comments(tmp_path):
    path = write(tmp_path / "list.txt", "# mine", "", "7cfn ", "sub/map.mrc")
    assert [e.spec for e in list_structures([path])] == ["7cfn", str(tmp_path / "sub" / "map.mrc")]


def test_lists_and_structures_mix_in_the_order_given(tmp_path):
    path = write(tmp_path / "list.txt", "1abc", "2abc")
    assert [entry.name for entry in list_structures(["7cfn", path, "EMD-0001"])] == [
        "7cfn",
        "1abc",
        "2abc",
        "emd-0001",
    ]


def test_a_row_that_names_nothing_keeps_its_place(tmp_path):
    path = write(tmp_path / "list.csv", "structure,title", "1abc,", ",nameless", "2abc,")
    _, nameless, _ = list_structures([path])
    assert nameless.spec == ""
    assert nameless.label == f"{path}, line 3"


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["pdb,title", "1abc,x"], "one of the columns structure, file, path, id, not pdb, title"),
        ([], "not none at all"),
        (["structure"], r"at least one structure is needed, .*list.csv lists none"),
        (
            ["id", "1abc", "1ABC"],
            r"named '1abc' \(1abc in .*list.csv, line 2 and 1ABC in .*list.csv, line 3\)",
        ),
        (["structure", '"1abc', "2abc"], r"list.csv, line 2: not a .csv \(unexpected end"),
        (["file", "a/x.cif", "b/x.cif"], "two structures are named 'x'"),
    ],
)
def test_a_list_that_cannot_be_used_is_told_in_one_line(lines, message, tmp_path):
    with pytest.raises(InputError, match=message) as caught:
        list_structures([write(tmp_path / "list.csv", *lines)])
    assert "\n" not in str(caught.value)


def test_a_list_that_is_missing_or_no_text_is_told(tmp_path):
    with pytest.raises(InputError, match=r"nowhere\.csv: no such file"):
        list_structures([str(tmp_path / "nowhere.csv")])
    (tmp_path / "map.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match=r"map\.txt: cannot be read as a list"):
        list_structures([str(tmp_path / "map.txt")])


def test_an_empty_argument_is_told():
    with pytest.raises(InputError, match="a structure is needed, not ''"):
        list_structures([""])
