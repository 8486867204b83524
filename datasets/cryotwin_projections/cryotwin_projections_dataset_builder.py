"""The tfds builder of `cryotwin_projections`; `import cryotwin.datasets` registers it."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import tensorflow_datasets as tfds
from numpy.typing import NDArray
from tensorflow_datasets.core.download.download_manager import NonMatchingChecksumError

from cryotwin.datasets.cryotwin_projections.configs import CONFIGS, ProjectionsConfig
from cryotwin.datasets.cryotwin_projections.sources import (
    Source,
    read_source,
    source_volume,
)
from cryotwin.datasets.folder import METADATA_FILE
from cryotwin.datasets.schema import FORMAT, example_features
from cryotwin.datasets.splits import SPLITS, split_indices
from cryotwin.datasets.synthesis import (
    ParticleSettings,
    make_particles,
    particle_example,
    particle_projector,
)
from cryotwin.imaging.atomic import atomic_output
from cryotwin.imaging.atoms import Atoms
from cryotwin.imaging.errors import InputError, one_line
from cryotwin.imaging.maps import DensityMap, write_map
from cryotwin.imaging.microscope import unit_projections
from cryotwin.imaging.projection import Projector
from cryotwin.imaging.volumes import StructureVolume

BATCH = 256
"""Particles made at a time: bounds the memory."""


class Builder(tfds.core.GeneratorBasedBuilder):
    """Makes the projections of the paper's experiments, as `cryotwin generate` makes them.

    The folder that tfds keeps is a dataset folder for cryotwin as well: it holds cryotwin.json
    and the volume.
    """

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES: ClassVar[dict[str, str]] = {"1.0.0": "First release."}
    BUILDER_CONFIGS = CONFIGS
    # tfds would look below the folder of the package `cryotwin`, which is a namespace and has none.
    code_path = tfds.core.Path(__file__)
    pkg_dir_path = code_path.parent

    def _info(self) -> Any:
        config: ProjectionsConfig = self.builder_config
        return self.dataset_info_from_configs(
            features=example_features(config.size),
            homepage="https://arxiv.org/abs/2104.06237",
            metadata=tfds.core.MetadataDict(config.settings()),
        )

    def _split_generators(self, dl_manager: Any) -> dict[str, Iterator[tuple[str, dict[str, Any]]]]:
        config: ProjectionsConfig = self.builder_config
        structure = read_source(config.source, fetch(config.source, dl_manager))
        made = source_volume(config.source, structure, config.size)
        scaled, variance = unit_projections(made.volume, made.name)
        self._describe_folder(structure, made, scaled, variance)
        projector = particle_projector(scaled)
        indices = split_indices(config.count, seed=config.seed, structure=made.name)
        return {
            split: self._generate_examples(
                projector,
                indices[split].tolist(),
                ParticleSettings(
                    structure=made.name,
                    pixel_size_angstrom=made.pixel_size_angstrom,
                    seed=config.seed,
                    orientations=config.orientations,
                    perturbation=config.perturbation.of_split(
                        split, perturb_train=config.perturb_train
                    ),
                ),
            )
            for split in SPLITS
        }

    def _generate_examples(
        self, projector: Projector, indices: Sequence[int], settings: ParticleSettings
    ) -> Iterator[tuple[str, dict[str, Any]]]:
        for start in range(0, len(indices), BATCH):
            batch = indices[start : start + BATCH]
            particles = make_particles(projector, batch, settings)
            for place, index in enumerate(batch):
                example = particle_example(particles, place, index, settings)
                yield example["key"], example

    def _describe_folder(
        self,
        structure: Atoms | DensityMap,
        made: StructureVolume,
        scaled: NDArray[np.float32],
        variance: float,
    ) -> None:
        """Puts cryotwin.json and the volume beside the shards; tfds moves all of it at the end."""
        config: ProjectionsConfig = self.builder_config
        folder, volume_file = Path(self.data_path), f"volumes/{made.name}.mrc"
        write_map(folder / volume_file, scaled, made.pixel_size_angstrom)
        entry = {
            "name": made.name,
            "source": made.source,
            "atoms": len(structure.positions_angstrom) if isinstance(structure, Atoms) else None,
            "resolution_angstrom": made.resolution_angstrom,
            "pixel_size_angstrom": made.pixel_size_angstrom,
            "diameter_angstrom": made.diameter_angstrom,
            "signal_variance": variance,
            "cluster": made.name,
            "volume": volume_file,
            "report": structure.report,
        }
        metadata = {
            "format": FORMAT,
            "command": f"tfds build {self.name}/{config.name} --imports cryotwin.datasets",
            **config.settings(),
            "structures": [entry],
        }
        with atomic_output(folder / METADATA_FILE) as temporary:
            temporary.write_text(json.dumps(metadata, indent=1))


def fetch(source: Source, dl_manager: Any) -> Path:
    """Gives a structure's file, from the manual folder or else from its archive.

    Raises:
        InputError: it is not in the folder and cannot be downloaded, or is another file than
            checksums.tsv says.
    """
    try:
        return Path(dl_manager.download(source.url))
    except NonMatchingChecksumError as error:
        raise InputError(
            f"{source.file} does not have the checksum of the file that this dataset was made from "
            f"({one_line(error)}); --register_checksums makes it from the file as it is now"
        ) from None
    except (tfds.download.DownloadError, OSError) as error:  # OSError: `requests` raises such
        raise InputError(
            f"{source.file} could not be downloaded ({one_line(error)}): connect to the internet, "
            f"or save {source.url} as {dl_manager.download_dir / 'manual' / source.file} or in the "
            "folder that --manual_dir (DownloadConfig.manual_dir) names"
        ) from None
