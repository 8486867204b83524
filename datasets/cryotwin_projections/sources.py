"""The two proteins of the paper: where their files are, and the grid that it has them on."""

from dataclasses import dataclass, replace
from pathlib import Path

from cryotwin.imaging.archives import ARCHIVE
from cryotwin.imaging.atoms import Atoms
from cryotwin.imaging.fourier import resize_volume
from cryotwin.imaging.maps import DensityMap
from cryotwin.imaging.structures import read_structure
from cryotwin.imaging.volumes import StructureVolume, structure_volume

_PAPERS_REPOSITORY = (
    "https://raw.githubusercontent.com/JelenaBanjac/protein-reconstruction/"
    "9ffebaf7c2dda1f90cbf41832225e8716162a524"
)


@dataclass(frozen=True)
class Source:
    """A structure's file, and the grid on which its density is made.

    Attributes:
        name: the structure's name, part of every key.
        url: where the file is downloaded from.
        file: its name in a manual folder, also in checksums.tsv.
        origin: what it is, for people.
        grid_px: edge of the box in which the density is made.
        grid_angstrom: edge of a voxel there.
        resolution_angstrom: of an atomic model's density; None for a map.
    """

    name: str
    url: str
    file: str
    origin: str
    grid_px: int
    grid_angstrom: float
    resolution_angstrom: float | None = None

    def pixel_size_angstrom(self, size: int) -> float:
        """Gives the edge of a pixel when the box is `size` pixels."""
        return self.grid_px * self.grid_angstrom / size


SOURCES = {
    source.name: source
    for source in (
        Source(
            name="5j0n",
            url=f"{_PAPERS_REPOSITORY}/data/5j0n.mrc",
            file="5j0n.mrc",
            origin="PDB 5J0N, the density map in the repository of the paper",
            grid_px=116,
            grid_angstrom=3.67,
        ),
        Source(
            name="5a1a",
            url=f"{ARCHIVE}/pdb/data/structures/divided/mmCIF/a1/5a1a.cif.gz",
            file="5a1a.cif.gz",
            origin="PDB 5A1A",
            grid_px=275,
            grid_angstrom=1.0,
            resolution_angstrom=3.0,
        ),
    )
}
"""The proteins by name. Their grids are those of the paper's section 3.1: a box as wide as the
diagonal of its maps (69 x 57 x 75 voxels of 3.67 A; 110 x 155 x 199 of 1 A)."""


def read_source(source: Source, path: str | Path) -> Atoms | DensityMap:
    """Reads a structure's file.

    Raises:
        InputError: the file cannot be used.
    """
    return replace(read_structure(str(path)), name=source.name, source=source.origin)


def source_volume(source: Source, structure: Atoms | DensityMap, size: int) -> StructureVolume:
    """Puts the density of a structure that was read into a box of `size` pixels.

    Where the box is smaller than the source's grid, the density is cropped in Fourier space, as
    the paper's projections of 275 px were interpolated to 116 px.

    Raises:
        InputError: it does not fit.
    """
    made = structure_volume(
        structure,
        size=source.grid_px,
        pixel_size_angstrom=source.grid_angstrom,
        resolution_angstrom=source.resolution_angstrom,
    )
    if size == source.grid_px:
        return made
    return replace(
        made,
        volume=resize_volume(made.volume, size),
        pixel_size_angstrom=source.pixel_size_angstrom(size),
    )
