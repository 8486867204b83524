"""Views of a split as they were before the microscope, projected anew from the true map.

The validation and test splits are stored perturbed. Their orientations and the true map are
stored too, so their clean projections are those of views that no training has seen.
"""

import numpy as np
from numpy.typing import NDArray

from cryotwin.datasets.folder import DatasetFolder, load_split
from cryotwin.datasets.synthesis import particle_projector
from cryotwin.imaging.errors import InputError
from cryotwin.imaging.maps import read_map
from cryotwin.imaging.rotations import quaternions_to_matrices


def clean_views(
    folder: DatasetFolder, split: str, *, limit: int | None = None
) -> tuple[NDArray[np.float32], NDArray[np.floating]]:
    """Gives the clean projections of a split and their orientations.

    Args:
        folder: a dataset of one structure, with its map.
        split: "train", "validation" or "test".
        limit: take only so many views from the start.

    Returns:
        Images (P, N, N), scaled as the dataset's (clean projections have variance 1), and
        quaternions (P, 4).

    Raises:
        InputError: the dataset has no map, or several, or the split cannot be read.
    """
    volume = folder.volume_path()
    if volume is None or not volume.is_file():
        raise InputError(
            f"{folder.path}: has no map to project clean views from; "
            "expected a dataset of one structure that cryotwin generate wrote"
        )
    quaternions = load_split(folder, split, limit=limit)["quaternion"]
    projector = particle_projector(read_map(volume).data)
    rotations = quaternions_to_matrices(quaternions)
    images = np.empty((len(rotations), projector.size, projector.size), np.float32)
    for start in range(0, len(rotations), projector.batch):
        part = slice(start, start + projector.batch)
        images[part] = projector.project(rotations[part])
    return images, quaternions
