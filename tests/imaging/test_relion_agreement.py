"""Our images against those of `relion_project`, of the same map, angles, shifts and CTF."""

import shutil
import subprocess
from pathlib import Path

import mrcfile
import numpy as np
import pandas as pd
import pytest
import starfile

from cryotwin.imaging.ctf import CtfDistribution, CtfParameters, apply_ctf
from cryotwin.imaging.maps import write_map
from cryotwin.imaging.microscope import shift_and_apply_ctf, shift_images
from cryotwin.imaging.projection import project_volume
from cryotwin.imaging.rotations import (
    matrices_to_relion_angles,
    quaternions_to_matrices,
    uniform_quaternions,
)
from cryotwin.imaging.structures import read_structure
from cryotwin.imaging.volumes import structure_volume

pytestmark = [
    pytest.mark.relion,
    pytest.mark.skipif(shutil.which("relion_project") is None, reason="RELION is not installed"),
]

SIZE, COUNT = 64, 12
PAPER_MAP = Path(__file__).resolve().parents[3] / "shared" / "data" / "targets" / "5j0n.mrc"


def gaussian_volume() -> tuple[np.ndarray, float]:
    """Blobs well inside the box, smooth at the scale of a voxel."""
    z, y, x = np.mgrid[:SIZE, :SIZE, :SIZE] - SIZE // 2
    blobs = [(6, 0, 3, 9, 1.0), (-2, 8, -4, 14, 0.7), (1, -7, 7, 7, 0.9), (-8, -3, -5, 11, 0.6)]
    volume = sum(
        weight * np.exp(-((x - a) ** 2 + (y - b) ** 2 + (z - c) ** 2) / (2 * width))
        for a, b, c, width, weight in blobs
    )
    return volume.astype(np.float32), 2.0


def structure_of(spec: str | Path) -> tuple[np.ndarray, float]:
    found = structure_volume(read_structure(str(spec)), size=SIZE)
    return found.volume, found.pixel_size_angstrom


def relion_images(
    folder, volume, pixel_size, rotations, shifts_px, ctf: CtfParameters | None, padding=2
):
    """Projects with RELION: (P, N, N)."""
    write_map(folder / "map.mrc", volume, pixel_size)
    rot, tilt, psi = matrices_to_relion_angles(rotations).T
    particles = pd.DataFrame({"rlnAngleRot": rot, "rlnAngleTilt": tilt, "rlnAnglePsi": psi})
    optics = {
        "rlnOpticsGroup": [1],
        "rlnOpticsGroupName": ["opticsGroup1"],
        "rlnImagePixelSize": [pixel_size],
        "rlnImageSize": [SIZE],
        "rlnImageDimensionality": [2],
        "rlnVoltage": [300.0],
        "rlnSphericalAberration": [2.7],
        "rlnAmplitudeContrast": [0.1],
    }
    particles["rlnOriginXAngst"] = -shifts_px[:, 0] * pixel_size
    particles["rlnOriginYAngst"] = -shifts_px[:, 1] * pixel_size
    particles["rlnOpticsGroup"] = 1
    if ctf is not None:
        of = ctf.columns()
        for ours, relion in (
            ("voltage_kv", "rlnVoltage"),
            ("spherical_aberration_mm", "rlnSphericalAberration"),
            ("amplitude_contrast", "rlnAmplitudeContrast"),
        ):
            optics[relion] = [of[ours][0]]
        particles["rlnDefocusU"] = of["defocus_u_angstrom"]
        particles["rlnDefocusV"] = of["defocus_v_angstrom"]
        particles["rlnDefocusAngle"] = np.degrees(of["defocus_angle_rad"])
        particles["rlnPhaseShift"] = np.degrees(of["phase_shift_rad"])
        particles["rlnCtfBfactor"] = of["b_factor_angstrom2"]
    tables = {"optics": pd.DataFrame(optics), "particles": particles}
    starfile.write(tables, folder / "angles.star")
    words = ["relion_project", "--i", "map.mrc", "--ang", "angles.star", "--o", "out"]
    words += [
        "--pad",
        str(padding),
        "--angpix",
        f"{pixel_size}",
        *(["--ctf"] if ctf is not None else []),
    ]
    subprocess.run(words, cwd=folder, check=True, capture_output=True)
    with mrcfile.open(folder / "out.mrcs") as file:
        return file.data.copy()


def worst_correlation(ours: np.ndarray, theirs: np.ndarray) -> float:
    return min(np.corrcoef(a.ravel(), b.ravel())[0, 1] for a, b in zip(ours, theirs, strict=True))


def draw(seed: int, **ctf) -> tuple[np.ndarray, np.ndarray, CtfParameters]:
    """Orientations, shifts by parts of a pixel, and CTFs."""
    rng = np.random.default_rng(seed)
    rotations = quaternions_to_matrices(uniform_quaternions(COUNT, rng))
    shifts = rng.uniform(-4, 4, (COUNT, 2))
    return rotations, shifts, CtfDistribution(**ctf).parameters(rng.random((COUNT, 4)))


HARD = {
    "astigmatism_angstrom": 3000.0,
    "phase_shift_rad": (0.3, 1.6),
    "b_factor_angstrom2": 80.0,
    "amplitude_contrast": 0.07,
    "voltage_kv": 200.0,
    "spherical_aberration_mm": 2.0,
}
"""A phase plate, strong astigmatism and an envelope, at another voltage and Cs."""


def test_shift_and_ctf_of_the_same_projection_are_relions(tmp_path):
    # RELION's interpolation cancels: what is left is the shift and the CTF alone.
    volume, pixel_size = structure_of("7cfn")
    rotations, shifts, ctf = draw(0, **HARD)

    def relion(shifts_px, parameters):
        return relion_images(tmp_path, volume, pixel_size, rotations, shifts_px, parameters)

    clean = relion(np.zeros_like(shifts), None)
    expected = relion(np.zeros_like(shifts), ctf)
    difference = np.abs(apply_ctf(clean, ctf, pixel_size) - expected).max()
    assert difference < 1e-6 * np.abs(expected).max()
    expected = relion(shifts, ctf)
    difference = np.abs(shift_and_apply_ctf(clean, shifts, ctf, pixel_size) - expected).max()
    assert difference < 1e-4 * np.abs(expected).max()


@pytest.mark.parametrize("structure", ["gaussians", "7cfn", "5j0n"])
def test_images_are_relions_up_to_its_interpolation(tmp_path, structure):
    if structure == "5j0n" and not PAPER_MAP.exists():
        pytest.skip("the paper's map is not there")
    volume, pixel_size = (
        gaussian_volume()
        if structure == "gaussians"
        else structure_of(PAPER_MAP if structure == "5j0n" else structure)
    )
    rotations, shifts, ctf = draw(1)
    hard = draw(1, **HARD)[2]
    still = np.zeros_like(shifts)
    clean = project_volume(volume, rotations)
    for what, t, c in (
        ("neither", still, None),
        ("shifts", shifts, None),
        ("CTF", still, ctf),
        ("shifts and a CTF with everything", shifts, hard),
    ):
        theirs = relion_images(tmp_path, volume, pixel_size, rotations, t, c)
        ours = shift_images(clean, t) if c is None else shift_and_apply_ctf(clean, t, c, pixel_size)
        worst = worst_correlation(ours, theirs)
        print(f"{structure}, {what}: lowest correlation {worst:.6f}")
        assert worst > 0.999, what


def test_what_differs_goes_away_as_relion_interpolates_more_finely(tmp_path):
    volume, pixel_size = structure_of("7cfn")
    rotations, shifts, ctf = draw(1)
    ours = shift_and_apply_ctf(project_volume(volume, rotations), shifts, ctf, pixel_size)

    def difference(padding: int) -> float:
        theirs = relion_images(tmp_path, volume, pixel_size, rotations, shifts, ctf, padding)
        return 1 - worst_correlation(ours, theirs)

    coarse, fine = difference(2), difference(8)
    print(f"7cfn, CTF: lowest correlation {1 - fine:.6f} with --pad 8")
    assert fine < 1e-5
    assert fine < 0.1 * coarse
