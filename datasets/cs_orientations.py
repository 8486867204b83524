"""Orientations as a cryoSPARC .cs file: the table that came in, with new poses."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial.transform import Rotation

from cryotwin.datasets.image_stacks import parse_image_name
from cryotwin.datasets.particle_set import ParticleSet
from cryotwin.datasets.star_files import lasting_names
from cryotwin.imaging.atomic import atomic_output
from cryotwin.imaging.errors import InputError
from cryotwin.imaging.rotations import quaternions_to_matrices

CONFIDENCE_FIELD = "cryotwin/confidence"
"""Our field with how far an orientation can be trusted, in [0, 1]."""

_ALIGNMENT_FIELDS: dict[str, tuple[Any, ...]] = {
    "split": ("<u4",),
    "shift": ("<f4", (2,)),
    "pose": ("<f4", (3,)),
    "psize_A": ("<f4",),
    "error": ("<f4",),
    "error_min": ("<f4",),
    "resid_pow": ("<f4",),
    "slice_pow": ("<f4",),
    "image_pow": ("<f4",),
    "cross_cor": ("<f4",),
    "alpha": ("<f4",),
    "alpha_min": ("<f4",),
    "weight": ("<f4",),
    "pose_ess": ("<f4",),
    "shift_ess": ("<f4",),
    "class_posterior": ("<f4",),
    "class": ("<u4",),
    "class_ess": ("<f4",),
}
"""The fields of cryoSPARC's group alignments3D, with their types."""

_SURE = {"alpha": 1.0, "class_posterior": 1.0, "class_ess": 1.0}
"""One class and the scale of the images as it is; all other scores, which only cryoSPARC's own
noise model defines, are 0, as it leaves them itself before a refinement."""


def write_orientations_cs(
    path: str | Path,
    particles: ParticleSet,
    quaternions: ArrayLike,
    shifts_angstrom: ArrayLike,
    *,
    halves: ArrayLike | None = None,
    confidence: ArrayLike | None = None,
    lies_in: Path | None = None,
) -> None:
    """Writes orientations as a .cs file, whole or not at all.

    All fields of the file that the particles came from are kept, in their order. The group
    alignments3D is replaced, or added: `pose` is the rotation vector of R^T, `shift` moves the
    image onto the reference, in pixels of `psize_A`, `split` is the half. Its scores are those of
    an alignment that cryoSPARC has not scored. A stack that would not be found from the new
    file's place is named by its whole path.

    Args:
        path: the file to write.
        particles: P particles that were read from a .cs file.
        quaternions: (P, 4) orientations, scalar first.
        shifts_angstrom: (P, 2) as (x, y), the displacement t of equation (1).
        halves: (P,) 0 or 1, the half that each particle belongs to.
        confidence: (P,) how far each orientation can be trusted.
        lies_in: the folder from which stacks must be found, if the file will be moved there.

    Raises:
        InputError: the particles came from no .cs file, or a length does not fit.
    """
    path = Path(path)
    if particles.rows is None:
        raise InputError(f"{path}: the particles of {particles.source} came from no .cs file")
    fields = {name: particles.rows[name] for name in particles.rows.dtype.names or ()}
    fields |= _stacks(particles, lies_in or path.parent)
    fields |= _alignments(particles, quaternions, shifts_angstrom, halves)
    if confidence is not None:
        fields[CONFIDENCE_FIELD] = np.asarray(confidence, np.float32)
    for name, values in fields.items():
        if len(values) != len(particles.rows):
            raise InputError(f"{name} must have {len(particles.rows)} rows, not {len(values)}")
    with atomic_output(path) as temporary, temporary.open("wb") as file:
        np.save(file, _table(fields), allow_pickle=False)


def _alignments(
    particles: ParticleSet,
    quaternions: ArrayLike,
    shifts_angstrom: ArrayLike,
    halves: ArrayLike | None,
) -> dict[str, NDArray[Any]]:
    """Gives all fields of alignments3D."""
    count = len(particles)
    pixel_sizes = particles.pixel_sizes_angstrom
    if pixel_sizes is None:
        pixel_sizes = np.full(count, particles.pixel_size_angstrom)
    rotations = np.swapaxes(quaternions_to_matrices(quaternions), -1, -2)
    known = {
        "pose": Rotation.from_matrix(rotations).as_rotvec(),
        "shift": -np.asarray(shifts_angstrom, np.float64) / pixel_sizes[:, None] + 0.0,
        "psize_A": pixel_sizes,
    } | {name: np.full(count, value) for name, value in _SURE.items()}
    if halves is not None:
        known["split"] = np.asarray(halves)
    fields = {}
    for name, spec in _ALIGNMENT_FIELDS.items():
        empty = np.zeros(count, np.dtype(spec if len(spec) > 1 else spec[0]))
        fields[f"alignments3D/{name}"] = known[name].astype(spec[0]) if name in known else empty
    return fields


def _stacks(particles: ParticleSet, folder: Path) -> dict[str, NDArray[Any]]:
    """Gives what changes in the group blob: stacks that are found from `folder`, signs in use."""
    fields: dict[str, NDArray[Any]] = {}
    names = lasting_names(particles, folder)
    if names != particles.image_names:
        fields["blob/path"] = np.array([parse_image_name(name)[1].encode() for name in names])
    if particles.signs is not None:
        fields["blob/sign"] = particles.signs.astype(np.float32)
    return fields


def _table(fields: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
    """Joins fields (P, ...) into a structured array (P,)."""
    types = [(name, values.dtype, values.shape[1:]) for name, values in fields.items()]
    table = np.empty(len(next(iter(fields.values()))), types)
    for name, values in fields.items():
        table[name] = values
    return table
