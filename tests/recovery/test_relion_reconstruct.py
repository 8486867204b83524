"""Our maps against those of `relion_reconstruct`, of the same images and orientations.star."""

import shutil
import subprocess

import mrcfile
import numpy as np
import pandas as pd
import pytest

from cryotwin.datasets.particle_set import ParticleSet
from cryotwin.datasets.star_files import read_orientations, write_orientations_star
from cryotwin.imaging.ctf import CtfDistribution, apply_ctf
from cryotwin.imaging.microscope import shift_images
from cryotwin.imaging.point_groups import symmetry_matrices
from cryotwin.imaging.projection import project_volume
from cryotwin.imaging.rotations import quaternions_to_matrices, uniform_quaternions
from cryotwin.imaging.volume_rotation import rotate_volume
from cryotwin.recovery.reconstruction import filter_shells, reconstruct
from cryotwin.recovery.resolution import fourier_shell_correlation, soft_sphere_mask

pytestmark = [
    pytest.mark.relion,
    pytest.mark.skipif(
        shutil.which("relion_reconstruct") is None, reason="RELION is not installed"
    ),
]

SIZE, PIXEL_A = 48, 2.0
CTF = CtfDistribution(
    defocus_angstrom=(6000.0, 15000.0), astigmatism_angstrom=800.0, b_factor_angstrom2=20.0
)

OPTICS = pd.DataFrame(
    {
        "rlnOpticsGroup": [1],
        "rlnOpticsGroupName": ["opticsGroup1"],
        "rlnVoltage": [CTF.voltage_kv],
        "rlnSphericalAberration": [CTF.spherical_aberration_mm],
        "rlnAmplitudeContrast": [CTF.amplitude_contrast],
    }
)


def rough_volume(symmetry: str) -> np.ndarray:
    """Noise within a soft sphere, with power up to Nyquist, under a point group."""
    noise = np.random.default_rng(0).standard_normal((SIZE,) * 3)
    volume = filter_shells(noise, np.exp(-np.arange(SIZE // 2 + 1) / 10))
    volume *= soft_sphere_mask(SIZE, 13, 4)
    return sum(rotate_volume(volume, element) for element in symmetry_matrices(symmetry))


def write_particles(folder, symmetry, count, snr, with_ctf):
    """Writes a stack and the orientations.star of particles off the centre; gives the images."""
    rng = np.random.default_rng(1)
    quaternions, shifts = uniform_quaternions(count, rng), rng.uniform(-3, 3, (count, 2))
    ctf = CTF.parameters(rng.random((count, 4))) if with_ctf else None
    images = project_volume(rough_volume(symmetry), quaternions_to_matrices(quaternions))
    if ctf is not None:
        images = apply_ctf(images, ctf, PIXEL_A)
    images = shift_images(images, shifts)
    images += images.std() / np.sqrt(snr) * rng.standard_normal(images.shape).astype(np.float32)
    with mrcfile.new(folder / "particles.mrcs", data=images) as file:
        file.voxel_size = PIXEL_A
    particles = ParticleSet(images, PIXEL_A, [f"p-{n}" for n in range(count)])
    particles.optics = OPTICS
    if ctf is not None:
        of = ctf.columns()
        particles.columns = pd.DataFrame(
            {
                "rlnDefocusU": of["defocus_u_angstrom"],
                "rlnDefocusV": of["defocus_v_angstrom"],
                "rlnDefocusAngle": np.degrees(of["defocus_angle_rad"]),
                "rlnCtfBfactor": of["b_factor_angstrom2"],
                "rlnOpticsGroup": np.ones(count, dtype=int),
            }
        )
    write_orientations_star(
        folder / "orientations.star",
        particles,
        quaternions,
        shifts * PIXEL_A,
        image_names=[f"{n + 1:06d}@particles.mrcs" for n in range(count)],
    )
    return images, ctf


def relion_map(folder, symmetry, with_ctf) -> np.ndarray:
    words = ["relion_reconstruct", "--i", "orientations.star", "--o", "relion.mrc"]
    words += ["--sym", symmetry, "--pad", "2", *(["--ctf"] if with_ctf else [])]
    subprocess.run(words, cwd=folder, check=True, capture_output=True)
    with mrcfile.open(folder / "relion.mrc") as file:
        return file.data.copy()


@pytest.mark.parametrize("with_ctf", [False, True], ids=["plain", "ctf"])
@pytest.mark.parametrize(("symmetry", "snr"), [("C1", 100.0), ("C1", 1.0), ("D2", 1.0)])
def test_our_map_agrees_with_that_of_relion_and_is_nearer_to_the_truth(
    symmetry, snr, with_ctf, tmp_path
):
    images, ctf = write_particles(tmp_path, symmetry, 500, snr, with_ctf)
    listed = read_orientations(tmp_path / "orientations.star")

    ours = reconstruct(
        images,
        quaternions_to_matrices(listed.quaternions),
        shifts_px=listed.shifts_angstrom / PIXEL_A,
        ctf=ctf,
        pixel_size_angstrom=PIXEL_A,
        symmetry=symmetry,
    )
    theirs = relion_map(tmp_path, symmetry, with_ctf)

    sphere = soft_sphere_mask(SIZE, 0.42 * SIZE, 0.06 * SIZE)
    curve = fourier_shell_correlation(ours, theirs, mask=sphere)
    true = rough_volume(symmetry)
    beyond_half = slice(SIZE // 4, None)
    closeness = [
        fourier_shell_correlation(found, true, mask=sphere)[beyond_half].mean()
        for found in (ours, theirs)
    ]
    assert curve[: int(0.8 * SIZE / 2) + 1].min() > 0.99
    assert closeness[0] > closeness[1]
