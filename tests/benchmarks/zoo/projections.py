"""The projections that the benchmarks of the zoo train and test on: made once, kept in the cache.

They are the paper's two proteins at its 116 px, clean; each benchmark adds noise and shifts itself.
Their seed is one that no published estimator was trained with, so all of them are new to it.
"""

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cryotwin.datasets.folder import is_dataset_folder, load_split, open_folder
from cryotwin.datasets.perturbation import Perturbation
from cryotwin.imaging.atomic import atomic_output
from cryotwin.imaging.errors import InputError
from cryotwin.imaging.microscope import snr_from_db
from cryotwin.imaging.randomness import keyed_generator
from cryotwin.models.inputs import fit_images
from zoo.claims import claimed

STRUCTURES = Path(__file__).resolve().parents[3].parent / "shared" / "data" / "targets"
SIZE_PX = 116
SEED = 2021
PAPER_COUNT = 5000
"""The paper's projections of a protein: 2,512 for training, 838 for validation, 1,650 for tests."""

PAPER_TRAINING, PAPER_VALIDATION, PAPER_TEST = 2512, 838, 1650
_PART = 1000


@dataclass(frozen=True)
class Target:
    """A protein: its file in `STRUCTURES`, the edge of a pixel of its images, its symmetry."""

    file: str
    pixel_size_angstrom: float
    symmetry: str = "C1"
    flags: tuple[str, ...] = ()


TARGETS = {
    "5j0n": Target("5j0n.mrc", 3.67),
    "5a1a": Target("5a1a.cif.gz", 2.37, "D2", ("--symmetry", "D2", "--align-symmetry")),
}


@dataclass(frozen=True)
class Frame:
    """The box that images are resampled and cut to before a network sees them."""

    box_px: int = 32
    pixel_size_angstrom: float = 8.87

    def fit(self, images: NDArray[np.float32], pixel_size_angstrom: float) -> NDArray[np.float32]:
        """Brings images (P, N, N) to the box, a part at a time."""
        target = {"box_px": self.box_px, "pixel_size_angstrom": self.pixel_size_angstrom}
        parts = [
            fit_images(images[start : start + _PART], pixel_size_angstrom, target)
            for start in range(0, len(images), _PART)
        ]
        return np.concatenate(parts)


def dataset(cache: Path, target: str, count: int) -> Path:
    """Gives the folder of `count` clean projections of a target, made when it is not there."""
    folder = cache / "projections" / f"{target}-{count}"
    with claimed(folder.with_suffix(".lock")):
        if not is_dataset_folder(folder):
            _generate(folder, target, count)
    return folder


def _generate(folder: Path, name: str, count: int) -> None:
    target = TARGETS[name]
    structure = STRUCTURES / target.file
    if not structure.is_file():
        raise InputError(f"{structure}: is not there; the benchmarks of the zoo need it")
    program = "import sys; from cryotwin.pipelines.command_line import main; sys.exit(main())"
    words = ["generate", str(structure), "--out", str(folder), "--count", str(count)]
    words += ["--size", str(SIZE_PX), "--pixel-size", f"{target.pixel_size_angstrom:g}"]
    words += ["--seed", str(SEED), *target.flags]
    print(f"making {count:,} projections of {name}", flush=True)
    subprocess.run([sys.executable, "-c", program, *words], check=True)


def clean_views(
    folder: Path, split: str, limit: int
) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Gives up to `limit` images (P, 116, 116) and orientations (P, 4) of a split."""
    loaded = load_split(folder, split, limit=limit)
    return loaded["image"], loaded["quaternion"].astype(np.float64)


def fitted_views(
    cache: Path, folder: Path, split: str, limit: int, frame: Frame
) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Gives the same in the box that a network sees, from a small file once they were fitted."""
    name = f"{split}-{limit}-{frame.box_px}px-{frame.pixel_size_angstrom:g}A.npz"
    path = cache / "projections" / f"{folder.name}-{name}"
    with claimed(path.with_suffix(".lock")):
        if not path.is_file():
            images, quaternions = clean_views(folder, split, limit)
            pixel_size = float(open_folder(folder).metadata["pixel_size_angstrom"])
            fitted = frame.fit(images, pixel_size)
            with atomic_output(path) as temporary, temporary.open("wb") as file:
                np.savez(file, images=fitted, quaternions=quaternions)
    with np.load(path) as saved:
        return saved["images"], saved["quaternions"]


def noise_variance(snr_db: float | None) -> float:
    """Gives the variance of the noise on images of variance 1; None is no noise."""
    return 0.0 if snr_db is None else 1 / snr_from_db(snr_db)


def perturbed(
    images: NDArray[np.float32], *, snr_db: float | None = None, max_shift_px: float = 0.0
) -> NDArray[np.float32]:
    """Shifts images (P, N, N) and adds white noise; the same draws at every strength."""
    if snr_db is None and max_shift_px == 0:
        return images
    condition = Perturbation(noise_variance=noise_variance(snr_db), max_shift_px=max_shift_px)
    return condition.perturb(images, keyed_generator(SEED, "benchmark"))
