"""Makes the small files that stand for the real structures in the tests.

`python -m cryotwin.datasets.cryotwin_projections.dummy_data` writes them anew into dummy_data/.
"""

import gzip
from pathlib import Path

import numpy as np

from cryotwin.imaging.maps import write_map

FOLDER = Path(__file__).with_name("dummy_data")

_CIF_HEAD = """\
data_DUMMY
loop_
_atom_site.group_PDB
_atom_site.id
_atom_site.type_symbol
_atom_site.label_atom_id
_atom_site.label_alt_id
_atom_site.label_comp_id
_atom_site.label_asym_id
_atom_site.auth_asym_id
_atom_site.label_seq_id
_atom_site.Cartn_x
_atom_site.Cartn_y
_atom_site.Cartn_z
_atom_site.occupancy
_atom_site.pdbx_PDB_model_num
"""


def write_dummy_data(folder: Path) -> None:
    """Writes 5j0n.mrc, a map of six blobs, and 5a1a.cif.gz, a model of 24 carbon atoms."""
    rng = np.random.default_rng(0)
    write_map(folder / "5j0n.mrc", _blobs(rng, shape=(12, 10, 14)), 3.67)
    positions = rng.uniform(-8, 8, (24, 3))
    rows = [
        f"ATOM {n} C CA . ALA A A {n} {x:.3f} {y:.3f} {z:.3f} 1.00 1"
        for n, (x, y, z) in enumerate(positions, start=1)
    ]
    model = _CIF_HEAD + "\n".join(rows) + "\n"
    # Without a time stamp the same text gives the same file.
    (folder / "5a1a.cif.gz").write_bytes(gzip.compress(model.encode(), mtime=0))


def _blobs(rng: np.random.Generator, shape: tuple[int, int, int]) -> np.ndarray:
    grid = np.stack(np.meshgrid(*(np.arange(length) for length in shape), indexing="ij"), axis=-1)
    centres = np.array(shape) * rng.uniform(0.35, 0.65, (6, 3))
    squares = ((grid[..., None, :] - centres) ** 2).sum(axis=-1)
    return np.exp(-squares / 2).sum(axis=-1).astype(np.float32)


if __name__ == "__main__":
    write_dummy_data(FOLDER)
