"""The projections that experiments train and test on, made once by the pipeline of `generate`."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import starfile
from numpy.typing import NDArray

from cryotwin.datasets.folder import is_dataset_folder, load_split, open_folder
from cryotwin.datasets.perturbation import Perturbation, PerturbedImages
from cryotwin.datasets.splits import SPLITS
from cryotwin.imaging.ctf import CtfDistribution
from cryotwin.imaging.maps import read_map
from cryotwin.imaging.orientations import draw_quaternions
from cryotwin.imaging.randomness import keyed_generator
from cryotwin.imaging.rotations import matrices_to_relion_angles, quaternions_to_matrices
from cryotwin.models.pair_batches import Views
from cryotwin.pipelines.generate import generate_dataset
from cryotwin.pipelines.generate_settings import GenerateSettings
from cryotwin.pipelines.reproduction.target import PAPER_BOX_PX, Target
from cryotwin.pipelines.reproduction.workspace import Record, Workspace
from cryotwin.pipelines.structure_lists import list_structures
from cryotwin.pipelines.subjects import Grid

PROJECTIONS_SEED = 2021


@dataclass(frozen=True)
class ViewSettings:
    """Clean projections of a particle.

    Attributes:
        target: the particle.
        box_px: edge of the images.
        count: over the three splits.
        orientations: a distribution of `cryotwin.imaging.orientations`.
        seed: of the orientations.
    """

    target: Target
    box_px: int
    count: int
    orientations: str = "so3"
    seed: int = PROJECTIONS_SEED


HALF_OF_THE_DIRECTIONS = (
    "Projections are from half of the directions, as in the paper's Figures 7 and 9 (its footnote "
    "6): opposite ones show mirror images, which a reduced training as in the paper hardly learns "
    "to tell apart."
)
"""A remark on results of `half_of_the_directions`."""


def half_of_the_directions(workspace: Workspace) -> ViewSettings:
    """Gives the particle without symmetry from half of the directions, Euler angles uniform."""
    scale = workspace.scale
    return ViewSettings(workspace.asymmetric, scale.box_px, scale.count, "euler-half")


@dataclass(frozen=True)
class SplitViews:
    """Clean projections of variance 1 by split, with the map that they are of.

    Attributes:
        splits: "train", "validation" and "test".
        volume: (N, N, N), as z, y, x, whose projections they are.
        pixel_size_angstrom: of both.
    """

    splits: dict[str, Views]
    volume: NDArray[np.float32]
    pixel_size_angstrom: float


@dataclass(frozen=True)
class Condition:
    """What the microscope does, in the numbers of the paper's images of 116 px.

    Attributes:
        noise_variance: of white noise on projections of variance 1 (the paper's sigma^2).
        max_shift_px: limit of the triangular distribution of both components of the shift.
        ctf: what the CTF of each image is drawn from; None applies none.
    """

    noise_variance: float = 0.0
    max_shift_px: float = 0.0
    ctf: CtfDistribution | None = None

    def at(self, box_px: int) -> Perturbation:
        """Gives the same for images of the same field in another box.

        Noise is averaged with the pixels, shifts stay the same in angstrom.
        """
        ratio = box_px / PAPER_BOX_PX
        return Perturbation(
            noise_variance=self.noise_variance * ratio**2,
            max_shift_px=self.max_shift_px * ratio,
            shift_distribution="triangular" if self.max_shift_px else "uniform",
            ctf=self.ctf,
        )


def make_views(workspace: Workspace, settings: ViewSettings) -> SplitViews:
    """Gives the projections, from the workspace if they were made before."""

    def work(folder: Path) -> Record:
        return _generate(folder / "dataset", settings)

    _, folder = workspace.step(f"views-{settings.target.name}", settings, work)
    dataset = open_folder(folder / "dataset")
    splits = {}
    for split in SPLITS:
        arrays = load_split(dataset, split)
        splits[split] = Views(arrays["image"], arrays["quaternion"].astype(np.float64))
    volume = dataset.volume_path()
    assert volume is not None, "a dataset of one structure has its map"
    return SplitViews(
        splits,
        np.asarray(read_map(volume).data, np.float32),
        float(dataset.metadata["pixel_size_angstrom"]),
    )


def _generate(out: Path, settings: ViewSettings) -> Record:
    target = settings.target
    if not is_dataset_folder(out):
        symmetric, orientations = target.symmetry != "C1", settings.orientations
        if symmetric:
            # Drawn ones would be taken to the fundamental domain; listed ones stay where they are.
            orientations = str(_list_orientations(out.with_name("orientations.star"), settings))
        generate_dataset(
            list_structures([target.spec]),
            Grid(
                settings.box_px,
                None if target.field_angstrom is None else target.field_angstrom / settings.box_px,
                _resolution(settings),
            ),
            GenerateSettings(
                count=settings.count,
                seed=settings.seed,
                orientations=orientations,
                symmetry=target.symmetry,
                align_symmetry=symmetric,
            ),
            out,
        )
    return {"particles": settings.count, "settings": asdict(settings)}


def _list_orientations(path: Path, settings: ViewSettings) -> Path:
    """Draws the orientations, and writes them for `generate` as a .star file."""
    rng = keyed_generator(settings.seed, settings.target.name, "listed orientations")
    drawn = draw_quaternions(settings.orientations, settings.count, rng)
    angles = matrices_to_relion_angles(quaternions_to_matrices(drawn))
    table = pd.DataFrame(angles, columns=["rlnAngleRot", "rlnAngleTilt", "rlnAnglePsi"])
    starfile.write({"particles": table}, path, overwrite=True)
    return path


def _resolution(settings: ViewSettings) -> float | None:
    """Takes the paper's resolution in the paper's box, and the usual one in a smaller box."""
    return settings.target.resolution_angstrom if settings.box_px >= PAPER_BOX_PX else None


def perturbed(
    views: Views, condition: Condition, pixel_size_angstrom: float, *key: Any
) -> PerturbedImages:
    """Perturbs views once and for all: the same draws whenever the key is the same."""
    return condition.at(views.images.shape[-1]).perturb_and_tell(
        views.images, keyed_generator(0, *key), pixel_size_angstrom=pixel_size_angstrom
    )
