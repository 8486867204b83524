import numpy as np
import pandas as pd

from cryotwin.datasets.particle_ctf import ctf_from_fields, particle_ctf
from cryotwin.datasets.particle_set import ParticleSet
from cryotwin.datasets.relion_columns import ctf_tables
from cryotwin.datasets.star_files import optics_groups
from cryotwin.imaging.ctf import CtfDistribution, contrast_transfer

PARAMETERS = CtfDistribution(phase_shift_rad=(0.1, 0.9), b_factor_angstrom2=30).parameters(
    np.random.default_rng(0).random((5, 4))
)
FIELDS = {f"ctf/{name}": values for name, values in PARAMETERS.columns().items()}


def _particles(optics, columns):
    return ParticleSet(
        images=np.zeros((5, 16, 16), np.float32),
        pixel_size_angstrom=2.0,
        keys=list("abcde"),
        source="p.star",
        optics=optics,
        columns=columns,
    )


def test_the_ctf_of_a_dataset_is_the_one_that_was_drawn():
    for name, values in ctf_from_fields(FIELDS).columns().items():
        assert np.allclose(values, PARAMETERS.columns()[name])


def test_the_ctf_of_a_star_file_is_that_of_its_columns():
    shared, own = ctf_tables(FIELDS)
    optics, groups = optics_groups(shared)

    found = particle_ctf(_particles(optics, own.assign(rlnOpticsGroup=groups)))

    expected = contrast_transfer(PARAMETERS, 32, 2.0)
    assert np.allclose(contrast_transfer(found, 32, 2.0), expected, atol=1e-3)


def test_particles_without_a_ctf_have_none():
    assert particle_ctf(_particles(None, None)) is None
    assert particle_ctf(_particles(None, pd.DataFrame({"rlnDefocusU": np.ones(5)}))) is None
    assert ctf_from_fields({name: np.zeros(5) for name in FIELDS}) is None
    assert ctf_from_fields({}) is None


def test_a_particle_without_a_ctf_among_others_gets_one_at_every_frequency():
    fields = {name: np.where(np.arange(5) == 2, 0, values) for name, values in FIELDS.items()}

    transfer = contrast_transfer(ctf_from_fields(fields), 20, 2.0)

    assert np.allclose(transfer[2], 1)
    assert np.allclose(transfer[1], contrast_transfer(PARAMETERS, 20, 2.0)[1], atol=1e-6)
