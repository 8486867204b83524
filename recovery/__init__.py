"""From the distances between views to orientations, a map, and figures to trust them by.

Names are imported on first use, so that what needs no network does not wait for Keras.
"""

from importlib import import_module
from typing import Any

_HOMES = {
    "align_orientations": "alignment",
    "embed_distances": "embedding",
    "recover": "from_images",
}

__all__ = ["align_orientations", "embed_distances", "recover"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
