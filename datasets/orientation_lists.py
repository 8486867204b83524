"""Orientations that are given in a .star file, for particles that are to have them.

Particle i of every structure takes row i. The rows travel to the workers as a file beside the
volumes, so that the order for a shard stays small.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cryotwin.datasets.star_files import read_star_angles
from cryotwin.imaging.atomic import atomic_output
from cryotwin.imaging.errors import InputError

LIST_FILE = "orientations.npy"
"""The rows, beside the volumes while a dataset is made: quaternions (count, 4), scalar first."""


def is_orientation_list(orientations: str) -> bool:
    """Tells whether the orientations of a dataset are the name of a file, not a distribution."""
    return orientations.lower().endswith(".star")


def read_orientation_list(path: str | Path, count: int) -> NDArray[np.float64]:
    """Reads the orientations of `count` particles: the first rows of a .star file.

    Returns:
        Quaternions (count, 4), scalar first, w >= 0.

    Raises:
        InputError: it is no .star file, lists no orientations, or fewer than `count`.
    """
    quaternions = read_star_angles(path)
    if len(quaternions) < count:
        raise InputError(
            f"{path}: lists {len(quaternions):,} orientations, but {count:,} particles are asked "
            f"for, each with its row; expected at least {count:,} rows, or a smaller count"
        )
    return quaternions[:count]


def write_listed(folder: Path, quaternions: NDArray[np.float64]) -> None:
    """Writes the rows (count, 4) for `read_listed`."""
    with atomic_output(folder / LIST_FILE) as temporary, temporary.open("wb") as file:
        np.save(file, quaternions)


def read_listed(folder: Path, indices: Sequence[int]) -> NDArray[np.float64]:
    """Reads the orientations (P, 4) of the particles `indices` from the folder."""
    rows = np.load(folder / LIST_FILE, mmap_mode="r")
    return np.array(rows[np.asarray(indices)], dtype=np.float64)
