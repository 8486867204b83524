"""The physics of a cryo-EM image that every other part shares (equation (1) of the paper)."""

from cryotwin.imaging.projection import backproject_images, project_volume

__all__ = ["backproject_images", "project_volume"]
