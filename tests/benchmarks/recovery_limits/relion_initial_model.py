"""RELION's InitialModel on images without CTF: its own flags, a budget, its orientations."""

import math
import shutil
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import mrcfile
import numpy as np
import pandas as pd
import starfile
from numpy.typing import NDArray

from cryotwin.imaging.errors import InputError
from cryotwin.imaging.rotations import relion_angles_to_matrices

PROGRAM = "relion_refine"

_FLAGS = (
    *("--sgd", "--denovo_3dref", "--K", "1", "--sym", "C1", "--flatten_solvent", "--zero_mask"),
    *("--sgd_ini_resol", "35", "--sgd_fin_resol", "15"),
    *("--sgd_ini_subset", "100", "--sgd_fin_subset", "200", "--sgd_write_iter", "5"),
    *("--oversampling", "1", "--healpix_order", "1"),
    *("--pad", "1", "--skip_gridding", "--pool", "3", "--preread_images"),
    *("--dont_combine_weights_via_disc", "--random_seed", "1"),
)
"""What the job InitialModel of RELION 3.1 passes on by default, with one class and no CTF. Only its
last batches are smaller than the job's 500, which would be all images here."""

_PHASES = {"--sgd_ini_iter": 50, "--sgd_inbetween_iter": 200, "--sgd_fin_iter": 50}
"""The job's iterations."""

_LEAST_NOISE = 1e-3
"""Standard deviation of the background, in units of the images', below which there is none."""


@dataclass(frozen=True)
class InitialModel:
    """What a run left: rotations (P, 3, 3), the last iteration that was written, seconds."""

    rotations: NDArray[np.float64]
    iteration: int
    seconds: float


def initial_model(
    images: NDArray[np.float32],
    pixel_size_angstrom: float,
    folder: Path,
    *,
    particle_diameter_angstrom: float,
    max_shift_px: float,
    budget_seconds: float,
    threads: int,
    share: float,
) -> InitialModel:
    """Runs a share of the job's 300 iterations, or as many of them as the budget allows.

    Args:
        images: (P, N, N), particles bright.
        pixel_size_angstrom: of the images.
        folder: for its files; emptied first.
        particle_diameter_angstrom: of the mask on images.
        max_shift_px: how far it searches for the centre; 0 tells it that particles are centred.
        budget_seconds: when it is stopped; what was written last counts.
        threads: of the program.
        share: of each phase of the job's iterations.

    Raises:
        InputError: the program is not installed.
        RuntimeError: it wrote no orientations within the budget; the message has its last lines.
    """
    if shutil.which(PROGRAM) is None:
        raise InputError(f"{PROGRAM} must be in PATH (Debian package relion); it is not there")
    shutil.rmtree(folder, ignore_errors=True)
    output = folder / "output"
    output.mkdir(parents=True)
    noisy = _write_particles(images, pixel_size_angstrom, particle_diameter_angstrom, folder)
    words = [PROGRAM, "--o", "output/run", "--i", "particles.star", *_FLAGS]
    for flag, iterations in _PHASES.items():
        words += [flag, str(max(1, round(share * iterations)))]
    words += ["--particle_diameter", f"{particle_diameter_angstrom:g}"]
    words += ["--offset_range", str(math.ceil(max_shift_px)), "--j", str(threads)]
    words += ["--offset_step", "2" if max_shift_px else "1"]
    if not noisy:
        words.append("--dont_check_norm")
    began = time.perf_counter()
    with (folder / "log.txt").open("w") as log:
        try:
            subprocess.run(
                words, cwd=folder, stdout=log, stderr=subprocess.STDOUT, timeout=budget_seconds
            )
        except subprocess.TimeoutExpired:
            log.write("\nstopped: the budget is spent\n")
    seconds = time.perf_counter() - began
    written = sorted(output.glob("run_it*_data.star"))
    written = [path for path in written if path.name != "run_it000_data.star"]
    if not written:
        tail = (folder / "log.txt").read_text().splitlines()[-5:]
        raise RuntimeError(f"{PROGRAM} wrote no orientations in {budget_seconds:g} s: {tail}")
    return InitialModel(
        read_rotations(written[-1], len(images)), int(written[-1].name[6:9]), seconds
    )


def read_rotations(path: Path, count: int) -> NDArray[np.float64]:
    """Reads the rotations (P, 3, 3) of a data file of RELION, in the order of the image stack."""
    table = starfile.read(path, always_dict=True)["particles"]
    places = table["rlnImageName"].str.partition("@")[0].astype(int).to_numpy() - 1
    if sorted(places) != list(range(count)):
        raise InputError(f"{path}: holds {len(places)} particles, {count} were expected")
    angles = table[["rlnAngleRot", "rlnAngleTilt", "rlnAnglePsi"]].to_numpy(np.float64)
    rotations = np.empty((count, 3, 3))
    rotations[places] = relion_angles_to_matrices(angles)
    return rotations


def normalised(
    images: NDArray[np.float32], radius_px: float
) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Brings the background outside a circle to mean 0 and deviation 1, as relion_preprocess does.

    Returns:
        The images, and the deviation (P,) that the background had. Where there is none (images
        without noise) only the mean is taken off.
    """
    axis = np.arange(images.shape[-1]) - images.shape[-1] // 2
    outside = np.hypot(axis[:, None], axis) > radius_px
    background = images[:, outside].astype(np.float64)
    mean, deviation = background.mean(axis=1), background.std(axis=1)
    scale = np.where(deviation > _LEAST_NOISE * images.std(), deviation, 1.0)
    moved = (images - mean[:, None, None]) / scale[:, None, None]
    return moved.astype(np.float32), deviation


def _write_particles(
    images: NDArray[np.float32], pixel_size: float, diameter: float, folder: Path
) -> bool:
    """Writes stack and .star file; tells whether the images have a background of noise."""
    stack, deviation = normalised(images, diameter / pixel_size / 2)
    with mrcfile.new(folder / "particles.mrcs") as file:
        file.set_data(stack)
        file.set_image_stack()
        file.voxel_size = pixel_size
    optics = pd.DataFrame(
        {
            "rlnOpticsGroupName": ["opticsGroup1"],
            "rlnOpticsGroup": [1],
            "rlnVoltage": [300.0],
            "rlnSphericalAberration": [2.7],
            "rlnAmplitudeContrast": [0.1],
            "rlnImagePixelSize": [pixel_size],
            "rlnImageSize": [images.shape[-1]],
            "rlnImageDimensionality": [2],
        }
    )
    names = [f"{number:06d}@particles.mrcs" for number in range(1, len(images) + 1)]
    particles = pd.DataFrame({"rlnImageName": names, "rlnOpticsGroup": 1})
    starfile.write({"optics": optics, "particles": particles}, folder / "particles.star")
    return bool((deviation > _LEAST_NOISE * images.std()).all())
