"""However a file is damaged, it is read or refused in one line."""

import gzip
import io
from pathlib import Path

import mrcfile
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cryotwin.imaging.errors import InputError
from cryotwin.imaging.structures import read_structure

FEW = settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])


def small_cif() -> bytes:
    path = Path(__file__).parents[2] / "imaging" / "bundled" / "7cfn.cif.gz"
    text = gzip.decompress(path.read_bytes()).decode()
    start = text.index("_atom_site.group_PDB")
    table = text[text.rindex("loop_", 0, start) :].splitlines(keepends=True)[:60]
    gen = "_pdbx_struct_assembly_gen."
    items = {"assembly_id": "1", "oper_expression": "'(1)'", "asym_id_list": "A,B"}
    matrix = {f"matrix[{i}][{j}]": str(int(i == j)) for i in (1, 2, 3) for j in (1, 2, 3)}
    oper = {"id": "1"} | matrix | {f"vector[{i}]": "0" for i in (1, 2, 3)}
    lines = [f"{gen}{name} {value}\n" for name, value in items.items()]
    lines += [f"_pdbx_struct_oper_list.{name} {value}\n" for name, value in oper.items()]
    return ("data_7CFN\n#\n" + "".join(lines) + "#\n" + "".join(table) + "#\n").encode()


def small_pdb() -> bytes:
    lines = ["REMARK 350 BIOMOLECULE: 1", "REMARK 350 APPLY THE FOLLOWING TO CHAINS: A"]
    lines += [
        f"REMARK 350   BIOMT{i}   1  {float(i == 1)} {float(i == 2)} {float(i == 3)} 0.0"
        for i in (1, 2, 3)
    ]
    lines += ["MODEL        1"]
    lines += [
        f"ATOM  {n:5d}  CA AALA A{n:4d}    {3.8 * n:8.3f}{0:8.3f}{0:8.3f}  1.00 30.00           C"
        for n in range(1, 20)
    ]
    return "\n".join([*lines, "ENDMDL", "END", ""]).encode()


def small_map(path: Path) -> bytes:
    data = np.zeros((16, 17, 18), dtype=np.float32)
    data[5:9, 6:10, 7:12] = 1
    with mrcfile.new(path, data, overwrite=True) as file:
        file.voxel_size = 2.0
    return path.read_bytes()


def small_npz() -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(
        buffer, xyz_dA=np.arange(30, dtype=np.int16).reshape(10, 3), Z=np.full(10, 6)
    )
    return buffer.getvalue()


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("whole")
    return {
        ".cif": small_cif(),
        ".pdb": small_pdb(),
        ".mrc": small_map(folder / "whole.mrc"),
        ".npz": small_npz(),
    }


@pytest.mark.parametrize("kind", [".cif", ".pdb", ".mrc", ".npz"])
def test_the_whole_files_are_read(whole, tmp_path, kind):
    (tmp_path / f"whole{kind}").write_bytes(whole[kind])
    read_structure(str(tmp_path / f"whole{kind}"))


def outcome(path: Path) -> str:
    """Gives what was read, or why not; every other error is the test's."""
    try:
        return f"read {read_structure(str(path)).report['kind']}"
    except InputError as error:
        return str(error)


@FEW
@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # mrcfile, of values near the largest float
@pytest.mark.parametrize("kind", [".cif", ".pdb", ".mrc", ".npz"])
@given(
    end=st.floats(0, 1),
    changes=st.lists(st.tuples(st.floats(0, 1), st.binary(min_size=1, max_size=4)), max_size=3),
)
def test_a_damaged_file_is_read_or_refused_in_one_line(whole, tmp_path, kind, end, changes):
    content = bytearray(whole[kind])
    for place, bytes_ in changes:
        start = int(place * len(content))
        content[start : start + len(bytes_)] = bytes_
    path = tmp_path / f"damaged{kind}"
    path.write_bytes(content[: int(end * len(content)) + 1] if end < 0.9 else content)
    assert outcome(path).isprintable()
