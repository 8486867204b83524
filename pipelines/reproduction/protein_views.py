"""Projections of many proteins, to train on some and to test on others."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cryotwin.datasets.folder import is_dataset_folder, load_split, open_folder
from cryotwin.imaging.randomness import keyed_generator
from cryotwin.models.pair_batches import Views
from cryotwin.pipelines.fingerprint import file_digest
from cryotwin.pipelines.generate import generate_dataset
from cryotwin.pipelines.generate_settings import GenerateSettings
from cryotwin.pipelines.reproduction.views import PROJECTIONS_SEED
from cryotwin.pipelines.reproduction.workspace import Record, Workspace
from cryotwin.pipelines.structure_lists import list_structures
from cryotwin.pipelines.subjects import Grid


@dataclass(frozen=True)
class ProteinViews:
    """Clean projections of proteins, uniform on SO(3), each protein as large as its box allows.

    Attributes:
        proteins: how many.
        digest: of their files and the order of them.
        box_px: edge of the images.
        count: of each protein, over the three splits.
        seed: of the orientations.
    """

    proteins: int
    digest: str
    box_px: int
    count: int
    seed: int = PROJECTIONS_SEED


@dataclass(frozen=True)
class OneProtein:
    """Views of one protein.

    Attributes:
        name: of it.
        views: clean, of variance 1.
        pixel_size_angstrom: of the images.
    """

    name: str
    views: Views
    pixel_size_angstrom: float


def in_random_order(files: Sequence[Path]) -> list[Path]:
    """Shuffles files, the same way always: the first N are among the first N + 1."""
    order = keyed_generator(0, "proteins").permutation(len(files))
    return [files[place] for place in order]


def protein_views(files: Sequence[Path], *, box_px: int, count: int) -> ProteinViews:
    """Gives the settings of projections of these files."""
    told = [f"{path.name} {file_digest(str(path))}" for path in files]
    digest = hashlib.sha256("\n".join(told).encode()).hexdigest()[:16]
    return ProteinViews(len(files), digest, box_px, count)


def make_protein_views(workspace: Workspace, files: Sequence[Path], settings: ProteinViews) -> Path:
    """Gives the dataset folder, from the workspace if it was made before."""

    def work(folder: Path) -> Record:
        out = folder / "dataset"
        if not is_dataset_folder(out):
            generate_dataset(
                list_structures([str(path) for path in files]),
                Grid(settings.box_px),
                GenerateSettings(count=settings.count, seed=settings.seed),
                out,
            )
        return {}

    _, folder = workspace.step("protein-views", settings, work)
    return folder / "dataset"


def load_proteins(dataset: Path, split: str, *, most: int | None = None) -> list[OneProtein]:
    """Reads a split protein by protein, in the order of their names.

    Args:
        dataset: the folder.
        split: of it.
        most: proteins, the first ones; None for all.
    """
    arrays = load_split(open_folder(dataset), split)
    of: NDArray[np.str_] = arrays["structure"]
    return [
        OneProtein(
            str(name),
            Views(arrays["image"][of == name], arrays["quaternion"][of == name].astype(np.float64)),
            float(arrays["pixel_size_angstrom"][of == name][0]),
        )
        for name in np.unique(of)[:most]
    ]
