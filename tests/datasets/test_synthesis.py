import numpy as np
import pytest

from cryotwin.datasets.perturbation import Perturbation
from cryotwin.datasets.schema import CTF_FIELDS
from cryotwin.datasets.synthesis import (
    ParticleSettings,
    draw_orientations,
    make_particles,
    particle_example,
    particle_projector,
)
from cryotwin.imaging.ctf import CtfDistribution, CtfParameters
from cryotwin.imaging.fundamental_domain import to_fundamental_domain
from cryotwin.imaging.microscope import shift_and_apply_ctf
from cryotwin.imaging.projection import Projector, project_volume
from cryotwin.imaging.rotations import (
    orientation_distances,
    quaternions_to_matrices,
    uniform_quaternions,
)


def volume(size: int = 24) -> np.ndarray:
    z, y, x = np.mgrid[:size, :size, :size] - size // 2
    density = np.exp(-((x - 3) ** 2 + y**2 + z**2) / 6) + np.exp(-(x**2 + (y + 4) ** 2 + z**2) / 4)
    return density.astype(np.float32)


def projector(density: np.ndarray | None = None) -> Projector:
    return particle_projector(volume() if density is None else density)


def settings(**changes) -> ParticleSettings:
    given = {
        "structure": "blobs",
        "pixel_size_angstrom": 2.0,
        "seed": 3,
        "orientations": "so3",
        "perturbation": Perturbation(noise_variance=1, max_shift_px=2),
    }
    return ParticleSettings(**(given | changes))


def test_a_particle_does_not_depend_on_those_made_with_it():
    together = make_particles(projector(), range(300), settings())
    for indices in ([0], [7, 299], range(100, 137)):
        apart = make_particles(projector(), indices, settings())
        assert np.array_equal(apart.images, together.images[list(indices)])
        assert np.array_equal(apart.quaternions, together.quaternions[list(indices)])
        assert np.array_equal(apart.shifts_px, together.shifts_px[list(indices)])


def test_without_a_perturbation_the_image_is_the_projection_at_the_stored_orientation():
    particles = make_particles(projector(), range(5), settings(perturbation=Perturbation()))
    expected = project_volume(volume(), quaternions_to_matrices(particles.quaternions))
    np.testing.assert_allclose(particles.images, expected, atol=1e-5 * expected.max())
    assert not particles.shifts_px.any()


@pytest.mark.parametrize("change", [{"seed": 4}, {"structure": "other"}])
def test_another_seed_or_structure_gives_other_particles(change):
    first = make_particles(projector(), range(3), settings())
    second = make_particles(projector(), range(3), settings(**change))
    assert not np.isclose(first.quaternions, second.quaternions).all(axis=1).any()


def test_the_noise_does_not_change_with_the_shift():
    volume_zero = np.zeros((24, 24, 24), np.float32)
    shifted = make_particles(projector(volume_zero), range(2), settings())
    still = make_particles(
        projector(volume_zero), range(2), settings(perturbation=Perturbation(noise_variance=1))
    )
    np.testing.assert_allclose(shifted.images, still.images, atol=1e-6)


def test_the_ctf_of_a_particle_is_stored_as_it_was_applied():
    drawn = Perturbation(max_shift_px=2, ctf=CtfDistribution(b_factor_angstrom2=20.0))
    given = settings(perturbation=drawn)
    particles = make_particles(projector(), range(5), given)
    rows = [particle_example(particles, place, place, given)["ctf"] for place in range(5)]
    assert all(set(row) == set(CTF_FIELDS) for row in rows)
    assert len({float(row["defocus_u_angstrom"]) for row in rows}) == 5
    stored = CtfParameters(**{name: np.array([row[name] for row in rows]) for name in CTF_FIELDS})
    clean = project_volume(volume(), quaternions_to_matrices(particles.quaternions))
    expected = shift_and_apply_ctf(clean, particles.shifts_px, stored, given.pixel_size_angstrom)
    np.testing.assert_allclose(particles.images, expected, atol=1e-4 * np.abs(expected).max())


def test_without_a_ctf_its_fields_are_zero():
    particles = make_particles(projector(), range(1), settings())
    assert not any(particle_example(particles, 0, 0, settings())["ctf"].values())


def test_a_ctf_changes_neither_orientations_nor_shifts_nor_noise():
    plain = make_particles(projector(), range(3), settings())
    with_ctf = make_particles(
        projector(),
        range(3),
        settings(
            perturbation=Perturbation(noise_variance=1, max_shift_px=2, ctf=CtfDistribution())
        ),
    )
    assert np.array_equal(with_ctf.quaternions, plain.quaternions)
    assert np.array_equal(with_ctf.shifts_px, plain.shifts_px)
    zero = np.zeros_like(volume())
    noise = make_particles(projector(zero), range(3), settings()).images
    clean = make_particles(
        projector(),
        range(3),
        settings(perturbation=Perturbation(max_shift_px=2, ctf=CtfDistribution())),
    )
    np.testing.assert_allclose(with_ctf.images - clean.images, noise, atol=1e-4)


@pytest.mark.parametrize("orientations", ["euler", "vmf:30:2", "acg:2,1,1,2"])
@pytest.mark.parametrize("symmetry", ["C1", "D2", "I"])
def test_an_orientation_does_not_depend_on_those_drawn_with_it(orientations, symmetry):
    chosen = settings(orientations=orientations, symmetry=symmetry)
    together = draw_orientations(range(200), chosen)
    for indices in ([0], [7, 199], range(100, 137)):
        assert np.array_equal(draw_orientations(indices, chosen), together[list(indices)])


def test_with_a_symmetry_orientations_are_drawn_in_its_fundamental_domain():
    plain, inside = (draw_orientations(range(200), settings(symmetry=g)) for g in ("C1", "D2"))
    np.testing.assert_allclose(to_fundamental_domain(inside, "D2"), inside, atol=1e-12)
    assert orientation_distances(plain, inside, symmetry="D2").max() < 1e-7
    assert (orientation_distances(plain, inside) > 0.1).mean() > 0.5


def test_random_views_of_a_mixture_are_the_structures_own():
    def spread(structure):
        drawn = draw_orientations(range(100), settings(structure=structure, orientations="vmf:1e4"))
        return quaternions_to_matrices(drawn)[:, 2].mean(axis=0)

    first, second = spread("blobs"), spread("other")
    assert np.linalg.norm(first) > 0.99  # One lobe, for all particles of the structure.
    assert first @ second < 0.99


def test_given_orientations_are_taken_as_they_are():
    given = uniform_quaternions(5, np.random.default_rng(0))
    clean = settings(perturbation=Perturbation(), symmetry="D2", orientations="angles.star")
    particles = make_particles(projector(), range(5), clean, given=given)
    assert np.array_equal(particles.quaternions, given.astype(np.float32))
    expected = project_volume(volume(), quaternions_to_matrices(given))
    np.testing.assert_allclose(particles.images, expected, atol=1e-5 * expected.max())
