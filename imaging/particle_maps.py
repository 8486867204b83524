"""A map as a particle: bright, in empty surroundings.

Files of maps differ in what they call zero, and in sign: in raw electron micrographs, and in
reconstructions from them as they are, matter is dark. Projections need the density of matter above
that of the solvent.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from cryotwin.imaging.maps import (
    DensityMap,
    box_faces,
    is_noisy,
    read_map,
)

SMOOTHING_VOXELS = 2.0
"""Sigma of the Gaussian that takes noise out before the sign is judged."""

CLEAR_ASYMMETRY = 1.5
"""Asymmetry from which on the sign is clear: particles have 2 to 5, noise alone up to 1.5."""

SMALLEST_BOX = 16
"""Voxels along the shortest edge, below which too little is left to judge."""

HIGHEST_SOLVENT = 0.05
"""Solvent further from zero than this share of the particle's density is put to zero."""


@dataclass(frozen=True)
class Contrast:
    """What tells a particle's sign.

    Attributes:
        solvent: the median of the values on the box's faces.
        asymmetry: the third moment about the solvent over the 3/2 power of the second, of the
            map without its finest detail: positive where matter is bright, 0 in a box that is
            too small to tell.
    """

    solvent: float
    asymmetry: float

    @property
    def verdict(self) -> str:
        """One of "bright", "dark" and "unclear"."""
        if abs(self.asymmetry) < CLEAR_ASYMMETRY:
            return "unclear"
        return "bright" if self.asymmetry > 0 else "dark"


def measure_contrast(data: NDArray[np.float32]) -> Contrast:
    """Judges whether matter is bright or dark in a map (z, y, x).

    Density is concentrated and solvent is spread out, so large deviations from the solvent are
    those of matter. Noise, whose deviations have either sign, is smoothed away first.
    """
    solvent = float(np.median(box_faces(data)))
    scale = float(np.abs(data - np.float32(solvent)).max())
    if min(data.shape) < SMALLEST_BOX or not scale > 0:
        return Contrast(solvent, 0.0)
    smooth = ndimage.gaussian_filter((data - np.float32(solvent)) / scale, SMOOTHING_VOXELS)
    power = float(np.mean(smooth**2, dtype=np.float64))
    asymmetry = float(np.mean(smooth**3, dtype=np.float64)) / power**1.5
    return Contrast(solvent, asymmetry)


def read_particle_map(
    path: str | Path, *, name: str | None = None, source: str | None = None
) -> DensityMap:
    """Reads a map to project: as `read_map`, then `brighten`.

    Raises:
        InputError: as `read_map`.
    """
    return brighten(read_map(path, name=name, source=source))


def brighten(density_map: DensityMap) -> DensityMap:
    """Turns the sign of a map in which matter is dark, and puts its solvent to zero.

    A map whose sign is not clear, or whose solvent is near zero, keeps its values. What was done
    stands in the report: "contrast" ("as stored" or "inverted"), "solvent_level" (of the file,
    its median on the faces of the box), "solvent_subtracted", "asymmetry" and "notes".
    """
    data = density_map.data
    contrast = measure_contrast(data)
    dark = contrast.verdict == "dark"
    peak = float(np.percentile(np.abs(data - contrast.solvent), 99.9))
    offset = abs(contrast.solvent) > HIGHEST_SOLVENT * peak > 0
    if offset:
        data = data - np.float32(contrast.solvent)
    if dark:
        data = -data
    notes = []
    if dark:
        notes.append("matter was dark: the sign was turned")
    if contrast.verdict == "unclear":
        notes.append("neither bright nor dark matter stands out: the sign was kept")
    if offset:
        notes.append(f"the solvent's level of {contrast.solvent:.4g} was subtracted")
    report = {
        **density_map.report,
        "contrast": "inverted" if dark else "as stored",
        "asymmetry": round(contrast.asymmetry, 3),
        "solvent_level": contrast.solvent,
        "solvent_subtracted": bool(offset),
        "notes": notes,
    }
    bright = replace(density_map, data=data, report=report)
    notes += _notes_on_particle(bright)
    return bright


def _notes_on_particle(density_map: DensityMap) -> list[str]:
    """Tells what of the particle's surroundings would show in projections."""
    if not density_map.data.max() > max(float(density_map.data.min()), 0.0):
        return []  # nothing to mask: an error elsewhere says so
    notes = []
    if is_noisy(density_map.data):
        notes.append("the solvent is noisy, and is projected with the particle")
    if box_faces(density_map.particle).any():
        notes.append("the particle reaches the faces of its box: parts of it may be cut off")
    return notes
