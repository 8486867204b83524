"""The physics of a cryo-EM image that every other part shares (equation (1) of the paper).

The projectors are imported on first use, so that importing a light module of this package is quick.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cryotwin.imaging.projection import backproject_images, project_volume

__all__ = ["backproject_images", "project_volume"]


def __getattr__(name: str) -> Any:
    """Imports the projectors when they are asked for."""
    if name in __all__:
        from cryotwin.imaging import projection

        return getattr(projection, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
