"""RELION goes on from what `cryotwin recover` wrote, whatever the particles came in."""

import shutil
import subprocess

import numpy as np
import pandas as pd
import pytest
import starfile

from cryotwin.datasets.folder import load_split, open_folder
from cryotwin.datasets.image_stacks import write_stack
from cryotwin.imaging.maps import read_map
from cryotwin.pipelines.command_line import main
from cryotwin.recovery.resolution import fourier_shell_correlation

pytestmark = [
    pytest.mark.relion,
    pytest.mark.skipif(shutil.which("relion_refine") is None, reason="RELION is not installed"),
]

REFINE = (
    "--iter 2 --K 1 --ini_high 30 --firstiter_cc --particle_diameter 120 --sym C1 --norm --scale "
    "--zero_mask --flatten_solvent --oversampling 0 --healpix_order 1 --offset_range 2 --pad 1"
)


def recover(particles, out):
    words = ["recover", str(particles), "--out", str(out), "--estimator", "7cfn"]
    assert main([*words, "--no-refine"]) == 0


def relion(project, *words):
    done = subprocess.run(words, cwd=project, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def star_3_0(path, names, pixel_size):
    """What RELION 3.0 leaves: one table, origins in pixels, the scores of a refinement."""
    count = len(names)
    table = {
        "rlnImageName": names,
        "rlnMicrographName": [f"Micrographs/{number % 7:03d}.mrc" for number in range(count)],
        "rlnMagnification": [1e5 / pixel_size] * count,
        "rlnDetectorPixelSize": [10.0] * count,
        "rlnVoltage": [300.0] * count,
        "rlnSphericalAberration": [2.7] * count,
        "rlnAmplitudeContrast": [0.1] * count,
        "rlnDefocusU": np.linspace(1e4, 2e4, count),
        "rlnDefocusV": np.linspace(1e4, 2e4, count),
        "rlnDefocusAngle": np.linspace(0, 90, count),
        "rlnAngleRot": np.linspace(0, 300, count),
        "rlnAngleTilt": np.linspace(10, 170, count),
        "rlnAnglePsi": np.linspace(-170, 170, count),
        "rlnAngleTiltPrior": np.linspace(10, 170, count),
        "rlnOriginX": [0.5] * count,
        "rlnOriginY": [-0.5] * count,
        "rlnNormCorrection": [0.9] * count,
        "rlnClassNumber": [12] * count,
        "rlnLogLikeliContribution": [1.4e5] * count,
        "rlnMaxValueProbDistribution": [0.1] * count,
        "rlnNrOfSignificantSamples": [30] * count,
    }
    starfile.write({"": pd.DataFrame(table)}, path)


def cryosparc(folder, images, pixel_size):
    """What cryoSPARC leaves: a .cs file, and a stack whose name ends in .mrc."""
    write_stack(folder / "stack.mrc", images, pixel_size)
    fields = [("uid", "<u8"), ("blob/path", "S9"), ("blob/idx", "<u4"), ("blob/psize_A", "<f4")]
    table = np.zeros(len(images), [*fields, ("blob/sign", "<f4")])
    table["uid"] = table["blob/idx"] = np.arange(len(images))
    table["blob/path"], table["blob/psize_A"], table["blob/sign"] = b"stack.mrc", pixel_size, 1.0
    with (folder / "particles.cs").open("wb") as file:
        np.save(file, table)
    return folder / "particles.cs"


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    """Images that the published estimator knows, enough for a map."""
    out = tmp_path_factory.mktemp("relion") / "dataset"
    words = ["generate", "7cfn", "--out", str(out), "--count", "360", "--size", "48"]
    assert main([*words, "--snr-db", "0", "--seed", "5"]) == 0
    return out


@pytest.fixture(params=["dataset", "star", "mrcs", "cs"])
def project(request, dataset, tmp_path):
    """A folder to run RELION in, with a run in it."""
    images = load_split(dataset, "test")["image"]
    pixel_size = open_folder(dataset).metadata["pixel_size_angstrom"]
    if request.param == "dataset":
        recover(dataset, tmp_path / "run")
        # Where the images were no files, the run holds them, and is where RELION works.
        return tmp_path / "run", tmp_path / "run"
    if request.param == "cs":
        recover(cryosparc(tmp_path, images, pixel_size), tmp_path / "run")
        return tmp_path, tmp_path / "run"
    write_stack(tmp_path / "stack.mrcs", images, pixel_size)
    particles = tmp_path / "stack.mrcs"
    if request.param == "star":
        particles = tmp_path / "particles.star"
        names = [f"{number + 1:06d}@stack.mrcs" for number in range(len(images))]
        star_3_0(particles, names, pixel_size)
    recover(particles, tmp_path / "run")
    return tmp_path, tmp_path / "run"


def test_relion_reconstructs_and_refines_from_the_run(project):
    folder, run = project
    star = run / "orientations.star"

    said = relion(folder, "relion_reconstruct", "--i", star, "--o", "rec.mrc")
    assert "unknown label: cryotwinKey" in said
    assert said.count("WARNING") == 1
    ours = sum(read_map(run / f"half_map_{half}.mrc").data for half in (1, 2))
    agreement = fourier_shell_correlation(ours, read_map(folder / "rec.mrc").data)
    assert agreement[1:8].min() > 0.9

    model = run / "initial_model.mrc"
    (folder / "refined").mkdir()
    relion(folder, *f"relion_refine --i {star} --o refined/ref {REFINE}".split(), "--ref", model)
    before = starfile.read(star)["particles"].set_index("cryotwinKey")
    after = starfile.read(folder / "refined" / "ref_it002_data.star")["particles"].set_index(
        "cryotwinKey"
    )
    after = after.loc[before.index]  # RELION may sort by micrograph
    kept = ["rlnImageName", "rlnRandomSubset", *(c for c in before if c.startswith("rlnDefocus"))]
    for column in kept:
        assert list(after[column]) == pytest.approx(list(before[column])) or list(
            after[column]
        ) == list(before[column])
    assert after["rlnParticleFigureOfMerit"].to_numpy() == pytest.approx(
        before["rlnParticleFigureOfMerit"].to_numpy(), abs=1e-5
    )
    refined = read_map(folder / "refined" / "ref_it002_class001.mrc").data
    assert np.corrcoef(refined.ravel(), ours.ravel())[0, 1] > 0.5
