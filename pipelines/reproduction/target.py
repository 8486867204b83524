"""The particles that experiments are made with: the paper's two, or any others."""

from dataclasses import dataclass

from cryotwin.imaging.errors import InputError
from cryotwin.imaging.point_groups import parse_point_group
from cryotwin.imaging.stopwatch import Stopwatch
from cryotwin.pipelines.fingerprint import file_digest
from cryotwin.pipelines.structure_lists import list_structures, structure_name
from cryotwin.pipelines.subjects import Grid, make_subject

PAPER_BOX_PX = 116
"""Edge of the paper's images. Noise variances and shifts of the settings refer to it."""

_PAPER_PIXELS_ANGSTROM = {"5j0n": 3.67, "5a1a": 275 / PAPER_BOX_PX}
"""5j0n in its map's pixels; 5a1a in 275 px of 1 A, interpolated to 116 px (section 3.1)."""

_PAPER_RESOLUTIONS_ANGSTROM = {"5j0n": 11.0, "5a1a": 3.0}
"""Of the maps that the paper made of models, by Chimera's molmap: three voxels."""


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
        if not spec:
            raise InputError("a structure was expected, not ''")
        return cls(structure_name(spec), spec, parse_point_group(symmetry), file_digest(spec))

    @property
    def identity(self) -> dict[str, str | None]:
        """What results depend on: a file by its content, wherever it lies."""
        spec = self.spec if self.digest is None else None
        return {"name": self.name, "spec": spec, "symmetry": self.symmetry, "digest": self.digest}

    def check(self, box_px: int) -> None:
        """Makes its map once, so that a structure that cannot be used is told before hours of work.

        Raises:
            InputError: there is no such structure, it cannot be used, or it lacks the symmetry.
        """
        (entry,) = list_structures([self.spec])
        aligned = self.symmetry != "C1"
        make_subject(
            entry, Grid(box_px), Stopwatch(), symmetry=self.symmetry, align_symmetry=aligned
        )

    @property
    def field_angstrom(self) -> float | None:
        """Edge of the images; None lets the particle decide, for others than the paper's."""
        pixel = _PAPER_PIXELS_ANGSTROM.get(self.name)
        return None if pixel is None else pixel * PAPER_BOX_PX

    @property
    def resolution_angstrom(self) -> float | None:
        """Of a density made from a model, in the paper's box; None takes the usual one."""
        return _PAPER_RESOLUTIONS_ANGSTROM.get(self.name)
