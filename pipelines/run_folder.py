"""The folder that `cryotwin recover` leaves: which files it holds, how they come there whole."""

import shutil
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cryotwin.datasets.image_stacks import format_image_name, write_stack
from cryotwin.datasets.particle_set import ParticleSet
from cryotwin.datasets.star_files import write_orientations_star
from cryotwin.imaging.errors import InputError
from cryotwin.imaging.maps import write_map
from cryotwin.pipelines.run_files import (
    HALF_MAP_FILES,
    MAP_FILE,
    METRICS_FILE,
    ORIENTATIONS_FILE,
    STACK_FILE,
)
from cryotwin.pipelines.staging import STAGING, check_folder, write_json


@dataclass(frozen=True)
class RunFolder:
    """A run's folder while it is filled: files go to a hidden folder, `publish` moves them up."""

    path: Path

    @property
    def staging(self) -> Path:
        """The hidden folder of a run that is under way."""
        return self.path / STAGING

    def begin(self, *, overwrite: bool) -> None:
        """Makes room for a run.

        Raises:
            InputError: the folder is a file, or holds a run already.
        """
        check_folder(self.path)
        if (self.path / ORIENTATIONS_FILE).exists() and not overwrite:
            raise InputError(f"{self.path} holds a run already; give another --out, or --overwrite")
        shutil.rmtree(self.staging, ignore_errors=True)
        self.staging.mkdir(parents=True)

    def write_orientations(
        self,
        particles: ParticleSet,
        quaternions: NDArray[np.floating],
        shifts_angstrom: NDArray[np.floating],
        confidence: NDArray[np.floating],
    ) -> None:
        """Writes the orientations, and the images too if they are in no stack that RELION reads."""
        names = None
        if particles.image_names is None:
            write_stack(self.staging / STACK_FILE, particles.images, particles.pixel_size_angstrom)
            names = [format_image_name(index, STACK_FILE) for index in range(len(particles))]
        write_orientations_star(
            self.staging / ORIENTATIONS_FILE,
            particles,
            quaternions,
            shifts_angstrom,
            confidence,
            image_names=names,
        )

    def write_maps(
        self,
        volume: NDArray[np.float32],
        half_maps: tuple[NDArray[np.float32], NDArray[np.float32]],
        pixel_size_angstrom: float,
    ) -> None:
        """Writes the map and the half maps."""
        for name, data in zip((MAP_FILE, *HALF_MAP_FILES), (volume, *half_maps), strict=True):
            write_map(self.staging / name, data, pixel_size_angstrom)

    def write_metrics(self, metrics: dict[str, Any]) -> None:
        """Writes metrics.json."""
        write_json(self.staging / METRICS_FILE, metrics)

    def publish(self) -> None:
        """Moves all files up, the orientations last, and removes the hidden folder."""
        marker = self.path / ORIENTATIONS_FILE
        marker.unlink(missing_ok=True)
        for file in self.staging.iterdir():
            if file.name != marker.name:
                file.replace(self.path / file.name)
        (self.staging / marker.name).replace(marker)
        self.staging.rmdir()

    def discard(self) -> None:
        """Removes what a run left that failed, and the folder too if there is nothing else."""
        shutil.rmtree(self.staging, ignore_errors=True)
        with suppress(OSError):
            self.path.rmdir()
