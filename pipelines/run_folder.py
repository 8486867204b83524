"""The folder that `cryotwin recover` leaves: which files it holds, how they come there whole."""

import os
import shutil
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cryotwin.datasets.cs_orientations import write_orientations_cs
from cryotwin.datasets.image_stacks import format_image_name, write_stack
from cryotwin.datasets.particle_set import ParticleSet
from cryotwin.datasets.star_files import write_orientations_star
from cryotwin.imaging.errors import InputError
from cryotwin.imaging.maps import write_map
from cryotwin.pipelines.run_files import (
    CS_FILE,
    HALF_MAP_FILES,
    MAP_FILE,
    MASK_FILE,
    METRICS_FILE,
    ORIENTATIONS_FILE,
    RUN_FILES,
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
        halves: NDArray[np.integer],
    ) -> None:
        """Writes the orientations, and the images too if they lie as they are in no stack.

        RELION's form always; cryoSPARC's as well when the particles came in it.
        """
        names = None
        if not particles.as_stored:
            self._check_place_of_stack(particles)
            write_stack(self.staging / STACK_FILE, particles.images, particles.pixel_size_angstrom)
            names = [format_image_name(index, STACK_FILE) for index in range(len(particles))]
        write_orientations_star(
            self.staging / ORIENTATIONS_FILE,
            particles,
            quaternions,
            shifts_angstrom,
            confidence,
            halves=halves,
            image_names=names,
            lies_in=self.path,
        )
        if particles.rows is not None:
            write_orientations_cs(
                self.staging / CS_FILE,
                particles,
                quaternions,
                shifts_angstrom,
                halves=halves,
                confidence=confidence,
                lies_in=self.path,
            )

    def _check_place_of_stack(self, particles: ParticleSet) -> None:
        place = self.path / STACK_FILE
        if place.exists() and any(os.path.samefile(place, s) for s in particles.stacks.values()):
            raise InputError(
                f"{place}: the images that are read lie there, and those of other contrast would "
                "take their place; give another --out"
            )

    def write_maps(
        self,
        volume: NDArray[np.float32],
        half_maps: tuple[NDArray[np.float32], NDArray[np.float32]],
        mask: NDArray[np.float32],
        pixel_size_angstrom: float,
    ) -> None:
        """Writes the map, the half maps and the mask."""
        names = (MAP_FILE, *HALF_MAP_FILES, MASK_FILE)
        for name, data in zip(names, (volume, *half_maps, mask), strict=True):
            write_map(self.staging / name, data, pixel_size_angstrom)

    def write_metrics(self, metrics: dict[str, Any]) -> None:
        """Writes metrics.json."""
        write_json(self.staging / METRICS_FILE, metrics)

    def publish(self, stacks: Iterable[Path] = ()) -> None:
        """Moves all files up, the orientations last, and removes the hidden folder.

        Args:
            stacks: files that the orientations name; they stay, also if an earlier run wrote them.
                All others of an earlier run go.
        """
        marker = self.path / ORIENTATIONS_FILE
        if marker.exists():
            self._remove_earlier({stack.resolve() for stack in stacks})
        for file in self.staging.iterdir():
            if file.name != marker.name:
                file.replace(self.path / file.name)
        (self.staging / marker.name).replace(marker)
        self.staging.rmdir()

    def _remove_earlier(self, kept: set[Path]) -> None:
        for name in RUN_FILES:
            if (self.path / name).resolve() not in kept:
                (self.path / name).unlink(missing_ok=True)

    def discard(self) -> None:
        """Removes what a run left that failed, and the folder too if there is nothing else."""
        shutil.rmtree(self.staging, ignore_errors=True)
        with suppress(OSError):
            self.path.rmdir()
