"""The Keras zoo: extractors, distance heads, training, published weights.

Names are imported on first use, so that what needs no network does not wait for Keras.
"""

from importlib import import_module
from typing import Any

_HOMES = {
    "build": "siamese",
    "load": "model_files",
    "list_models": "model_files",
    "read_metadata": "model_files",
}

__all__ = ["build", "list_models", "load", "read_metadata"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
