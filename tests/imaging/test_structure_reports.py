import json

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from cryotwin.imaging.assemblies import AssemblyPart
from cryotwin.imaging.atom_tables import AtomTable, CoordinateFile
from cryotwin.imaging.errors import InputError
from cryotwin.imaging.particles import particle_of
from cryotwin.imaging.residues import KINDS, residue_kind
from cryotwin.imaging.structure_reports import DROPPED, summarise_report
from cryotwin.imaging.structures import read_structure

ROWS = st.tuples(
    st.sampled_from(["C", "N", "H", "D", "X", "ZN", ""]),
    st.sampled_from(["CA", "N", "H1", "ZN"]),
    st.sampled_from(["ALA", "DG", "HOH", "ZN", "NAG", "UNX", "MSE"]),
    st.sampled_from(["1", "2", ""]),
    st.sampled_from(["", "A", "B"]),
    st.sampled_from(["P", "Q", "R"]),
    st.tuples(*[st.integers(-40, 40)] * 3),
)


def table_of(rows) -> AtomTable:
    symbols, names, residue_names, residues, altlocs, chains, positions = map(
        list, zip(*rows, strict=True)
    )
    return AtomTable(
        np.asarray(positions, dtype=float), symbols, names, residue_names, residues, altlocs, chains
    )


@given(rows=st.lists(ROWS, min_size=1, max_size=40), chains=st.sampled_from(["", "P", "PQ", "Z"]))
def test_kept_and_dropped_add_up_to_the_atoms_of_the_file(rows, chains):
    operators = np.stack([np.eye(4)[:3], np.eye(4)[:3] + [[0, 0, 0, 99]] * 3])
    parts = [AssemblyPart(frozenset(chains), operators)] if chains else []
    file = CoordinateFile(iter([table_of(rows)]), 1, "1" if chains else "", len(parts), parts)
    try:
        atoms = particle_of(file, "made", "made")
    except InputError:
        return  # nothing but water and hydrogen
    report = atoms.report
    kept, dropped = report["kept"], report["dropped"]
    assert report["atoms"] == len(rows) == sum(kept.values()) + sum(dropped.values())
    assert set(kept) <= set(KINDS)
    assert set(dropped) <= set(DROPPED)
    assert report["projected"] == len(atoms.weights) == report["operators"] * sum(kept.values())
    assert dropped.get("water", 0) == sum(row[2] == "HOH" for row in rows)
    assert json.loads(json.dumps(report)) == report


def test_the_bundled_structure_reports_its_water_and_its_conformations():
    report = read_structure("7cfn").report
    assert report["kept"] == {"protein": 7979, "ligand": 110}
    assert report["dropped"] == {"water": 1, "other conformations": 22}
    assert summarise_report(report) == (
        "kept 7,979 protein, 110 ligand; left out 1 water, 22 other conformations; asymmetric unit"
    )


def test_residues_are_told_by_their_names():
    kinds = {
        "protein": ["ALA", "MSE", "SEP", "HSD", "UNK", "GLX"],
        "nucleic acid": ["A", "DG", "PSU", "ADE", "DA5", "U", "I"],
        "water": ["HOH", "DOD", "TIP3"],
        "ion": ["ZN", "NA", "CL", "FE2", "MG"],
        "ligand": ["ATP", "NAG", "HEM", "UNL"],
        "unknown": ["UNX", "DUM"],
    }
    for kind, names in kinds.items():
        assert {name: residue_kind(name) for name in names} == dict.fromkeys(names, kind)


def test_what_an_assembly_leaves_out_or_lacks_is_noted():
    rows = [("C", "CA", "ALA", str(n), "", chain, (0, 0, 9 * n)) for n, chain in enumerate("PPQ")]
    parts = [AssemblyPart(frozenset("PZ"), np.eye(4)[None, :3])]
    file = CoordinateFile(iter([table_of(rows)]), 4, "1", 2, parts)
    report = particle_of(file, "made", "made").report
    assert report["dropped"] == {"outside the assembly": 1}
    assert report["notes"] == [
        "the first of 4 models",
        "the first of 2 assemblies leaves out some of the file's chains",
        "the assembly names chains that the file lacks: Z",
        "a trace: one atom a residue, each projected as that atom",
    ]
