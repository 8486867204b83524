"""Batches for training on all pairs, from views in memory.

Every batch is drawn from the seed, the epoch and its index: not from what was drawn before it, so
that training that was stopped goes on with the batches that it would have had.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cryotwin.datasets.augmentation import random_exact_views
from cryotwin.datasets.perturbation import PerturbedImages
from cryotwin.imaging.errors import InputError
from cryotwin.imaging.randomness import keyed_generator
from cryotwin.imaging.rotations import quaternions_to_matrices
from cryotwin.models.architectures import find_architecture
from cryotwin.models.inputs import check_images, estimator_inputs
from cryotwin.models.training_settings import TrainingSettings

LEAST_NOISE_LEVEL = 0.25
"""The noise of each image is drawn between this part of the standard deviation asked for and all
of it, so that an estimator also serves cleaner images; it makes the start easier, too."""

Batch = tuple[NDArray[np.float32], NDArray[np.float32]]
"""Images (B, N, N, 1), or images and CTF (B, N, N, 2), and the rows of their rotation matrices one
after the other, (B, 9)."""


@dataclass(frozen=True)
class Views:
    """Images with their orientations.

    Attributes:
        images: (P, N, N).
        quaternions: (P, 4).
        ctf: (P, N, N) of perturbed images, as `cryotwin.models.inputs.fit_ctf` gives it, for a
            model that takes it; else None.
    """

    images: NDArray[np.float32]
    quaternions: NDArray[np.floating]
    ctf: NDArray[np.float32] | None = None


class PairBatches:
    """Batches of perturbed views; batch b of epoch e depends on the seed, e and b alone.

    A model that takes the CTF gets it as a second channel of the images.

    Raises:
        InputError: the model takes the CTF, and the perturbation has none.
    """

    def __init__(self, views: Views, settings: TrainingSettings) -> None:
        self._views = views
        self._settings = settings
        self._takes_ctf = find_architecture(settings.model).takes_ctf
        if self._takes_ctf and settings.perturbation.ctf is None:
            raise InputError(
                f"model {settings.model!r} takes the CTF of each image, "
                "but the perturbation has none"
            )
        self._rotations = quaternions_to_matrices(views.quaternions).astype(np.float32)

    def __len__(self) -> int:
        return max(1, len(self._views.images) // self._settings.batch_size)

    def draw(self, epoch: int, index: int, highest_noise_level: float = 1.0) -> Batch:
        """Draws batch `index` of an epoch.

        Args:
            epoch: from 0.
            index: below the number of batches of an epoch.
            highest_noise_level: the standard deviation of the noise is drawn up to this part of
                the one asked for.
        """
        seed, size = self._settings.seed, self._settings.batch_size
        order = keyed_generator(seed, "order", epoch).permutation(len(self._views.images))
        rng = keyed_generator(seed, "batch", epoch, index)
        chosen = order[index * size : (index + 1) * size]
        images, rotations = random_exact_views(
            self._views.images[chosen], self._rotations[chosen], rng
        )
        levels = rng.uniform(LEAST_NOISE_LEVEL, highest_noise_level, len(chosen))
        perturbed = self._settings.perturbation.perturb_and_tell(
            images,
            rng,
            pixel_size_angstrom=self._settings.pixel_size_angstrom,
            noise_levels=levels,
        )
        return self._inputs(perturbed), rotations.reshape(len(chosen), 9)

    def _inputs(self, perturbed: PerturbedImages) -> NDArray[np.float32]:
        """Gives images (B, N, N, 1), or images and CTF (B, N, N, 2)."""
        metadata = {"takes_ctf": self._takes_ctf, "phase_flip": self._settings.phase_flip}
        pixel_size = self._settings.pixel_size_angstrom or 1.0  # Only a CTF asks for it.
        images, ctf = estimator_inputs(perturbed.images, pixel_size, metadata, perturbed.ctf)
        return np.stack([images] if ctf is None else [images, ctf], axis=-1)


def check_views(views: Views, name: str, devices: int = 1) -> None:
    """Raises InputError for views that cannot be trained on or validated with.

    Args:
        views: to check.
        name: of the split, for the message.
        devices: that share a batch.
    """
    least = 2 * devices
    if len(views.images) < least:
        raise InputError(
            f"the {name} split has {len(views.images)} images, but pairs need at least {least}"
        )
    if len(views.quaternions) != len(views.images):
        raise InputError(
            f"the {name} split has {len(views.images)} images, "
            f"but orientations of {len(views.quaternions)}"
        )
    check_images(views.images, source=f"the {name} split")
