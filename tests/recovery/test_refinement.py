import numpy as np
import pytest

from cryotwin.imaging.ctf import CtfParameters, apply_ctf
from cryotwin.imaging.microscope import shift_images, signal_variance, snr_from_db
from cryotwin.imaging.point_groups import symmetry_matrices
from cryotwin.imaging.projection import project_volume
from cryotwin.imaging.rotations import (
    matrices_to_quaternions,
    quaternions_to_matrices,
    rotation_vectors_to_matrices,
    uniform_quaternions,
)
from cryotwin.imaging.structures import read_structure
from cryotwin.imaging.volumes import structure_volume
from cryotwin.recovery.alignment import align_orientations
from cryotwin.recovery.refinement import refine_orientations

COUNT, SIZE = 200, 40
START_RAD = 0.15


@pytest.fixture(scope="module")
def volume():
    """The bundled structure, with projections of variance 1."""
    found = structure_volume(read_structure("7cfn"), size=SIZE)
    return found.volume / np.sqrt(signal_variance(found.volume)), found.pixel_size_angstrom


@pytest.fixture(scope="module")
def views(volume):
    """Displaced views at -3 dB with their truth, and orientations that are off."""
    rng = np.random.default_rng(0)
    quaternions = uniform_quaternions(COUNT, rng)
    shifts = rng.uniform(-1.5, 1.5, (COUNT, 2))
    clean = project_volume(volume[0], quaternions_to_matrices(quaternions))
    axes = rng.standard_normal((COUNT, 3))
    axes *= START_RAD / np.linalg.norm(axes, axis=1, keepdims=True)
    start = rotation_vectors_to_matrices(axes) @ quaternions_to_matrices(quaternions)
    noise = rng.standard_normal(clean.shape) / np.sqrt(snr_from_db(-3))
    return clean, noise.astype(np.float32), shifts, quaternions, matrices_to_quaternions(start)


def _refine(images, start, pixel_size, **settings):
    halves = np.arange(len(images)) % 2
    return refine_orientations(
        images, start, halves, pixel_size_angstrom=pixel_size, threads=1, **settings
    )


@pytest.fixture(scope="module")
def refined(volume, views):
    clean, noise, _, _, start = views
    lines = []
    found = _refine(clean + noise, start, volume[1], progress=lines.append)
    return found, lines


def test_noisy_views_come_much_nearer_to_the_truth(refined, views):
    *_, true, start = views

    before = align_orientations(start, true).mean_error
    after = align_orientations(refined[0].quaternions, true).mean_error

    assert before > 0.12
    assert after < 0.09


def test_each_round_is_told_with_its_size_and_limit(refined, volume):
    found, lines = refined
    rounds = found.rounds
    assert [entry.number for entry in rounds] == list(range(1, len(rounds) + 1))
    assert len(lines) == len(rounds)
    assert all("refinement round" in line for line in lines)
    assert [entry.search for entry in rounds[:4]] == ["nearby", "global", "global", "local"]
    assert rounds[-1].search == "local"
    assert rounds[-1].size == SIZE
    limits = [entry.resolution_limit_angstrom for entry in rounds]
    assert limits[-1] < limits[0]
    assert limits[-1] >= 2 * volume[1]
    assert np.array_equal(rounds[-1].quaternions, found.quaternions)


def test_without_freedom_shifts_stay_at_zero(refined):
    found, _ = refined
    assert np.array_equal(found.shifts_px, np.zeros((COUNT, 2)))
    assert np.allclose(np.linalg.norm(found.quaternions, axis=1), 1)
    assert (found.misfits > 0).all()


def test_shifts_are_found_together_with_orientations(volume, views):
    clean, noise, shifts, true, start = views
    images = shift_images(clean, shifts) + noise

    found = _refine(images, start, volume[1], max_shift_px=2)

    aligned = align_orientations(found.quaternions, true)
    assert aligned.mean_error < 0.1
    # The origin of the object is free: another one moves each image by its projection.
    rotations = quaternions_to_matrices(found.quaternions)
    design = rotations[:, :2].reshape(-1, 3)
    gap = (found.shifts_px - shifts).reshape(-1)
    origin, *_ = np.linalg.lstsq(design, gap, rcond=None)
    left = (gap - design @ origin).reshape(-1, 2)
    assert np.abs(shifts).mean() > 0.7
    assert np.median(np.abs(left)) < 0.25


def test_halves_join_last_and_what_was_independent_is_kept(refined, views):
    found, _ = refined
    joined = [entry.joined for entry in found.rounds[3:]]
    assert joined == sorted(joined)
    last = [entry for entry in found.rounds if not entry.joined][-1]
    assert np.array_equal(found.independent_quaternions, last.quaternions)


def test_noise_among_the_images_and_images_far_off_do_no_harm(volume, views):
    clean, noise, _, true, start = views
    images, start = clean + noise, start.copy()
    junk, far = np.arange(COUNT) % 5 == 0, np.arange(COUNT) % 5 == 1
    images[junk] = noise[junk] * np.sqrt(1 + 1 / np.mean(noise**2))
    start[far] = uniform_quaternions(far.sum(), np.random.default_rng(4))

    found = _refine(images, start, volume[1])

    errors = align_orientations(found.quaternions[~junk], true[~junk]).errors
    assert np.mean(errors) < 0.12
    assert np.mean(errors[far[~junk]] < 0.3) > 0.9
    assert found.kept[~junk].all()
    assert found.kept[junk].mean() < 0.2
    assert np.median(found.misfits[junk]) > np.quantile(found.misfits[~junk], 0.95)
    assert found.scales[junk].max() < np.median(found.scales[~junk])


def test_images_with_a_ctf_of_a_symmetric_particle(views):
    rng = np.random.default_rng(6)
    blobs = rng.uniform((0.5, -9, -9, -9), (1.5, 9, 9, 9), (8, 4))
    z, y, x = np.mgrid[:SIZE, :SIZE, :SIZE] - SIZE // 2
    particle = np.zeros((SIZE,) * 3)
    for turn in symmetry_matrices("D2"):
        for weight, *place in blobs:
            a, b, c = turn @ place
            particle += weight * np.exp(-((x - a) ** 2 + (y - b) ** 2 + (z - c) ** 2) / 4)
    particle = (particle / np.sqrt(signal_variance(particle))).astype(np.float32)
    _, noise, shifts, true, start = views
    defocus = rng.uniform(6000, 12000, COUNT)
    ctf = CtfParameters(defocus + 200, defocus, 0.7)
    clean = project_volume(particle, quaternions_to_matrices(true))
    images = apply_ctf(shift_images(clean, shifts), ctf, 4.0) + noise / 2

    found = _refine(images, start, 4.0, ctf=ctf, symmetry="D2", max_shift_px=2)

    before = align_orientations(start, true, symmetry="D2").mean_error
    after = align_orientations(found.quaternions, true, symmetry="D2").mean_error
    assert before > 0.12
    assert after < 0.05
