"""Datasets of particle images: the schema, the folder that `cryotwin generate` writes, and loading.

TensorFlow and tfds are imported inside the functions that need them, and the readers of particle
files on first use, so this import is quick. It makes the dataset `cryotwin_projections` known to
tfds, whichever of the two is imported first.
"""

from typing import TYPE_CHECKING, Any

from cryotwin.datasets.registration import register_with_tfds

if TYPE_CHECKING:
    from cryotwin.datasets.particles import read_particles

__all__ = ["read_particles"]

register_with_tfds()


def __getattr__(name: str) -> Any:
    """Imports `read_particles` when it is asked for."""
    if name == "read_particles":
        from cryotwin.datasets.particles import read_particles

        return read_particles
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
