"""What tfds checks of every dataset, on small stand-ins for the two structures."""

import dataclasses

import pytest

from cryotwin.datasets.cryotwin_projections.sources import SOURCES
from cryotwin.datasets.quiet_imports import import_tfds
from cryotwin.datasets.splits import split_sizes

pytest.importorskip("dill", reason="tfds.testing imports it")
tfds = import_tfds()

from cryotwin.datasets.cryotwin_projections.configs import ProjectionsConfig  # noqa: E402
from cryotwin.datasets.cryotwin_projections.cryotwin_projections_dataset_builder import (  # noqa: E402
    Builder,
)

SIZE, COUNT = 24, 12


def small(structure: str, grid_px: int) -> ProjectionsConfig:
    source = dataclasses.replace(SOURCES[structure], grid_px=grid_px)
    return ProjectionsConfig(name=f"{structure}_small", source=source, size=SIZE, count=COUNT)


class TestOnAMap(tfds.testing.DatasetBuilderTestCase):
    DATASET_CLASS = Builder
    SPLITS = split_sizes(COUNT)
    BUILDER_CONFIG_NAMES_TO_TEST = (small("5j0n", SIZE),)
    DL_DOWNLOAD_RESULT = "5j0n.mrc"


class TestOnAnAtomicModelCroppedInFourierSpace(tfds.testing.DatasetBuilderTestCase):
    DATASET_CLASS = Builder
    SPLITS = split_sizes(COUNT)
    BUILDER_CONFIG_NAMES_TO_TEST = (small("5a1a", 2 * SIZE),)
    DL_DOWNLOAD_RESULT = "5a1a.cif.gz"
