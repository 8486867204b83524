"""The fields of an example as columns of RELION's tables, and back.

RELION has a name for most of what an example says. What it has none for goes into columns of our
own, which RELION carries along or passes over.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cryotwin.datasets.particle_set import ParticleSet
from cryotwin.datasets.schema import CTF_FIELDS
from cryotwin.datasets.star_tables import KEY_COLUMN, STRUCTURE_COLUMN, optics_groups
from cryotwin.imaging.errors import InputError
from cryotwin.imaging.rotations import matrices_to_relion_angles, quaternions_to_matrices

Fields = Mapping[str, NDArray[Any]]

NOISE_COLUMN = "cryotwinNoiseVariance"
"""Our column with the variance of the noise in the image."""

_OPTICS = {
    "rlnVoltage": "ctf/voltage_kv",
    "rlnSphericalAberration": "ctf/spherical_aberration_mm",
    "rlnAmplitudeContrast": "ctf/amplitude_contrast",
}
_OWN = {
    "rlnDefocusU": "ctf/defocus_u_angstrom",
    "rlnDefocusV": "ctf/defocus_v_angstrom",
    "rlnCtfBfactor": "ctf/b_factor_angstrom2",
}
_OWN_RAD = {"rlnDefocusAngle": "ctf/defocus_angle_rad", "rlnPhaseShift": "ctf/phase_shift_rad"}

_NO_CTF_OPTICS = {
    "rlnVoltage": 300.0,
    "rlnSphericalAberration": 0.0,
    "rlnAmplitudeContrast": 1.0,
}
"""A CTF of 1 at every frequency, in focus: how RELION is told that none was applied."""


def ctf_tables(fields: Fields) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Translates the CTF of P examples: into columns of the optics table and of the particles'."""
    ctf = {name: np.asarray(values, np.float64) for name, values in fields.items()
           if name.startswith("ctf/")}  # fmt: skip
    shared = pd.DataFrame({relion: ctf[ours] for relion, ours in _OPTICS.items()})
    own = pd.DataFrame(
        {relion: ctf[ours] for relion, ours in _OWN.items()}
        | {relion: np.rad2deg(ctf[ours]) for relion, ours in _OWN_RAD.items()}
    )
    return shared, own


def relion_tables(fields: Fields, size: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Lays out P examples as RELION 3.1 does, all but the names of their images.

    Args:
        fields: arrays (P, ...) by name, as `folder.load_split` gives them; the image is not
            needed.
        size: edge of the images in pixels.

    Returns:
        The optics table, with a group for each pixel size and microscope, and the particle table
        with P rows.
    """
    columns: dict[str, Any] = {}
    pixel_sizes = np.asarray(fields["pixel_size_angstrom"], np.float64)
    shared = pd.DataFrame({"rlnImagePixelSize": pixel_sizes})
    if "ctf/voltage_kv" in fields:
        microscope, own = ctf_tables(fields)
        none = microscope["rlnVoltage"] == 0
        microscope.loc[none, list(_NO_CTF_OPTICS)] = list(_NO_CTF_OPTICS.values())
        shared = shared.join(microscope)
        columns |= {str(name): values.to_numpy() for name, values in own.items()}
    optics, columns["rlnOpticsGroup"] = optics_groups(shared)
    optics = optics.assign(rlnImageSize=size, rlnImageDimensionality=2)
    if "quaternion" in fields:
        rotations = quaternions_to_matrices(fields["quaternion"].astype(np.float64))
        angles = matrices_to_relion_angles(rotations)
        columns |= dict(zip(("rlnAngleRot", "rlnAngleTilt", "rlnAnglePsi"), angles.T, strict=True))
    if "shift_angstrom" in fields:
        # Adding zero turns -0.0 into 0.0.
        origins = 0.0 - fields["shift_angstrom"].astype(np.float64)
        columns |= {"rlnOriginXAngst": origins[:, 0], "rlnOriginYAngst": origins[:, 1]}
    for column, name in ((STRUCTURE_COLUMN, "structure"), (NOISE_COLUMN, "noise_variance")):
        if name in fields:
            columns[column] = fields[name]
    return optics, pd.DataFrame(columns | {KEY_COLUMN: fields["key"]})


def example_fields(particles: ParticleSet) -> dict[str, NDArray[Any]]:
    """Lays out P particles as examples, all but the image.

    Returns:
        Arrays (P, ...) by name, nested names joined by a slash. What is not known of the particles
        is not there.
    """
    pixel_sizes = particles.pixel_sizes_angstrom
    if pixel_sizes is None:
        pixel_sizes = np.full(len(particles.keys), particles.pixel_size_angstrom)
    fields: dict[str, NDArray[Any]] = {
        "key": np.array(particles.keys),
        "pixel_size_angstrom": pixel_sizes.astype(np.float32),
    }
    if particles.quaternions is not None and particles.shifts_angstrom is not None:
        fields["quaternion"] = particles.quaternions.astype(np.float32)
        fields["shift_angstrom"] = particles.shifts_angstrom.astype(np.float32)
    if particles.columns is not None:
        if STRUCTURE_COLUMN in particles.columns:
            fields["structure"] = particles.columns[STRUCTURE_COLUMN].astype(str).to_numpy()
        if NOISE_COLUMN in particles.columns:
            noise = _numbers(particles, particles.columns, NOISE_COLUMN)
            fields["noise_variance"] = noise.astype(np.float32)
    return fields | _ctf_fields(particles)


def _ctf_fields(particles: ParticleSet) -> dict[str, NDArray[np.float32]]:
    """Gives the CTF of each particle; nothing where a number that it takes is not known."""
    optics, columns = particles.optics, particles.columns
    if optics is None or columns is None or "rlnDefocusU" not in columns:
        return {}
    if any(name not in optics for name in _OPTICS):
        return {}
    rows = _optics_rows(particles, optics, columns)
    known = {ours: _numbers(particles, rows, relion) for relion, ours in _OPTICS.items()}
    for relion, ours in (_OWN | _OWN_RAD).items():
        # RELION too takes what is missing as zero, and a missing second defocus as the first.
        source = "rlnDefocusU" if relion == "rlnDefocusV" and relion not in columns else relion
        values = np.zeros(len(columns))
        if source in columns:
            values = _numbers(particles, columns, source)
        known[ours] = np.deg2rad(values) if relion in _OWN_RAD else values
    none = np.isclose(known["ctf/amplitude_contrast"], 1)
    for name in CTF_FIELDS:
        if name not in ("amplitude_contrast", "voltage_kv"):
            none &= known[f"ctf/{name}"] == 0
    return {
        f"ctf/{name}": np.where(none, 0, known[f"ctf/{name}"]).astype(np.float32)
        for name in CTF_FIELDS
    }


def _optics_rows(
    particles: ParticleSet, optics: pd.DataFrame, columns: pd.DataFrame
) -> pd.DataFrame:
    """Repeats the optics table's rows for each particle."""
    group = "rlnOpticsGroup"
    if group not in columns or group not in optics:
        return optics.iloc[np.zeros(len(columns), dtype=int)]
    strangers = set(columns[group]) - set(optics[group])
    if strangers:
        raise InputError(f"{particles.source}: optics group {min(strangers)} is not in data_optics")
    return optics.set_index(group).loc[columns[group].to_numpy()]


def _numbers(particles: ParticleSet, table: pd.DataFrame, column: str) -> NDArray[np.float64]:
    values = pd.to_numeric(table[column], errors="coerce").to_numpy(np.float64)
    if not np.isfinite(values).all():
        bad = table[column].iloc[int(np.argmin(np.isfinite(values)))]
        raise InputError(f"{particles.source}: _{column} must be a number, not {str(bad)!r}")
    return values
