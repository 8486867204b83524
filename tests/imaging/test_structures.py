import gzip
import io
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import pytest

from cryotwin.imaging.assemblies import expand_operators
from cryotwin.imaging.elements import guess_symbol
from cryotwin.imaging.errors import InputError
from cryotwin.imaging.maps import write_map
from cryotwin.imaging.structures import Atoms, bundled_names, read_structure

COLUMNS = ["group_PDB", "id", "type_symbol", "label_atom_id", "label_alt_id", "label_comp_id"]
COLUMNS += ["label_asym_id", "label_seq_id", "Cartn_x", "Cartn_y", "Cartn_z", "auth_seq_id"]
COLUMNS += ["pdbx_PDB_model_num"]

DATA = Path(__file__).parents[2].parent / "shared" / "data"


def cif_text(rows: list[str], extra: str = "", columns: list[str] = COLUMNS) -> str:
    head = "".join(f"_atom_site.{name}\n" for name in columns)
    return "data_tiny\n#\nloop_\n" + head + "\n".join(rows) + "\n#\n" + extra


def row(
    name: str = "CA",
    symbol: str = "C",
    alt: str = ".",
    residue: str = "ALA",
    chain: str = "A",
    number: int = 1,
    at: tuple[float, float, float] = (1.0, 2.0, 3.0),
    model: int = 1,
) -> str:
    x, y, z = at
    return f"ATOM 1 {symbol} {name} {alt} {residue} {chain} {number} {x} {y} {z} {number} {model}"


def operators(
    entries: dict[str, tuple[np.ndarray, np.ndarray]], expression: str, chains: str
) -> str:
    names = [f"matrix[{i}][{j}]" for i in (1, 2, 3) for j in (1, 2, 3)]
    names += [f"vector[{i}]" for i in (1, 2, 3)]
    lines = ["loop_", "_pdbx_struct_oper_list.id"]
    lines += [f"_pdbx_struct_oper_list.{name}" for name in names]
    for key, (matrix, vector) in entries.items():
        lines.append(" ".join([key, *map(str, matrix.ravel()), *map(str, vector)]))
    lines += ["#", "_pdbx_struct_assembly_gen.assembly_id 1"]
    lines += [f"_pdbx_struct_assembly_gen.oper_expression '{expression}'"]
    lines += [f"_pdbx_struct_assembly_gen.asym_id_list {chains}", "#"]
    return "\n".join(lines) + "\n"


def read_cif(tmp_path: Path, text: str) -> Atoms:
    path = tmp_path / "tiny.cif"
    path.write_text(text)
    atoms = read_structure(str(path))
    assert isinstance(atoms, Atoms)
    return atoms


def pdb_line(
    name: str, alt: str, residue: str, chain: str, number: int, x: float, element: str
) -> str:
    return (
        f"ATOM  {1:5d} {name:4s}{alt:1s}{residue:3s} {chain:1s}{number:4d}    "
        f"{x:8.3f}{0.0:8.3f}{0.0:8.3f}  1.00  0.00          {element:>2s}"
    )


IDENTITY = (np.eye(3), np.zeros(3))
HALF_TURN = (np.diag([-1.0, -1.0, 1.0]), np.array([10.0, 0.0, 0.0]))
SHIFT = (np.eye(3), np.array([0.0, 0.0, 5.0]))


def test_the_bundled_structure_has_its_heavy_atoms_whatever_the_case_of_its_name():
    atoms = read_structure("7CFN")
    assert isinstance(atoms, Atoms)
    assert "7cfn" in bundled_names()
    assert atoms.positions_angstrom.shape == (8089, 3)
    assert set(atoms.weights) == {6, 7, 8, 16}
    assert (atoms.name, atoms.assembly) == ("7cfn", "asymmetric unit")


def test_water_and_hydrogen_are_dropped(tmp_path):
    rows = [
        row("N", "N"),
        row("H", "H"),
        row("D", "D"),
        row("O", "O", residue="HOH", number=2),
        row("O", "O", residue="DOD", number=3),
        row("ZN", "Zn", residue="ZN", number=4),
    ]
    assert read_cif(tmp_path, cif_text(rows)).weights.tolist() == [7, 30]


def test_of_an_atom_listed_twice_the_first_is_kept(tmp_path):
    rows = [
        row("CA", alt="B", at=(1, 0, 0)),
        row("CA", alt="A", at=(2, 0, 0)),
        row("CB", alt="A", at=(3, 0, 0)),
        row("CA", number=2, at=(4, 0, 0)),
    ]
    positions = read_cif(tmp_path, cif_text(rows)).positions_angstrom
    assert positions[:, 0].tolist() == [1, 3, 4]


def test_of_two_residues_in_one_place_the_first_is_kept(tmp_path):
    rows = [
        row("CA", alt="A", residue="SER", at=(1, 0, 0)),
        row("OG", "O", alt="A", residue="SER", at=(2, 0, 0)),
        row("CA", alt="B", residue="THR", at=(1, 0, 0)),
        row("CG2", alt="B", residue="THR", at=(3, 0, 0)),
    ]
    assert len(read_cif(tmp_path, cif_text(rows)).weights) == 2


def test_doubles_without_labels_are_dropped_where_they_lie_on_each_other(tmp_path):
    rows = [
        row("N", "N", at=(0, 0, 0)),
        row("CA", at=(1.4, 0, 0)),
        row("N", "N", at=(0.2, 0, 0)),
        row("CA", at=(1.5, 0.2, 0)),
    ]
    assert len(read_cif(tmp_path, cif_text(rows)).weights) == 2


def test_residues_that_lost_their_insertion_codes_are_kept(tmp_path):
    rows = [
        row("N", "N", at=(0, 0, 0)),
        row("CA", at=(1.4, 0, 0)),
        row("N", "N", at=(3.8, 0, 0)),
        row("CA", at=(5.2, 0, 0)),
    ]
    assert len(read_cif(tmp_path, cif_text(rows)).weights) == 4


def test_only_the_first_model_is_read(tmp_path):
    rows = [row(model=3), row(model=7), row("CB", model=7)]
    assert len(read_cif(tmp_path, cif_text(rows)).weights) == 1


def test_an_assembly_of_two_operators_doubles_the_named_chains(tmp_path):
    rows = [row(at=(1, 2, 3)), row(chain="B", symbol="N", name="N", at=(4, 5, 6))]
    extra = operators({"1": IDENTITY, "2": HALF_TURN}, "1,2", "A")
    atoms = read_cif(tmp_path, cif_text(rows, extra))
    np.testing.assert_allclose(atoms.positions_angstrom, [[1, 2, 3], [9, -2, 3]])
    assert atoms.weights.tolist() == [6, 6]
    assert atoms.assembly == "assembly 1, 2 operators"


def test_an_assembly_that_names_no_chain_of_the_file_says_so(tmp_path):
    extra = operators({"1": IDENTITY}, "1", "Z")
    atoms = read_cif(tmp_path, cif_text([row()], extra))
    assert len(atoms.weights) == 1
    assert "names none of the file's chains" in atoms.assembly


def test_operator_expressions_list_span_and_combine():
    table = {
        key: np.column_stack(entry)
        for key, entry in {"1": IDENTITY, "2": HALF_TURN, "3": SHIFT, "P": HALF_TURN}.items()
    }
    assert len(expand_operators("(1-3)", table)) == 3
    assert len(expand_operators("1,3", table)) == 2
    np.testing.assert_allclose(expand_operators("(P)", table)[0], table["P"])
    combined = expand_operators("(1,2)(3,P)", table)
    assert len(combined) == 4
    point = np.array([1.0, 2.0, 3.0])
    then = combined[2] @ [*point, 1]  # operator 2 after operator 3
    np.testing.assert_allclose(then, HALF_TURN[0] @ (point + SHIFT[1]) + HALF_TURN[1])


@pytest.mark.parametrize("expression", ["(1", "9", "(1)2", "1--3", ""])
def test_a_bad_operator_expression_is_quoted(expression):
    with pytest.raises(InputError, match="assembly operators"):
        expand_operators(expression, {"1": np.eye(4)[:3]})


@pytest.mark.parametrize(
    ("name", "residue", "symbol"),
    [
        ("CA", "ALA", "C"),
        ("CA", "CA", "CA"),
        (" CA ", "ALA", "C"),
        ("CA  ", "CA", "CA"),
        ("FE", "HEM", "FE"),
        ("NA", "HEM", "N"),
        (" NA ", "HEM", "N"),
        ("SE", "MSE", "SE"),
        ("HG11", "VAL", "H"),
        ("1HB ", "ALA", "H"),
        ("O5'", "DA", "O"),
        ("ZN", "ZN", "ZN"),
    ],
)
def test_an_element_is_guessed_from_the_atoms_name(name, residue, symbol):
    assert guess_symbol(name, residue) == symbol


def test_a_missing_element_is_guessed(tmp_path):
    atoms = read_cif(tmp_path, cif_text([row("CB", "?"), row("OG", ".")]))
    assert atoms.weights.tolist() == [6, 8]


def test_the_charge_of_an_element_and_its_case_do_not_matter(tmp_path):
    rows = [row("FE", "Fe3+", residue="FE", number=1), row("OD1", "O1-", number=2)]
    rows += [row("CL", "cl", residue="CL", number=3)]
    assert read_cif(tmp_path, cif_text(rows)).weights.tolist() == [26, 8, 17]


def test_a_wwpdb_assembly_file_keeps_the_copies_that_it_lists(tmp_path):
    rows = [row(chain=f"A{suffix}", at=(x, 0, 0)) for x, suffix in ((0, ""), (50, "-2"))]
    atoms = read_cif(tmp_path, cif_text(rows))
    assert atoms.positions_angstrom[:, 0].tolist() == [0, 50]
    assert atoms.report["chains"] == 2


def test_an_assembly_file_of_the_pdb_holds_a_copy_in_each_model(tmp_path):
    lines = ["REMARK 350 BIOMOLECULE: 1", "REMARK 350 APPLY THE FOLLOWING TO CHAINS: A"]
    lines += [
        f"REMARK 350   BIOMT{i}   {n} {sign * (i == 1):9.6f} {sign * (i == 2):9.6f} "
        f"{1.0 * (i == 3):9.6f}        0.00000"
        for n, sign in ((1, 1.0), (2, -1.0))
        for i in (1, 2, 3)
    ]
    for model, x in ((1, 30.0), (2, -30.0)):
        lines += [f"MODEL {model:8d}", pdb_line(" CA ", "", "ALA", "A", 1, x, "C"), "ENDMDL"]
    for name in ("x.pdb1", "x.pdb1.gz", "x.pdb12"):
        content = "\n".join(lines).encode()
        (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith("gz") else content)
        atoms = read_structure(str(tmp_path / name))
        assert isinstance(atoms, Atoms)
        assert atoms.positions_angstrom[:, 0].tolist() == [30, -30]
        assert atoms.report["operators"] == 2
    (tmp_path / "x.pdb").write_text("\n".join(lines))  # there the operators make the copy
    assert read_structure(str(tmp_path / "x.pdb")).assembly == "assembly 1, 2 operators"


def test_one_file_of_a_bundle_says_that_it_is_a_part(tmp_path):
    path = tmp_path / "4v6x-pdb-bundle2.pdb"
    path.write_text(pdb_line(" CA ", "", "ALA", "A", 1, 0.0, "C"))
    assert "one file of a bundle" in read_structure(str(path)).report["notes"][-1]


def test_a_pdb_file_is_read_with_its_first_biomolecule(tmp_path):
    lines = [
        "REMARK 350 BIOMOLECULE: 1",
        "REMARK 350 APPLY THE FOLLOWING TO CHAINS: A,",
        "REMARK 350                    AND CHAINS: B",
        "REMARK 350   BIOMT1   1  1.000000  0.000000  0.000000        0.00000",
        "REMARK 350   BIOMT2   1  0.000000  1.000000  0.000000        0.00000",
        "REMARK 350   BIOMT3   1  0.000000  0.000000  1.000000        0.00000",
        "REMARK 350   BIOMT1   2 -1.000000  0.000000  0.000000       10.00000",
        "REMARK 350   BIOMT2   2  0.000000 -1.000000  0.000000        0.00000",
        "REMARK 350   BIOMT3   2  0.000000  0.000000  1.000000        0.00000",
        "REMARK 350 BIOMOLECULE: 2",
        "REMARK 350 APPLY THE FOLLOWING TO CHAINS: C",
        "MODEL        1",
        pdb_line(" CA ", "A", "ALA", "A", 1, 1.0, "C"),
        pdb_line(" CA ", "B", "ALA", "A", 1, 1.5, "C"),
        pdb_line(" N  ", "", "ALA", "B", 1, 2.0, ""),
        pdb_line(" O  ", "", "HOH", "B", 2, 3.0, "O"),
        pdb_line(" CA ", "", "ALA", "C", 1, 4.0, "C"),
        "ENDMDL",
        "MODEL        2",
        pdb_line(" CA ", "", "ALA", "A", 1, 7.0, "C"),
    ]
    path = tmp_path / "tiny.pdb.gz"
    path.write_bytes(gzip.compress("\n".join(lines).encode()))
    atoms = read_structure(str(path))
    assert isinstance(atoms, Atoms)
    assert atoms.positions_angstrom[:, 0].tolist() == [1, 2, 9, 8]
    assert atoms.weights.tolist() == [6, 7, 6, 7]
    assert (atoms.name, atoms.assembly) == ("tiny", "assembly 1, 2 operators")


def test_more_than_a_thousand_chains_are_kept_apart(tmp_path):
    rows = [row(chain=f"C{chain}", at=(chain, 0, 0)) for chain in range(1500)]
    assert len(read_cif(tmp_path, cif_text(rows)).weights) == 1500


BAD_FILES = {
    "empty.cif": (b"", "is empty"),
    "empty.pdb": (b"\n \n", "is empty"),
    "text.cif": (b"this is no structure\n", "is not an mmCIF file"),
    "header.cif": (b"data_x\n_cell.length_a 1\n", "holds no atoms"),
    "remarks.pdb": (b"REMARK nothing here\n", "holds no atoms"),
    "water.cif": (cif_text([row(residue="HOH")]).encode(), "holds no atoms"),
    "cut.cif": (cif_text([row(), "ATOM 1 C CA"]).encode(), "cut short"),
    "words.cif": (cif_text(["ATOM 1 C CA . ALA A 1 x y z 1 1"]).encode(), "no numbers"),
    "nan.cif": (cif_text([row(at=(float("nan"), 0, 0))]).encode(), "finite"),
    "element.cif": (cif_text([row("QQ", "Qq")]).encode(), "unknown element .'Qq'"),
    "words.pdb": (b"ATOM      1  CA  ALA A   1      here  and  there\n", "columns 31 to 54"),
    "cut.cif.gz": (gzip.compress(cif_text([row()] * 50).encode())[:-20], "truncated or damaged"),
    "binary.map": (bytes(range(256)) * 8, "not an MRC or CCP4 map"),
    "short.mrc": (b"\0" * 100, "not an MRC or CCP4 map"),
    "notes.txt": (b"hello", "suffix '.txt'"),
    "particles.mrcs": (b"hello", "a stack of images, not a map"),
    "7cfn-pdb-bundle.tar.gz": (b"hello", "give the mmCIF file, which holds all chains"),
    "junk.cif": (bytes(range(256)), "is not an mmCIF file|holds no atoms"),
    "junk.pdb": (bytes(range(256)), "holds no atoms"),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_a_bad_file_is_refused_in_one_line_that_names_it(tmp_path, name):
    content, message = BAD_FILES[name]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=message) as caught:
        read_structure(str(tmp_path / name))
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "spec",
    ["nothing", "missing.cif", "EMD-12", "EMD-1234567", "0abc", "7cfn.", "", "abcde", "pdb_7cfn"],
)
def test_an_unknown_structure_is_quoted_with_what_is_accepted(spec):
    with pytest.raises(InputError, match=r"7cfn.*\.cif.*PDB id.*EMD-1234") as caught:
        read_structure(spec)
    assert f"'{spec}'" in str(caught.value)


def test_a_folder_is_no_structure(tmp_path):
    with pytest.raises(InputError, match="is a folder"):
        read_structure(str(tmp_path))


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "cryotwin"


@pytest.mark.parametrize("spec", ["pdb_00009xyz", "PDB_00009XYZ"])
def test_the_longer_form_of_a_pdb_id_is_the_same_entry(cache, monkeypatch, spec):
    asked = []

    def urlopen(url, timeout):
        asked.append(url)
        return io.BytesIO(gzip.compress(cif_text([row()]).encode()))

    monkeypatch.setattr(urllib.request, "urlopen", urlopen)
    found = read_structure(spec)
    assert (found.name, found.source) == ("9xyz", "PDB 9XYZ")
    assert asked == ["https://files.wwpdb.org/pub/pdb/data/structures/divided/mmCIF/xy/9xyz.cif.gz"]


def test_a_longer_pdb_id_that_has_no_short_form_is_refused_with_what_to_do():
    with pytest.raises(InputError, match="'pdb_10009xyz' has no form of four.*download"):
        read_structure("pdb_10009xyz")


@pytest.mark.parametrize("digits", ["1234", "12345", "123456"])
def test_emdb_ids_have_four_to_six_digits(cache, monkeypatch, tmp_path, digits):
    volume = np.zeros((20, 20, 20), dtype=np.float32)
    volume[8:12, 7:11, 9:13] = 1
    write_map(tmp_path / "map.mrc.gz", volume, 2.0)
    asked = []

    def urlopen(url, timeout):
        asked.append(url)
        return io.BytesIO((tmp_path / "map.mrc.gz").read_bytes())

    monkeypatch.setattr(urllib.request, "urlopen", urlopen)
    found = read_structure(f"emd-{digits}")
    assert (found.name, found.source) == (f"emd-{digits}", f"EMD-{digits}")
    assert asked == [
        f"https://files.wwpdb.org/pub/emdb/structures/EMD-{digits}/map/emd_{digits}.map.gz"
    ]


def test_a_pdb_id_is_downloaded_once(cache, monkeypatch):
    asked = []

    def urlopen(url, timeout):
        asked.append(url)
        return io.BytesIO(gzip.compress(cif_text([row()]).encode()))

    monkeypatch.setattr(urllib.request, "urlopen", urlopen)
    for spec in ("9XYZ", "9xyz"):
        atoms = read_structure(spec)
        assert isinstance(atoms, Atoms)
        assert (atoms.name, atoms.source) == ("9xyz", "PDB 9XYZ")
    assert len(asked) == 1
    assert asked[0].endswith("/xy/9xyz.cif.gz")
    assert [path.name for path in cache.iterdir()] == ["9xyz.cif.gz"]


@pytest.mark.parametrize("spec", ["9xyz", "EMD-1234"])
def test_offline_an_id_ends_in_one_line_that_says_what_to_do(cache, monkeypatch, spec):
    def urlopen(url, timeout):
        raise urllib.error.URLError("no route to host")

    monkeypatch.setattr(urllib.request, "urlopen", urlopen)
    with pytest.raises(InputError, match=r"no route to host.*connect to the internet, or save"):
        read_structure(spec)
    assert not cache.exists()


def test_an_id_that_the_archive_lacks_is_said_to_be_missing(cache, monkeypatch):
    def urlopen(url, timeout):
        raise urllib.error.HTTPError(url, 404, "Not Found", None, None)  # type: ignore[arg-type]

    monkeypatch.setattr(urllib.request, "urlopen", urlopen)
    with pytest.raises(InputError, match="9XYZ is not in the archive"):
        read_structure("9xyz")


def test_a_download_that_is_cut_short_is_not_kept(cache, monkeypatch):
    content = gzip.compress(cif_text([row()] * 50).encode())[:-20]
    monkeypatch.setattr(urllib.request, "urlopen", lambda url, timeout: io.BytesIO(content))
    with pytest.raises(InputError, match="truncated"):
        read_structure("9xyz")
    assert not cache.exists()


@pytest.mark.skipif(not DATA.exists(), reason="needs the data beside the repository")
def test_beta_galactosidase_has_its_assembly_of_four_chains():
    atoms = read_structure(str(DATA / "targets" / "5a1a.cif.gz"))
    assert isinstance(atoms, Atoms)
    assert len(atoms.weights) == 32920
    assert atoms.assembly.startswith("assembly 1")
