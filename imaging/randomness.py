"""Random numbers that come from a seed and a key, never from the order of work."""

import zlib

import numpy as np

_END = zlib.crc32(b"end of key")


def keyed_generator(seed: int, *key: str | int) -> np.random.Generator:
    """Makes the generator that belongs to `seed` and a key such as (structure, index, "noise").

    Equal arguments give the same stream on every machine, process and NumPy >= 2.
    """
    words = [zlib.crc32(part.encode()) if isinstance(part, str) else part for part in key]
    if key and not isinstance(key[-1], str):
        # NumPy pads short seeds with zeros: without an end ("x", 0) would be the same as ("x",).
        words.append(_END)
    return np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, *words])))
