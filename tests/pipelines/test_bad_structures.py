"""What `generate` says to a structure that it cannot use, through the command line."""

import gzip
import re

import mrcfile
import numpy as np
import pytest

from cryotwin.imaging.maps import write_map
from cryotwin.pipelines.command_line import main

WATERS = """\
data_waters
loop_
_atom_site.group_PDB
_atom_site.id
_atom_site.type_symbol
_atom_site.label_atom_id
_atom_site.label_alt_id
_atom_site.label_comp_id
_atom_site.label_asym_id
_atom_site.label_seq_id
_atom_site.pdbx_PDB_ins_code
_atom_site.Cartn_x
_atom_site.Cartn_y
_atom_site.Cartn_z
_atom_site.occupancy
_atom_site.B_iso_or_equiv
_atom_site.auth_seq_id
_atom_site.auth_asym_id
_atom_site.pdbx_PDB_model_num
HETATM 1 O O . HOH A . ? 1.0 2.0 3.0 1.0 10.0 1 A 1
HETATM 2 O O . HOH A . ? 4.0 2.0 3.0 1.0 10.0 2 A 1
"""


def _no_atoms(folder):
    (folder / "waters.cif").write_text(WATERS)
    return folder / "waters.cif"


def _truncated_gzip(folder):
    whole = gzip.compress(np.random.default_rng(0).bytes(5000).hex().encode())
    (folder / "cut.cif.gz").write_bytes(whole[:1500])
    return folder / "cut.cif.gz"


def _map_with_nan(folder):
    volume = np.random.default_rng(0).standard_normal((16, 16, 16)).astype(np.float32)
    write_map(folder / "hole.mrc", volume, 3.0)
    with mrcfile.open(folder / "hole.mrc", mode="r+") as mrc:
        mrc.data[3, 4, 5] = np.nan
    return folder / "hole.mrc"


def _missing(folder):
    return folder / "nowhere.cif"


def _text(folder):
    (folder / "letter.pdb").write_text("Dear reader,\n")
    return folder / "letter.pdb"


@pytest.mark.parametrize("make", [_no_atoms, _truncated_gzip, _map_with_nan, _missing, _text])
@pytest.mark.filterwarnings("ignore:Data array contains NaN:RuntimeWarning")
def test_a_structure_that_cannot_be_used_is_told_in_one_line(make, tmp_path, capsys):
    path = make(tmp_path)
    before = sorted(tmp_path.iterdir())
    words = ["generate", str(path), "--out", str(tmp_path / "data"), "--size", "32"]
    assert main([*words, "--count", "12"]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1, err
    assert re.match(rf"cryotwin generate: error: .*{re.escape(path.name)}", err), err
    assert sorted(tmp_path.iterdir()) == before
