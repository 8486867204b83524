"""Every structure of the data beside the repository is read, or refused with a true reason."""

import csv
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from cryotwin.imaging.density import centre_of_mass
from cryotwin.imaging.maps import DensityMap
from cryotwin.imaging.structures import Atoms, read_structure

DATA = Path(__file__).parents[2].parent / "shared" / "data"
pytestmark = pytest.mark.skipif(
    not (DATA / "structures.csv").exists(), reason="needs the data beside the repository"
)

REFUSED: Mapping[str, str] = {}
"""Files that cannot be read, and why: none."""

ONE_ASSEMBLY_OF_SEVERAL = {"2p4e", "3zyb", "5kc1", "6wg6"}
"""The table has the whole file, because assembly 1 alone is lighter than its 60 kDa."""

OTHER_COUNTS = {
    "1igt": 24,  # two TYR of one number that lost their insertion codes: the table has one
    "1kp0": 148,  # atoms that are N or O, of unknown element X: the table drops them
    "1l2q": -102,  # PYL and XPL in one place, without altlocs, in six copies: the table has both
    "2bwx": -28,  # CYS and CSO in one place, in four copies: the table has both
    "2nwl": -4002,  # dummy atoms that draw a membrane: the table projects them
    "3dl7": -28,  # SEN and SUN in one place, twice: the table has both
}
"""Heavy atoms that are read, less those of the table, where they differ."""


def table() -> dict[str, dict[str, str]]:
    with open(DATA / "structures.csv", newline="") as file:
        return {row["id"]: row for row in csv.DictReader(file)}


def largest_radius(atoms: Atoms) -> float:
    """The table's: largest distance from the centre of mass, rounded to 0.1 A."""
    return float(np.linalg.norm(atoms.positions_angstrom - centre_of_mass(atoms), axis=1).max())


def check_report(atoms: Atoms) -> None:
    report = atoms.report
    counted = sum(report["kept"].values()) + sum(report["dropped"].values())
    assert report["atoms"] == counted
    assert report["projected"] == len(atoms.positions_angstrom) == len(atoms.weights)
    assert np.isfinite(atoms.positions_angstrom).all()
    assert (atoms.weights > 0).all()


def test_every_model_is_read_as_the_table_has_it_or_the_difference_is_known():
    rows = {row["model_file"]: row for row in table().values() if row["model_file"]}
    files = [*(DATA / "models").rglob("*.gz"), *(DATA / "targets").glob("*.cif.gz")]
    assert {str(path.relative_to(DATA)) for path in files} == set(rows)
    differences = {}
    for path in files:
        row = rows[str(path.relative_to(DATA))]
        atoms = read_structure(str(path))
        assert isinstance(atoms, Atoms)
        check_report(atoms)
        difference = len(atoms.weights) - int(row["heavy_atoms"])
        if row["id"] in ONE_ASSEMBLY_OF_SEVERAL:
            outside = atoms.report["dropped"]["outside the assembly"]
            assert outside == -difference
            assert "leaves out some of the file's chains" in atoms.report["notes"][0]
            continue
        assert atoms.report["operators"] == int(row["operators"])
        assert largest_radius(atoms) == pytest.approx(float(row["rmax_angstrom"]), abs=0.15)
        if difference:
            differences[row["id"]] = difference
    assert differences == OTHER_COUNTS


def test_every_assembly_is_read():
    rows = {row["assembly_file"]: row for row in table().values()}
    files = sorted((DATA / "assemblies").rglob("*.npz"))
    assert {str(path.relative_to(DATA)) for path in files} == set(rows)
    for path in files:
        row = rows[str(path.relative_to(DATA))]
        atoms = read_structure(str(path))
        assert isinstance(atoms, Atoms)
        check_report(atoms)
        assert largest_radius(atoms) == pytest.approx(float(row["rmax_angstrom"]), rel=0.03)
        if row["level"] == "all-atom":
            assert len(atoms.weights) == int(row["heavy_atoms"])
        else:
            assert len(atoms.weights) == int(row["residues"])


# Shape (z, y, x), voxel (x, y, z), and mean of the particle's voxels, as read off the headers with
# mrcfile and off the projections by eye.
MAPS = {
    "maps/emd_1883_rnapolii.mrc": ((70, 70, 70), (3.71, 3.71, 3.71), (35.2, 35.1, 34.9)),
    "maps/emd_3400_86.mrc": ((84, 68, 90), (2.867, 2.867, 2.867), (44.2, 35.8, 41.7)),
    "maps/emd_5625.map": ((56, 56, 56), (4.23, 4.23, 4.23), (28.9, 28.6, 28.8)),
    "targets/5j0n.mrc": ((69, 57, 75), (3.667, 3.667, 3.667), (36.5, 29.8, 34.6)),
}


def test_every_map_is_read_as_it_is_stored():
    files = [*(DATA / "maps").iterdir(), *(DATA / "targets").glob("*.mrc")]
    assert {str(path.relative_to(DATA)) for path in files} == set(MAPS) | set(REFUSED)
    for name, (shape, voxel, middle) in MAPS.items():
        density = read_structure(str(DATA / name))
        assert isinstance(density, DensityMap)
        assert density.data.shape == shape
        assert density.voxel_size_angstrom == pytest.approx(voxel, abs=1e-3)
        assert density.report["contrast"] == "as stored"
        assert density.report["notes"] == []
        found = np.argwhere(density.particle).mean(axis=0)
        np.testing.assert_allclose(found, middle, atol=0.1)
