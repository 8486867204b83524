import pickle
from collections import Counter
from importlib import resources

import numpy as np
import pytest
from Bio.Data.IUPACData import protein_weights
from Bio.Data.PDBData import protein_letters_3to1

from cryotwin.imaging.density import density_map
from cryotwin.imaging.errors import InputError
from cryotwin.imaging.file_content import decompress
from cryotwin.imaging.mmcif_files import parse_mmcif
from cryotwin.imaging.npz_files import ELECTRONS_PER_DALTON
from cryotwin.imaging.structures import Atoms, read_structure
from cryotwin.imaging.volumes import structure_volume

# Electrons of the heavy atoms of a residue: 27 of N, C, C and O, and those of the side chain.
BACKBONE = 6 + 6 + 7 + 8
BACKBONE_AND_SIDE_CHAIN = {
    letter: BACKBONE + 6 * carbons + 7 * nitrogens + 8 * oxygens + 16 * sulphurs
    for letter, carbons, nitrogens, oxygens, sulphurs in (
        *(("G", 0, 0, 0, 0), ("A", 1, 0, 0, 0), ("V", 3, 0, 0, 0), ("L", 4, 0, 0, 0)),
        *(("I", 4, 0, 0, 0), ("P", 3, 0, 0, 0), ("F", 7, 0, 0, 0), ("M", 3, 0, 0, 1)),
        *(("W", 9, 1, 0, 0), ("Y", 7, 0, 1, 0), ("S", 1, 0, 1, 0), ("T", 2, 0, 1, 0)),
        *(("C", 1, 0, 0, 1), ("N", 2, 1, 1, 0), ("Q", 3, 1, 1, 0), ("D", 2, 0, 2, 0)),
        *(("E", 3, 0, 2, 0), ("K", 4, 1, 0, 0), ("R", 4, 3, 0, 0), ("H", 4, 2, 0, 0)),
    )
}

XYZ = np.array([[10, -20, 30], [15, 0, 45], [-100, 7, 0]], dtype=np.int16)


def read(path, **arrays) -> Atoms:
    np.savez_compressed(path, **arrays)
    atoms = read_structure(str(path))
    assert isinstance(atoms, Atoms)
    return atoms


def test_atoms_come_in_angstrom_without_hydrogen(tmp_path):
    atoms = read(tmp_path / "a.npz", xyz_dA=XYZ, Z=np.array([6, 1, 16], dtype=np.uint8))
    np.testing.assert_allclose(atoms.positions_angstrom, [[1, -2, 3], [-10, 0.7, 0]])
    assert atoms.weights.tolist() == [6, 16]
    assert (atoms.name, atoms.spread_angstrom) == ("a", 0)
    assert (atoms.report["kept"], atoms.report["dropped"]) == ({"atoms": 2}, {"hydrogen": 1})


def test_residues_scatter_by_their_mass(tmp_path):
    masses = np.array([57.05, 186.2, 113.2], dtype=np.float16)
    atoms = read(tmp_path / "r.npz", xyz_dA=XYZ, mass_Da=masses)
    np.testing.assert_allclose(atoms.weights, masses.astype(float) * ELECTRONS_PER_DALTON)
    assert atoms.report["kept"] == {"residues": 3}
    assert atoms.spread_angstrom > 1


def test_electrons_per_dalton_are_those_of_the_bundled_proteins_amino_acids():
    text = resources.files("cryotwin.imaging") / "bundled" / "7cfn.cif.gz"
    table = next(parse_mmcif(decompress(text.read_bytes(), "7cfn"), "7cfn").models)
    names = {
        (chain, residue): protein_letters_3to1.get(name)
        for chain, residue, name in zip(
            table.chains, table.residues, table.residue_names, strict=True
        )
    }
    counts = Counter(filter(None, names.values()))
    mass = sum(count * (protein_weights[letter] - 18.015) for letter, count in counts.items())
    electrons = sum(count * BACKBONE_AND_SIDE_CHAIN[letter] for letter, count in counts.items())
    assert electrons / mass == pytest.approx(ELECTRONS_PER_DALTON, rel=2e-3)


def test_residues_look_like_their_atoms_where_detail_is_coarse(tmp_path):
    atoms = read_structure("7cfn")
    assert isinstance(atoms, Atoms)
    # Eight heavy atoms stand for a residue here: the chain's order keeps neighbours together.
    groups = np.arange(len(atoms.weights)) // 8
    weights = np.bincount(groups, atoms.weights)
    centres = np.stack(
        [np.bincount(groups, atoms.weights * x) / weights for x in atoms.positions_angstrom.T], 1
    )
    residues = read(
        tmp_path / "7cfn.npz",
        xyz_dA=(centres * 10).round().astype(np.int16),
        mass_Da=(weights / ELECTRONS_PER_DALTON).astype(np.float32),
    )
    arguments = {"resolution_angstrom": 15.0, "pixel_size_angstrom": 4.0, "size": 48}
    fine, coarse = density_map(atoms, **arguments), density_map(residues, **arguments)
    assert np.corrcoef(fine.ravel(), coarse.ravel())[0, 1] > 0.99
    assert coarse.sum() == pytest.approx(fine.sum(), rel=1e-2)


def test_a_wider_point_still_fits_the_box_that_is_chosen_for_it(tmp_path):
    residues = read(tmp_path / "r.npz", xyz_dA=XYZ, mass_Da=np.full(3, 110, np.float16))
    assert structure_volume(residues, size=32).volume.any()


BAD = {
    "no_xyz": ({"Z": np.array([6])}, "expected xyz_dA"),
    "no_weights": ({"xyz_dA": XYZ}, "expected Z or mass_Da"),
    "flat": ({"xyz_dA": XYZ.ravel(), "Z": np.full(9, 6)}, r"shape \(n, 3\)"),
    "empty": ({"xyz_dA": XYZ[:0], "Z": np.zeros(0)}, r"shape \(n, 3\)"),
    "text": ({"xyz_dA": XYZ.astype("U4"), "Z": np.full(3, 6)}, "must be numbers"),
    "short": ({"xyz_dA": XYZ, "Z": np.full(2, 6)}, "Z must be 3 numbers"),
    "nan": ({"xyz_dA": np.full((3, 3), np.nan), "Z": np.full(3, 6)}, "finite"),
    "zero": ({"xyz_dA": XYZ, "Z": np.array([6, 0, 6])}, "must be 1 to 118, not 0"),
    "heavy": ({"xyz_dA": XYZ, "mass_Da": np.array([1, np.inf, 2])}, "not inf"),
    "hydrogen": ({"xyz_dA": XYZ, "Z": np.ones(3)}, "holds no atoms"),
    "objects": ({"xyz_dA": XYZ, "Z": np.array([6, "C", None], dtype=object)}, "allow_pickle"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_arrays_are_refused_in_one_line(tmp_path, name):
    arrays, message = BAD[name]
    path = tmp_path / f"{name}.npz"
    np.savez(path, **arrays)
    with pytest.raises(InputError, match=message) as caught:
        read_structure(str(path))
    assert f"{name}.npz" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_is_no_npz_file_is_refused_and_nothing_is_unpickled(tmp_path):
    np.savez(tmp_path / "whole.npz", xyz_dA=XYZ, Z=np.full(3, 6))
    content = (tmp_path / "whole.npz").read_bytes()
    np.save(tmp_path / "array.npy", XYZ)
    files = {
        "cut": content[:-40],
        "text": b"hello",
        "pickle": pickle.dumps({"xyz_dA": XYZ}),
        "array": (tmp_path / "array.npy").read_bytes(),
    }
    for name, data in files.items():
        (tmp_path / f"{name}.npz").write_bytes(data)
        with pytest.raises(InputError, match=f"{name}.npz is not an .npz file of coordinates"):
            read_structure(str(tmp_path / f"{name}.npz"))
