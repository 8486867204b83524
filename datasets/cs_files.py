"""cryoSPARC's .cs files: NumPy structured arrays, one row a particle."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from cryotwin.datasets.image_stacks import format_image_name, read_frames
from cryotwin.datasets.particle_set import ParticleSet, common_pixel_size
from cryotwin.datasets.star_tables import optics_groups
from cryotwin.imaging.errors import InputError
from cryotwin.imaging.rotations import matrices_to_quaternions

Array = NDArray[np.floating]

_SHARED = {
    "rlnVoltage": "ctf/accel_kv",
    "rlnSphericalAberration": "ctf/cs_mm",
    "rlnAmplitudeContrast": "ctf/amp_contrast",
}
_OWN = {"rlnDefocusU": "ctf/df1_A", "rlnDefocusV": "ctf/df2_A", "rlnCtfBfactor": "ctf/bfactor"}
_OWN_RAD = {"rlnDefocusAngle": "ctf/df_angle_rad", "rlnPhaseShift": "ctf/phase_shift_rad"}


def read_cs(path: str | Path, *, mixed_pixel_sizes: bool = False) -> ParticleSet:
    """Reads the particles that a cryoSPARC .cs file lists, with their images.

    Poses are taken from `alignments3D`: a rotation vector whose rotation is the transpose of our
    R, and a shift in pixels that moves the image onto the reference, as RELION's origin does.
    Images are multiplied by `blob/sign`, so that particles are bright. Keys are image names, as
    for a .star file of the same stacks.

    Args:
        path: the file.
        mixed_pixel_sizes: let particles of several pixel sizes pass.

    Raises:
        InputError: when it is no .cs file of particles, a stack is missing, or pixel sizes or
            image sizes differ and may not.
    """
    path = Path(path)
    table = _load(path)
    pixel_sizes = np.asarray(table["blob/psize_A"], dtype=np.float64)
    pixel_size = common_pixel_size(pixel_sizes, path, mixed=mixed_pixel_sizes)
    stacks = [_text(name).removeprefix(">") for name in table["blob/path"]]
    frames = list(zip((int(index) for index in table["blob/idx"]), stacks, strict=True))
    names = [format_image_name(frame, stack) for frame, stack in frames]
    if len(set(names)) < len(names):
        raise InputError(f"{path}: an image is listed twice, each particle must be listed once")
    images, found = read_frames(frames, listed_in=path)
    signs = None
    if "blob/sign" in _fields(table):
        signs = np.where(table["blob/sign"] < 0, np.float32(-1), np.float32(1))
        images *= signs[:, None, None]
    quaternions, shifts = _poses(path, table, pixel_sizes)
    optics, columns = _microscope(table)
    return ParticleSet(
        images=images,
        pixel_size_angstrom=pixel_size,
        keys=names,
        quaternions=quaternions,
        shifts_angstrom=shifts,
        source=str(path),
        image_names=names,
        stacks=found,
        optics=optics,
        columns=columns,
        rows=table,
        signs=signs,
        pixel_sizes_angstrom=pixel_sizes,
    )


def _load(path: Path) -> NDArray[Any]:
    try:
        with path.open("rb") as file:
            if file.read(6) == b"\x94CSDAT":
                raise InputError(
                    f"{path}: in cryoSPARC's compressed form, the plain .cs of an export is needed"
                )
        table: NDArray[Any] = np.load(path, allow_pickle=False)
    except (ValueError, EOFError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path}: not a .cs file ({' '.join(str(error).split())})") from error
    missing = [
        name
        for name in ("blob/path", "blob/idx", "blob/psize_A")
        if not isinstance(table, np.ndarray) or name not in _fields(table)
    ]
    if missing:
        raise InputError(
            f"{path}: no field {missing[0]!r} in it, a .cs file of particle images has"
        )
    if len(table) == 0:
        raise InputError(f"{path}: no particles in it, at least one was expected")
    return table


def _fields(table: NDArray[Any]) -> tuple[str, ...]:
    return table.dtype.names or ()


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _poses(
    path: Path, table: NDArray[Any], pixel_sizes_angstrom: Array
) -> tuple[Array | None, Array | None]:
    if "alignments3D/pose" not in _fields(table):
        return None, None
    vectors = np.asarray(table["alignments3D/pose"], dtype=np.float64)
    if not vectors.any():
        return None, None
    shifts = np.zeros((len(table), 2))
    if "alignments3D/shift" in _fields(table):
        scale = pixel_sizes_angstrom
        if "alignments3D/psize_A" in _fields(table):
            scale = np.asarray(table["alignments3D/psize_A"], dtype=np.float64)
        shifts = -np.asarray(table["alignments3D/shift"], dtype=np.float64) * scale[:, None] + 0.0
    if not (np.isfinite(vectors).all() and np.isfinite(shifts).all()):
        raise InputError(f"{path}: alignments3D holds NaN or infinity, finite poses were expected")
    matrices = Rotation.from_rotvec(vectors).as_matrix()
    return matrices_to_quaternions(np.swapaxes(matrices, -1, -2)), shifts


def _microscope(table: NDArray[Any]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Translates the CTF into RELION's optics table and per-particle columns."""
    present = _fields(table)
    values = {
        relion: table[ours].astype(np.float64)
        for relion, ours in (_SHARED | _OWN).items()
        if ours in present
    }
    values |= {
        relion: np.rad2deg(table[ours].astype(np.float64))
        for relion, ours in _OWN_RAD.items()
        if ours in present
    }
    frame = pd.DataFrame(values, index=range(len(table)))
    if "ctf/exp_group_id" in present:
        frame["rlnOpticsGroupName"] = [f"exposureGroup{n}" for n in table["ctf/exp_group_id"]]
    optics, groups = optics_groups(frame)
    own = [column for column in frame.columns if column in _OWN | _OWN_RAD]
    return optics, frame[own].assign(rlnOpticsGroup=groups)
