"""How fast structures are read, and what is kept and dropped of those beside the repository."""

import resource
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from cryotwin.imaging.errors import InputError
from cryotwin.imaging.structures import read_structure

DATA = Path(__file__).parents[2].parent / "shared" / "data"
COLUMNS = (
    *("group_PDB", "id", "type_symbol", "label_atom_id", "label_alt_id", "label_comp_id"),
    *("label_asym_id", "label_entity_id", "label_seq_id", "pdbx_PDB_ins_code"),
    *("Cartn_x", "Cartn_y", "Cartn_z", "occupancy", "B_iso_or_equiv", "pdbx_formal_charge"),
    *("auth_seq_id", "auth_comp_id", "auth_asym_id", "auth_atom_id", "pdbx_PDB_model_num"),
)


def write_protein(path: Path, atoms: int) -> None:
    """Writes an mmCIF file in the form of the wwPDB: 5 atoms a residue, 500 residues a chain."""
    positions = np.random.default_rng(0).uniform(-300, 300, (atoms, 3)).round(3).tolist()
    with open(path, "w") as file:
        file.write("data_big\n#\nloop_\n" + "".join(f"_atom_site.{name}\n" for name in COLUMNS))
        for index, (x, y, z) in enumerate(positions):
            residue, name = index // 5, ("N", "CA", "C", "O", "CB")[index % 5]
            chain, number = f"C{residue // 500}", residue % 500 + 1
            file.write(
                f"ATOM {index + 1} {name[0]} {name} . ALA {chain} 1 {number} ? {x} {y} {z} 1.00 "
                f"30.00 ? {number} ALA {chain} {name} 1\n"
            )
        file.write("#\n")


def test_a_large_mmcif_file(tmp_path, record_result):
    write_protein(tmp_path / "big.cif", 300_000)
    start = time.perf_counter()
    found = read_structure(str(tmp_path / "big.cif"))
    seconds = time.perf_counter() - start
    assert found.report["projected"] == 300_000
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    record_result(f"mmCIF of 300,000 atoms: {seconds:.1f} s, peak memory {peak:.2f} GiB")


@pytest.mark.skipif(not DATA.exists(), reason="needs the data beside the repository")
def test_what_is_kept_and_dropped_of_every_structure(record_result):
    kept, dropped, notes, times, refused = Counter(), Counter(), Counter(), {}, {}
    folders = ("models", "targets", "maps", "assemblies")
    files = sorted(path for name in folders for path in (DATA / name).rglob("*") if path.is_file())
    for path in files:
        start = time.perf_counter()
        try:
            report = read_structure(str(path)).report
        except InputError as error:
            refused[path.name] = str(error)
            continue
        times[path.name] = time.perf_counter() - start
        kept.update(report.get("kept", {}))
        dropped.update(report.get("dropped", {}))
        notes.update({_kind_of(note) for note in report["notes"]})
    slowest = max(times, key=times.__getitem__)
    record_result(f"| files read, of {len(files)}; refused | {len(times)}; {refused or 'none'} |")
    for what, counts in (("kept", kept), ("left out", dropped), ("note", notes)):
        for name, count in counts.most_common():
            record_result(f"| {what}: {name} | {count:,} |")
    record_result(
        f"| seconds, all files; the slowest, {slowest} | "
        f"{sum(times.values()):.1f}; {times[slowest]:.2f} |"
    )
    assert not refused


def _kind_of(note: str) -> str:
    """Leaves numbers and names out of a note, so that alike ones are counted together."""
    words = note.split(":")[0].split()
    return " ".join("N" if any(letter.isdigit() for letter in word) else word for word in words)
