"""The particles that experiments are made with: the paper's two, or any others."""

from dataclasses import dataclass

from cryotwin.imaging.point_groups import parse_point_group
from cryotwin.pipelines.fingerprint import file_digest
from cryotwin.pipelines.structure_lists import structure_name

PAPER_BOX_PX = 116
"""Edge of the paper's images. Noise variances and shifts of the settings refer to it."""

_PAPER_PIXELS_ANGSTROM = {"5j0n": 3.67, "5a1a": 275 / PAPER_BOX_PX}
"""5j0n in its map's pixels; 5a1a in 275 px of 1 A, interpolated to 116 px (section 3.1)."""

_PAPER_RESOLUTIONS_ANGSTROM = {"5j0n": 11.0, "5a1a": 3.0}
"""Of the paper's maps made from models, DESIGN of Chimera's molmap: three voxels."""


@dataclass(frozen=True)
class Target:
    """A particle.

    Attributes:
        name: as figures call it.
        spec: as `cryotwin.imaging.structures.read_structure` takes it.
        symmetry: its point group.
        digest: of the file, if it is one: results of another file are others.
    """

    name: str
    spec: str
    symmetry: str
    digest: str | None

    @classmethod
    def of(cls, spec: str, symmetry: str = "C1") -> "Target":
        """Gives the target of a structure.

        Raises:
            InputError: an unknown point group, or a spec that names nothing.
        """
        return cls(structure_name(spec), spec, parse_point_group(symmetry), file_digest(spec))

    @property
    def field_angstrom(self) -> float | None:
        """Edge of the images; None lets the particle decide, for others than the paper's."""
        pixel = _PAPER_PIXELS_ANGSTROM.get(self.name)
        return None if pixel is None else pixel * PAPER_BOX_PX

    @property
    def resolution_angstrom(self) -> float | None:
        """Of a density made from a model, in the paper's box; None takes the usual one."""
        return _PAPER_RESOLUTIONS_ANGSTROM.get(self.name)
