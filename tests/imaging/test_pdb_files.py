import string

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cryotwin.imaging.errors import InputError
from cryotwin.imaging.particles import particle_of
from cryotwin.imaging.pdb_files import parse_pdb


def line(
    x: float = 0.0,
    *,
    serial: str = "1",
    name: str = " CA ",
    alt: str = " ",
    residue: str = "ALA ",
    chain: str = "A",
    number: str = "1",
    insertion: str = " ",
    segment: str = "",
    element: str = " C",
    record: str = "ATOM",
) -> str:
    """One line of a PDB file; `residue` takes columns 18 to 21."""
    return (
        f"{record:6s}{serial:>5s} {name}{alt}{residue}{chain}{number:>4s}{insertion}   "
        f"{x:8.3f}{2.0:8.3f}{-3.0:8.3f}  1.00 30.00      {segment:4s}{element}"
    )


def read(lines: list[str], *, copies: bool = False, ending: str = "\n"):
    content = ending.join(lines).encode("latin-1")
    return particle_of(parse_pdb(content, "made.pdb"), "made", "made.pdb", copies=copies)


def xs(lines: list[str], **options) -> list[float]:
    return read(lines, **options).positions_angstrom[:, 0].tolist()


def hybrid36(value: int, width: int) -> str:
    """Writes a number as cctbx does: decimal, then base 36 from A000..., then from a000..."""
    if value < 10**width:
        return f"{value:{width}d}"
    value -= 10**width
    for letters in (string.ascii_uppercase, string.ascii_lowercase):
        digits = string.digits + letters
        if value < 26 * 36 ** (width - 1):
            value += 10 * 36 ** (width - 1)
            text = ""
            while value:
                value, digit = divmod(value, 36)
                text = digits[digit] + text
            return text
        value -= 26 * 36 ** (width - 1)
    raise ValueError(value)


def test_hybrid_36_is_written_as_its_authors_do():
    assert [hybrid36(n, 4) for n in (9999, 10000, 10009, 10010, 1223056)] == [
        *("9999", "A000", "A009", "A00A", "a000"),
    ]
    assert hybrid36(100000, 5) == "A0000"


@given(
    first=st.integers(0, 2_400_000),
    serial=st.integers(0, 87_000_000),
    count=st.integers(1, 6),
)
def test_hybrid_36_numbers_keep_residues_apart_and_every_atom(first, serial, count):
    lines = [
        line(3.8 * index, serial=hybrid36(serial + index, 5), number=hybrid36(first + index, 4))
        for index in range(count)
    ]
    doubles = [text[:16] + "B" + text[17:] for text in lines]
    labelled = [text[:16] + "A" + text[17:] for text in lines]
    both = [row for pair in zip(labelled, doubles, strict=True) for row in pair]
    expected = [round(3.8 * index, 3) for index in range(count)]
    assert xs(lines) == expected
    assert xs(both) == expected
    assert read(both).report["dropped"] == {"other conformations": count}


def test_serial_numbers_that_outgrow_their_columns_lose_no_atom():
    within = line(1.0).replace("ATOM      1", "ATOM 100000")
    beyond = line(2.0).replace("ATOM      1", "ATOM  100001")
    far = line(3.0, record="HETATM").replace("HETATM    1", "HETATM1000002")
    for row in (within, beyond, far):
        assert len(row) >= 78
    stars, hexadecimal = line(4.0, serial="*****"), line(5.0, serial="186a0")
    numbered = [within, beyond, far, stars, hexadecimal]
    numbered = [
        row.replace("A   1 ", f"A{index:4d} ") for index, row in enumerate(numbered, start=1)
    ]
    assert xs(numbered) == [1, 2, 3, 4, 5]


def test_chain_names_of_two_letters_are_told_from_residue_names_of_four():
    wide = [line(4.0 * i, residue="ALA", chain=f"A{name}") for i, name in enumerate("AB")]
    assert read(wide).report["chains"] == 2
    simulated = [
        line(0.0, residue="POPC", chain="L", name=" P  ", element=" P"),
        line(9.0, residue="TIP3", chain="W", name=" OH2", element=" O"),
    ]
    atoms = read(simulated)
    assert atoms.weights.tolist() == [15]
    assert atoms.report["dropped"] == {"water": 1}


def test_segments_stand_in_for_chains_that_have_no_name():
    lines = [line(4.0 * i, chain=" ", segment=f"S{i}") for i in range(70)]
    assert read(lines).report["chains"] == 70


def test_a_chain_name_that_is_used_again_is_another_chain_with_its_own_altlocs():
    lines = [
        line(40.0 * copy + shift, alt=alt, chain="A")
        for copy in range(3)
        for alt, shift in (("A", 0.0), ("B", 0.4))
    ]
    assert xs(lines) == [0, 40, 80]


def test_negative_and_inserted_residues_are_residues():
    lines = [
        line(0.0, number="-5"),
        line(3.8, number="-4"),
        line(7.6, number="100"),
        line(11.4, number="100", insertion="A"),
    ]
    assert xs(lines) == [0, 3.8, 7.6, 11.4]


@pytest.mark.parametrize(
    ("element", "name", "residue", "weight"),
    [
        ("FE3+", "FE  ", "FE  ", 26),
        (" O1-", " OD1", "ASP ", 8),
        ("ZN2+", "ZN  ", "ZN  ", 30),
        ("C ", " CA ", "ALA ", 6),
        ("1A", " CA ", "ALA ", 6),
        ("  ", "SE  ", "MSE ", 34),
    ],
)
def test_an_element_is_found_with_its_charge_on_the_wrong_side_or_missing(
    element, name, residue, weight
):
    assert read([line(element=element, name=name, residue=residue)]).weights.tolist() == [weight]


def test_deuterium_counts_as_hydrogen_and_unknown_atoms_are_not_projected():
    lines = [
        line(0.0),
        line(1.0, name=" D  ", element=" D"),
        line(5.0, name=" X  ", residue="UNL ", element=" X", number="2"),
        line(9.0, name=" N  ", residue="DUM ", element=" N", number="3"),
        line(13.0, name=" X1 ", residue="UNX ", element=" X", number="4"),
    ]
    atoms = read(lines)
    assert len(atoms.weights) == 1
    assert atoms.report["dropped"] == {"hydrogen": 1, "unknown": 3}


@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"])
def test_line_ends_of_every_system_and_odd_letters_in_remarks_do_no_harm(ending):
    lines = ["REMARK   1 Müller, J. (1999)  \x0c", line(1.0), line(5.0, number="2"), "END"]
    assert xs(lines, ending=ending) == [1, 5]


def test_a_byte_order_mark_hides_no_atom():
    content = "\n".join([line(1.0), line(5.0, number="2")])
    for encoding in ("utf-8-sig", "utf-16"):
        file = parse_pdb(content.encode(encoding), "made.pdb")
        assert particle_of(file, "made", "made.pdb").positions_angstrom[:, 0].tolist() == [1, 5]


def test_a_line_that_ends_after_the_coordinates_is_read_and_one_within_them_is_quoted():
    assert xs([line(1.0)[:54]]) == [1]
    with pytest.raises(InputError, match=r"columns 31 to 54, not '   1\.000   2'.*'ATOM      1"):
        read([line(1.0)[:42]])


def test_tabs_and_numbers_that_are_not_finite_are_refused_by_name():
    with pytest.raises(InputError, match="not tabs") as caught:
        read(["ATOM\t1\tCA\tALA\tA\t1\t1.0\t2.0\t3.0"])
    assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match="finite"):
        read([line().replace("   0.000", "     nan")])


def copies_of(body: np.ndarray, shifts: list[float]) -> list[str]:
    lines = []
    for number, shift in enumerate(shifts, start=1):
        lines.append(f"MODEL     {number:4d}")
        lines += [line(x + shift, number=str(i)) for i, x in enumerate(body, start=1)]
        lines.append("ENDMDL")
    return lines


def test_models_beside_each_other_are_the_copies_of_an_assembly():
    body = np.array([0.0, 3.8, 7.6, 11.4])
    atoms = read(copies_of(body, [0.0, 50.0, 100.0]))
    assert len(atoms.weights) == 12
    assert atoms.assembly == "3 models as copies"
    assert (atoms.report["operators"], atoms.report["chains"]) == (3, 3)


def test_models_on_each_other_are_an_ensemble_of_which_the_first_is_read():
    body = np.array([0.0, 3.8, 7.6, 11.4])
    for copies in (False, True):
        atoms = read(copies_of(body, [0.0, 0.3, 0.5]), copies=copies)
        assert len(atoms.weights) == 4
        assert "the first of 3 models" in atoms.report["notes"]


def test_models_of_different_chains_are_copies_only_where_the_files_name_says_so():
    lines = ["MODEL        1", line(0.0), line(3.8, number="2"), "ENDMDL"]
    lines += ["MODEL        2", line(50.0, chain="B"), "ENDMDL"]
    assert xs(lines) == [0, 3.8]
    assert xs(lines, copies=True) == [0, 3.8, 50]
