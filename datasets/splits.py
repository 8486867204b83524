"""Which particle belongs to which split, and to which shard of it (the paper's Table 1)."""

import math

import numpy as np
from numpy.typing import NDArray

from cryotwin.imaging.errors import InputError
from cryotwin.imaging.randomness import keyed_generator

SPLITS = ("train", "validation", "test")
"""The splits of every dataset, in the order of its metadata."""

MINIMUM_COUNT = 3
"""Fewer particles leave a split empty."""


def split_sizes(count: int) -> dict[str, int]:
    """Gives the sizes of the splits of `count` particles, about 50%, 17% and 33%.

    A third is for testing and a quarter of the rest for validation, both rounded up: 5,000
    particles give 2,512, 838 and 1,650.

    Raises:
        InputError: `count` is too small to fill three splits.
    """
    if count < MINIMUM_COUNT:
        raise InputError(f"count must be at least {MINIMUM_COUNT}, not {count}")
    test = math.ceil(33 * count / 100)
    validation = math.ceil((count - test) / 4)
    return {"train": count - test - validation, "validation": validation, "test": test}


def split_indices(count: int, *, seed: int, structure: str) -> dict[str, NDArray[np.int64]]:
    """Deals the particles 0 to `count` - 1 of a structure to the splits.

    A permutation that belongs to (seed, structure) decides; within a split the indices rise.

    Returns:
        For each of `SPLITS` the indices (P,) of its particles.
    """
    sizes = split_sizes(count)
    order = keyed_generator(seed, structure, "split").permutation(count)
    ends = np.cumsum([sizes[split] for split in SPLITS])[:-1]
    parts = np.split(order, ends)
    return {split: np.sort(part) for split, part in zip(SPLITS, parts, strict=True)}


def even_parts(indices: NDArray[np.int64], largest: int) -> list[NDArray[np.int64]]:
    """Cuts indices (P,) into the fewest parts of at most `largest`, of nearly equal length."""
    return np.array_split(indices, max(1, math.ceil(len(indices) / largest)))
