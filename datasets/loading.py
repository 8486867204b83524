"""Batches for training on all pairs, read from the shards while training goes on.

A batch has many particles of one structure, or of several: pairs are formed within a structure
only. Images are perturbed as they are read, by the same NumPy code that perturbs stored splits.
Memory holds an index of the records and a few batches, whatever the size of the dataset.
"""

from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cryotwin.datasets.augmentation import random_exact_views
from cryotwin.datasets.batch_plan import batches_in_epoch, check_plan, plan_epoch
from cryotwin.datasets.folder import DatasetFolder, open_folder
from cryotwin.datasets.perturbation import Perturbation
from cryotwin.datasets.quiet_imports import import_tensorflow
from cryotwin.datasets.record_index import index_records
from cryotwin.imaging.errors import InputError
from cryotwin.imaging.randomness import keyed_generator
from cryotwin.imaging.rotations import quaternions_to_matrices


class PairLoader:
    """Batches of a split for training on all pairs.

    Batch b of epoch e depends on the dataset, the arguments, e and b alone: not on the machine,
    the number of threads, or the batches before it.

    Attributes:
        structures: the names that the structure indices of a batch refer to.
        pixel_sizes_angstrom: (S,) of the images of each of these structures.
    """

    def __init__(
        self,
        folder: str | Path | DatasetFolder,
        split: str = "train",
        *,
        structures_per_batch: int = 1,
        particles_per_structure: int = 128,
        perturbation: Perturbation | None = None,
        least_noise: float = 1.0,
        exact_views: bool = True,
        seed: int = 0,
    ) -> None:
        """Opens a split; reads it through once, to find and check its records.

        Args:
            folder: a dataset folder.
            split: "train" is stored clean; others are stored perturbed.
            structures_per_batch: groups of particles in a batch, each of one structure.
            particles_per_structure: particles in a group.
            perturbation: what each image goes through afresh whenever it is seen; None: nothing.
            least_noise: the standard deviation of the noise of each image is drawn between this
                part of the one asked for and all of it.
            exact_views: replace each image by one of the eight that it gives for free
                (`random_exact_views`).
            seed: of the order, the views and the perturbation.

        Raises:
            InputError: the folder, the split or a number is bad, or a shard is damaged.
        """
        if not isinstance(folder, DatasetFolder):
            folder = open_folder(folder)
        if not 0 <= least_noise <= 1:
            raise InputError(f"least_noise must be from 0 to 1, not {least_noise}")
        if not 0 <= seed < 2**32:
            raise InputError(f"seed must be from 0 to 2^32 - 1, not {seed}")
        self._index = index_records(folder, split)
        self.structures = self._index.structures
        self.pixel_sizes_angstrom = self._index.pixel_sizes_angstrom
        self._perturbation = perturbation or Perturbation()
        self._least_noise = least_noise
        self._exact_views = exact_views
        self._seed = seed
        self._shape: dict[str, int] = {
            "structures_per_batch": structures_per_batch,
            "particles": particles_per_structure,
        }
        check_plan(self._index.structure_of, self.structures, **self._shape)
        self._batches = batches_in_epoch(self._index.structure_of, **self._shape)
        self._plan = lru_cache(maxsize=2)(self._plan_epoch)
        self._size = _image_size(self._index.read([0])[0])

    def __len__(self) -> int:
        """The number of batches in an epoch."""
        return self._batches

    def dataset(self, *, epochs: int | None = None, first_epoch: int = 0) -> Any:
        """Gives the batches as a `tf.data.Dataset`, epoch after epoch.

        Args:
            epochs: how many; without end when None.
            first_epoch: the number of the first, from 0: training that goes on gives here how
                many it has seen.

        Returns:
            A dataset of dictionaries: `image` (B, N, N, 1) float32, `rotation` (B, 3, 3) float32
            and `structure` (B,) int32, an index into `structures`; rows of a structure lie
            together.

        Raises:
            InputError: a number is negative.
        """
        if first_epoch < 0 or (epochs is not None and epochs < 1):
            raise InputError(
                f"epochs must be at least 1 and first_epoch at least 0, not {epochs}, {first_epoch}"
            )
        tf = import_tensorflow()
        start = first_epoch * len(self)
        if epochs is None:
            numbers = tf.data.Dataset.counter(start)
        else:
            numbers = tf.data.Dataset.range(start, start + epochs * len(self))
        # Batches are made in parallel and leave in order.
        return numbers.map(self._tensors, num_parallel_calls=tf.data.AUTOTUNE).prefetch(2)

    def _tensors(self, number: Any) -> dict[str, Any]:
        """Makes batch `number`, counted through all epochs, in the graph of tf.data."""
        tf = import_tensorflow()
        size, rows = self._size, self._shape["structures_per_batch"] * self._shape["particles"]
        records, structures = tf.numpy_function(
            self._read, [number], [tf.string, tf.int32], stateful=False
        )
        parsed = tf.io.parse_example(
            tf.ensure_shape(records, (rows,)),
            {
                "image": tf.io.FixedLenFeature((size, size), tf.float32),
                "quaternion": tf.io.FixedLenFeature((4,), tf.float32),
            },
        )
        images, rotations = tf.numpy_function(
            self._perturb,
            [number, parsed["image"], parsed["quaternion"], structures],
            [tf.float32, tf.float32],
            stateful=False,
        )
        return {
            "image": tf.ensure_shape(images, (rows, size, size, 1)),
            "rotation": tf.ensure_shape(rotations, (rows, 3, 3)),
            "structure": tf.ensure_shape(structures, (rows,)),
        }

    def _read(self, number: np.int64) -> tuple[NDArray[np.object_], NDArray[np.int32]]:
        epoch, batch = divmod(int(number), len(self))
        rows = self._plan(epoch)[batch]
        records = np.array(self._index.read(rows), dtype=object)
        return records, self._index.structure_of[rows]

    def _plan_epoch(self, epoch: int) -> NDArray[np.int64]:
        return plan_epoch(self._index.structure_of, seed=self._seed, epoch=epoch, **self._shape)

    def _perturb(
        self,
        number: np.int64,
        images: NDArray[np.float32],
        quaternions: NDArray[np.float32],
        structures: NDArray[np.int32],
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Draws views and the perturbation; gives images (B, N, N, 1), rotations (B, 3, 3)."""
        rng = keyed_generator(self._seed, "batch", *divmod(int(number), len(self)))
        rotations = quaternions_to_matrices(quaternions).astype(np.float32)
        if self._exact_views:
            images, rotations = random_exact_views(images, rotations, rng)
        levels = rng.uniform(self._least_noise, 1, len(images))
        # A group is of one structure, and has one pixel size.
        groups = np.split(np.arange(len(images)), self._shape["structures_per_batch"])
        perturbed = [
            self._perturbation.perturb(
                images[group],
                rng,
                pixel_size_angstrom=float(self.pixel_sizes_angstrom[structures[group[0]]]),
                noise_levels=levels[group],
            )
            for group in groups
        ]
        return np.concatenate(perturbed)[..., None], rotations


def _image_size(record: bytes) -> int:
    """Tells the edge N of the image in a serialised example."""
    example = import_tensorflow().train.Example.FromString(record)
    return round(len(example.features.feature["image"].float_list.value) ** 0.5)
