"""The particles that recovery is measured on: the paper's two proteins, made anew and kept.

Their seed is one that no published estimator was trained with, so all views are new to them.
"""

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cryotwin.datasets.folder import is_dataset_folder, load_split, open_folder
from cryotwin.datasets.perturbation import Perturbation
from cryotwin.imaging.errors import InputError
from cryotwin.imaging.maps import read_map
from cryotwin.imaging.randomness import keyed_generator
from zoo.claims import claimed
from zoo.projections import PAPER_COUNT, PAPER_TEST, SEED, SIZE_PX, noise_variance


@dataclass(frozen=True)
class Protein:
    """A protein as the paper projects it: its file, symmetry, and flags of `cryotwin generate`."""

    file: str
    symmetry: str
    flags: tuple[str, ...]


PROTEINS = {
    "5j0n": Protein("5j0n.mrc", "C1", ("--pixel-size", "3.67")),
    "5a1a": Protein(
        "5a1a.cif.gz",
        "D2",
        ("--pixel-size", "2.371", "--resolution", "3", "--symmetry", "D2", "--align-symmetry"),
    ),
}

PAPER_SHIFT_PX = 0.05 * SIZE_PX
"""5% of the box."""


@dataclass(frozen=True)
class Condition:
    """What happened to the images of a protein.

    Attributes:
        protein: a key of `PROTEINS`.
        snr_db: of the images; None is no noise.
        max_shift_px: neither component of a shift is further from zero.
        count: projections of the dataset, over all splits.
        views: of the test split, from its start.
    """

    protein: str
    snr_db: float | None
    max_shift_px: float
    count: int = PAPER_COUNT
    views: int = PAPER_TEST

    @property
    def symmetry(self) -> str:
        """Point group of the protein."""
        return PROTEINS[self.protein].symmetry

    @property
    def estimator(self) -> str:
        """The published estimator for these images: that for noise, or that for none."""
        return self.protein if self.snr_db is not None else f"{self.protein}-clean"

    @property
    def label(self) -> str:
        """A name for files and progress."""
        noise = "clean" if self.snr_db is None else f"{self.snr_db:g}dB"
        return f"{self.protein}-{noise}-shift{self.max_shift_px:g}"


@dataclass(frozen=True)
class Particles:
    """P images with the truth about them.

    Attributes:
        images: (P, N, N), shifted and noisy.
        noiseless: (P, N, N), the same before the noise.
        quaternions: (P, 4).
        shifts_px: (P, 2) as x, y.
        volume: (N, N, N), whose projections have variance 1.
        pixel_size_angstrom: of images and volume.
    """

    images: NDArray[np.float32]
    noiseless: NDArray[np.float32]
    quaternions: NDArray[np.float64]
    shifts_px: NDArray[np.float64]
    volume: NDArray[np.float32]
    pixel_size_angstrom: float


def projections_folder(cache: Path, protein: str, count: int) -> Path:
    """Names the dataset folder of `count` clean projections of a protein."""
    return cache / "projections" / f"{protein}-{count}-of-its-map"


def make_projections(cache: Path, protein: str, count: int, structure: Path) -> None:
    """Makes the projections of a protein where they are not there yet.

    Raises:
        InputError: there is no such file.
    """
    folder = projections_folder(cache, protein, count)
    with claimed(folder.with_suffix(".lock")):
        if is_dataset_folder(folder):
            return
        if not structure.is_file():
            raise InputError(f"{structure}: is not there; expected the structure of {protein}")
        program = "import sys; from cryotwin.pipelines.command_line import main; sys.exit(main())"
        words = ["generate", str(structure), "--out", str(folder), "--count", str(count)]
        words += ["--size", str(SIZE_PX), "--seed", str(SEED), *PROTEINS[protein].flags]
        print(f"making {count:,} projections of {protein}", flush=True)
        subprocess.run([sys.executable, "-c", program, *words], check=True)


def particles(cache: Path, condition: Condition) -> Particles:
    """Gives the images of a condition: the same views, shifts and noise whatever its strength."""
    opened = open_folder(projections_folder(cache, condition.protein, condition.count))
    loaded = load_split(opened, "test", limit=condition.views)
    path = opened.volume_path()
    assert path is not None
    perturbation = Perturbation(
        noise_variance=noise_variance(condition.snr_db), max_shift_px=condition.max_shift_px
    )
    shifted = Perturbation(max_shift_px=condition.max_shift_px)
    noisy, noiseless = (
        step.perturb_and_tell(loaded["image"], keyed_generator(SEED, "limits"))
        for step in (perturbation, shifted)
    )
    return Particles(
        noisy.images,
        noiseless.images,
        loaded["quaternion"].astype(np.float64),
        noisy.shifts_px.astype(np.float64),
        read_map(path).data,
        float(opened.metadata["pixel_size_angstrom"]),
    )
