"""Views of the paper's two proteins at its box and pixel sizes, for benchmarks of recovery."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from cryotwin.imaging.microscope import snr_from_db, unit_projections
from cryotwin.imaging.projection import project_volume
from cryotwin.imaging.rotations import quaternions_to_matrices, uniform_quaternions
from cryotwin.imaging.structures import read_structure
from cryotwin.imaging.symmetry_axes import align_symmetry_axes
from cryotwin.imaging.volumes import structure_volume

SIZE = 116
LARGEST_SHIFT_PX = 0.05 * SIZE
SYMMETRIES = {"5j0n": "C1", "5a1a": "D2", "7cfn": "C1"}
PIXEL_SIZES_ANGSTROM = {"5j0n": 3.67, "5a1a": 2.371}
_TARGETS = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "targets"
_FILES = {"5j0n": _TARGETS / "5j0n.mrc", "5a1a": _TARGETS / "5a1a.cif.gz"}


def target_views(
    name: str, count: int, *, pixel_size_angstrom: float | None = None, seed: int = 0
) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Gives clean projections (P, 116, 116) of variance 1 and their orientations (P, 4).

    Args:
        name: "5j0n", "5a1a" or "7cfn".
        count: P.
        pixel_size_angstrom: by default the paper's.
        seed: of the orientations.
    """
    volume = target_volume(name, pixel_size_angstrom=pixel_size_angstrom)
    quaternions = uniform_quaternions(count, np.random.default_rng(seed))
    return project_volume(volume, quaternions_to_matrices(quaternions)), quaternions


def target_volume(name: str, *, pixel_size_angstrom: float | None = None) -> NDArray[np.float32]:
    """Gives the particle (116, 116, 116) that `target_views` shows, on RELION's axes."""
    file = _FILES.get(name, name)
    if isinstance(file, Path) and not file.is_file():
        pytest.skip(f"no {file.name} here")
    pixel_size = pixel_size_angstrom or PIXEL_SIZES_ANGSTROM[name]
    found = structure_volume(
        read_structure(str(file)), size=SIZE, pixel_size_angstrom=pixel_size
    ).volume
    if SYMMETRIES[name] != "C1":
        found = align_symmetry_axes(found, SYMMETRIES[name])
    return unit_projections(found, name)[0]


def with_noise(
    images: NDArray[np.float32], snr_db: float | None, rng: np.random.Generator
) -> NDArray[np.float32]:
    """Adds white noise to images of variance 1; None adds none."""
    if snr_db is None:
        return images
    noise = rng.standard_normal(images.shape, np.float32)
    return images + noise / np.float32(np.sqrt(snr_from_db(snr_db)))
