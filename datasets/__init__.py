"""Datasets of particle images: the schema, the folder that `cryotwin generate` writes, and loading.

TensorFlow and tfds are imported inside the functions that need them, and the readers of particle
files on first use, so this import is quick.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cryotwin.datasets.particles import read_particles

__all__ = ["read_particles"]


def __getattr__(name: str) -> Any:
    """Imports `read_particles` when it is asked for."""
    if name == "read_particles":
        from cryotwin.datasets.particles import read_particles

        return read_particles
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
