"""The CTF of particles, from what a dataset or a particle file says about each of them."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cryotwin.datasets.particle_set import ParticleSet
from cryotwin.datasets.relion_columns import example_fields
from cryotwin.datasets.schema import CTF_FIELDS
from cryotwin.imaging.ctf import CtfParameters

_NO_CTF = {"voltage_kv": 300.0, "amplitude_contrast": 1.0}
"""With zeros elsewhere, a CTF of 1 at every frequency."""


def particle_ctf(particles: ParticleSet) -> CtfParameters | None:
    """Gives the CTF of P particles; None if not all that it takes is known, or none was applied.

    Raises:
        InputError: a number in the particles' tables is not one.
    """
    return ctf_from_fields(example_fields(particles))


def ctf_from_fields(fields: Mapping[str, NDArray[Any]]) -> CtfParameters | None:
    """Gives the CTF of P examples from the fields that `folder.load_split` gives.

    Examples without one get a CTF of 1 at every frequency; None if there is none at all.
    """
    voltage = fields.get("ctf/voltage_kv")
    if voltage is None or not np.any(voltage):
        return None
    none = np.asarray(voltage) == 0
    values = {name: np.asarray(fields[f"ctf/{name}"], np.float64) for name in CTF_FIELDS}
    return CtfParameters(
        **{name: np.where(none, _NO_CTF.get(name, 0.0), known) for name, known in values.items()}
    )
