"""What `cryotwin generate` and `cryotwin train` make of the microscope's flags."""

import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import mrcfile
import numpy as np
import pytest

from cryotwin.datasets import read_particles
from cryotwin.datasets.folder import load_split, open_folder
from cryotwin.datasets.image_stacks import format_image_name, write_stack
from cryotwin.datasets.perturbation import Perturbation
from cryotwin.datasets.schema import CTF_FIELDS
from cryotwin.datasets.star_files import write_orientations_star
from cryotwin.imaging.ctf import CtfDistribution, CtfParameters
from cryotwin.imaging.microscope import shift_and_apply_ctf
from cryotwin.imaging.noise import NoiseSpectrum, write_noise_spectrum
from cryotwin.imaging.projection import project_volume
from cryotwin.imaging.rotations import quaternions_to_matrices
from cryotwin.models.model_files import read_metadata
from cryotwin.pipelines.command_line import main


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--defocus", "5000", "9000"], "--defocus needs --ctf"),
        (["--b-factor", "0"], "--b-factor needs --ctf"),
        (["--ctf", "--defocus", "9000", "5000"], r"defocus_angstrom must rise .*\(9000.0, 5000.0"),
        (["--ctf", "--voltage", "-300"], "voltage_kv must be from 1 to 1e.06, not -300"),
        (["--ctf", "--amplitude-contrast", "2"], "amplitude_contrast must be .*not 2"),
        (["--shift-distribution", "square"], "shift distribution must be .* not 'square'"),
        (["--shift-distribution", "gaussian"], "'gaussian' needs a max shift above 0"),
        (["--noise-spectrum", "nowhere.txt"], "nowhere.txt: no such file"),
        (["--noise-spectrum", "nowhere.mrcs", "--snr-db", "0"], "nowhere.mrcs: no such file"),
    ],
)
def test_a_bad_argument_is_told_in_one_line(tmp_path, capsys, arguments, message):
    assert main(["generate", "7cfn", "--out", str(tmp_path / "data"), *arguments]) == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1, told
    assert re.search(message, told), told
    assert not (tmp_path / "data").exists()


def test_a_noise_spectrum_without_noise_is_told(tmp_path, capsys):
    write_noise_spectrum(tmp_path / "noise.txt", NoiseSpectrum((0.0,), (1.0,)))
    words = ["generate", "7cfn", "--out", str(tmp_path / "data")]
    assert main([*words, "--noise-spectrum", str(tmp_path / "noise.txt")]) == 2
    assert "a noise spectrum needs noise" in capsys.readouterr().err
    assert not (tmp_path / "data").exists()


@pytest.fixture(scope="module")
def through_the_microscope(tmp_path_factory) -> Path:
    """Through the command: CTF with everything, triangular shifts, noise as in a stack."""
    folder = tmp_path_factory.mktemp("microscope")
    y, x = np.fft.fftfreq(32)[:, None], np.fft.rfftfreq(32)
    white = np.random.default_rng(0).standard_normal((200, 32, 32))
    falling = np.fft.rfft2(white) / np.hypot(0.05, np.hypot(x, y))
    write_stack(folder / "real.mrcs", np.fft.irfft2(falling, s=(32, 32)), 4.0)
    words = ["generate", "7cfn", "--out", str(folder / "data"), "--count", "90", "--size", "32"]
    words += ["--noise-variance", "0.01", "--noise-spectrum", str(folder / "real.mrcs")]
    words += ["--max-shift", "2", "--shift-distribution", "triangular"]
    words += ["--ctf", "--defocus", "8000", "12000", "--astigmatism", "900", "--voltage", "200"]
    words += ["--cs", "2", "--amplitude-contrast", "0.07", "--phase-shift", "20", "60"]
    assert main([*words, "--b-factor", "50"]) == 0
    return folder / "data"


def test_a_dataset_with_a_ctf_says_so_and_its_images_have_it(through_the_microscope):
    folder = open_folder(through_the_microscope)
    fields = load_split(folder, "test")
    with mrcfile.open(folder.volume_path()) as file:
        volume = file.data.copy()
    ctf = CtfParameters(**{name: fields[f"ctf/{name}"] for name in CTF_FIELDS})
    pixel_size = folder.metadata["pixel_size_angstrom"]
    noise = fields["image"] - shift_and_apply_ctf(
        project_volume(volume, quaternions_to_matrices(fields["quaternion"])),
        fields["shift_angstrom"] / pixel_size,
        ctf,
        pixel_size,
    )
    assert noise.var() == pytest.approx(0.01, rel=0.15)
    power = (np.abs(np.fft.fft2(noise)) ** 2).mean(axis=0)
    assert power[0, 1:4].mean() > 5 * power[0, 12:17].mean()

    drawn = Perturbation.from_metadata(folder.metadata)
    assert drawn.shift_distribution == "triangular"
    assert drawn.ctf == CtfDistribution(
        (8000.0, 12000.0), 900.0, 200.0, 2.0, 0.07, tuple(np.radians([20.0, 60.0])), 50.0
    )
    assert drawn.noise_spectrum is not None
    assert "--defocus 8000.0 12000.0" in folder.metadata["command"]
    mean = (fields["ctf/defocus_u_angstrom"] + fields["ctf/defocus_v_angstrom"]) / 2
    assert mean.min() >= 8000
    assert mean.max() <= 12000
    assert np.ptp(mean) > 2000
    assert not load_split(folder, "train")["ctf/voltage_kv"].any()


def test_the_ctf_of_a_dataset_goes_to_a_star_file_and_back(through_the_microscope, tmp_path):
    particles = read_particles(through_the_microscope)
    write_stack(tmp_path / "test.mrcs", particles.images, particles.pixel_size_angstrom)
    write_orientations_star(
        tmp_path / "test.star",
        particles,
        particles.quaternions,
        particles.shifts_angstrom,
        image_names=[format_image_name(n, "test.mrcs") for n in range(len(particles))],
    )
    again = read_particles(tmp_path / "test.star")
    fields = load_split(through_the_microscope, "test")
    assert again.optics["rlnVoltage"].tolist() == [200]
    assert again.optics["rlnSphericalAberration"].tolist() == [2]
    assert again.optics["rlnAmplitudeContrast"].tolist() == pytest.approx([0.07])
    for relion, ours in (
        ("rlnDefocusU", fields["ctf/defocus_u_angstrom"]),
        ("rlnDefocusV", fields["ctf/defocus_v_angstrom"]),
        ("rlnDefocusAngle", np.degrees(fields["ctf/defocus_angle_rad"])),
        ("rlnPhaseShift", np.degrees(fields["ctf/phase_shift_rad"])),
        ("rlnCtfBfactor", fields["ctf/b_factor_angstrom2"]),
    ):
        np.testing.assert_allclose(again.columns[relion], ours, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(again.shifts_angstrom, fields["shift_angstrom"], atol=1e-4)


def test_a_ctf_that_reaches_beyond_the_box_is_noted(tmp_path, capsys):
    words = [
        "generate",
        "7cfn",
        "--out",
        str(tmp_path / "data"),
        "--count",
        "3",
        "--size",
        "32",
        "--ctf",
    ]
    assert main([*words, "--defocus", "90000", "100000"]) == 0
    assert "note: at the highest defocus the CTF carries signal up to" in capsys.readouterr().out


def test_training_draws_what_the_dataset_says(through_the_microscope, tmp_path):
    words = ["train", str(through_the_microscope), "--model", "resnet_small", "--epochs", "1"]
    words += ["--feature-dim", "16", "--batch-size", "32", "--max-shift", "1"]
    assert main([*words, "--out", str(tmp_path / "est.keras")]) == 0
    trained = Perturbation.from_metadata(read_metadata(tmp_path / "est.keras"))
    drawn = Perturbation.from_metadata(open_folder(through_the_microscope).metadata)
    assert trained == replace(drawn, max_shift_px=1.0)


@pytest.mark.relion
@pytest.mark.skipif(shutil.which("relion_project") is None, reason="RELION is not installed")
def test_relion_makes_the_images_of_a_dataset_from_its_map_and_star_file(tmp_path):
    words = ["generate", "7cfn", "--out", str(tmp_path / "data"), "--count", "30", "--ctf"]
    words += ["--max-shift", "3", "--astigmatism", "2000", "--phase-shift", "0", "90"]
    assert main([*words, "--b-factor", "30"]) == 0
    particles = read_particles(tmp_path / "data")
    write_orientations_star(
        tmp_path / "test.star",
        particles,
        particles.quaternions,
        particles.shifts_angstrom,
        image_names=[format_image_name(n, "test.mrcs") for n in range(len(particles))],
    )
    words = ["relion_project", "--i", str(particles.volume_path), "--ang", "test.star"]
    words += ["--o", "relion", "--ctf", "--angpix", str(particles.pixel_size_angstrom)]
    subprocess.run(words, cwd=tmp_path, check=True, capture_output=True)
    with mrcfile.open(tmp_path / "relion.mrcs") as file:
        theirs = file.data.copy()
    assert len(theirs) == len(particles) == 10
    for ours, relions in zip(particles.images, theirs, strict=True):
        assert np.corrcoef(ours.ravel(), relions.ravel())[0, 1] > 0.999
        assert ours.std() == pytest.approx(relions.std(), rel=0.01)
