"""Which particle belongs to which split, and to which shard of it (the paper's Table 1)."""

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from cryotwin.imaging.errors import InputError
from cryotwin.imaging.randomness import keyed_generator

SPLITS = ("train", "validation", "test")
"""The splits of every dataset, in the order of its metadata."""

SPLIT_BY = ("particle", "cluster")
"""What is dealt to the splits: each particle by itself, or all of a cluster of structures."""

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


def cluster_splits(sizes: Mapping[str, int], *, seed: int) -> dict[str, str]:
    """Deals whole clusters of structures to the splits, so that no split knows another's.

    The largest cluster goes first, each to the split that lacks most of its share of
    `split_sizes`; the seed decides among clusters of one size. A split is at most one cluster
    larger than its share.

    Args:
        sizes: particles of each cluster, by its name.
        seed: of the dataset.

    Returns:
        The split of each cluster, by its name; no split is empty.

    Raises:
        InputError: there are fewer clusters than splits.
    """
    if len(sizes) < len(SPLITS):
        raise InputError(
            f"clusters of structures must be at least {len(SPLITS)} to fill the splits "
            f"{', '.join(SPLITS)}, not {len(sizes)}"
        )
    lacking = split_sizes(sum(sizes.values()))
    names = sorted(sizes)
    shuffled = [names[place] for place in keyed_generator(seed, "clusters").permutation(len(names))]
    chosen: dict[str, str] = {}
    for left, name in zip(
        range(len(names), 0, -1), sorted(shuffled, key=lambda name: -sizes[name]), strict=True
    ):
        empty = [split for split in SPLITS if split not in chosen.values()]
        open_splits = empty if len(empty) == left else SPLITS
        split = max(open_splits, key=lambda split: lacking[split])
        chosen[name] = split
        lacking[split] -= sizes[name]
    return chosen


def even_parts(indices: NDArray[np.int64], largest: int) -> list[NDArray[np.int64]]:
    """Cuts indices (P,) into the fewest parts of at most `largest`, of nearly equal length."""
    return np.array_split(indices, max(1, math.ceil(len(indices) / largest)))
