"""Slices through maps, small enough for the JSON file of a result."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from cryotwin.imaging.fourier import resize_images

_SHOWN_PART = 3 / 4
_SHOWN_PX = 36


def shown_slice(volume: NDArray[np.floating]) -> list[str]:
    """Gives the middle of the middle slice of a map, its rows as hexadecimal bytes.

    Bytes are grey levels from the lowest to the highest value; at most 36 px are left.
    """
    size = len(volume)
    inner = slice(round(size * (1 - _SHOWN_PART) / 2), round(size * (1 + _SHOWN_PART) / 2))
    middle = np.asarray(volume[size // 2, inner, inner], np.float32)
    if len(middle) > _SHOWN_PX:
        middle = resize_images(middle[None], _SHOWN_PX)[0]
    low, high = float(middle.min()), float(middle.max())
    grey = np.rint((middle - low) / max(high - low, 1e-12) * 255).astype(np.uint8)
    return [row.tobytes().hex() for row in grey]


def read_slice(rows: Any) -> NDArray[np.uint8]:
    """Gives the grey levels (N, N) of `shown_slice`."""
    return np.array([list(bytes.fromhex(row)) for row in rows], np.uint8)
