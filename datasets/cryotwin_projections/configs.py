"""The paper's experiments as configurations of the dataset."""

import dataclasses
from typing import Any

import tensorflow_datasets as tfds

from cryotwin.datasets.cryotwin_projections.sources import SOURCES, Source
from cryotwin.datasets.perturbation import Perturbation
from cryotwin.datasets.splits import split_sizes
from cryotwin.datasets.synthesis import PROJECTOR
from cryotwin.imaging.orientations import ORIENTATIONS, parse_orientations

SIZE = 116
"""The paper's images, in pixels."""

COUNT = 5000
"""The paper's projections of each protein: 2,512 / 838 / 1,650 (its Table 1)."""

NOISE_VARIANCE = 16.0
"""The paper's realistic noise: an SNR of 1/16, which is -12 dB."""

SAMPLINGS = {name: ORIENTATIONS[name] for name in ("euler", "euler-half", "so3-quarter")}
"""The samplings of the paper's Figure 12, besides the uniform one."""

MAX_SHIFT_PX = 10.0
"""The limit of the shifts. The text of the paper names none of the limits of its Figure 9a."""


@dataclasses.dataclass(eq=False, kw_only=True)
class ProjectionsConfig(tfds.core.BuilderConfig):
    """What decides the particles; equal settings of `cryotwin generate` give the same ones.

    Attributes:
        source: the structure.
        size: edge of the box in pixels, even.
        orientations: a distribution of `cryotwin.imaging.orientations`.
        perturbation: shift and noise of the splits that are stored perturbed.
        count: particles over all splits.
        seed: where all randomness comes from.
        perturb_train: store the training split with noise and shifts too.
    """

    source: Source
    size: int = SIZE
    orientations: str = "so3"
    perturbation: Perturbation = dataclasses.field(default_factory=Perturbation)
    count: int = COUNT
    seed: int = 0
    perturb_train: bool = False

    def __post_init__(self) -> None:
        parse_orientations(self.orientations)
        split_sizes(self.count)

    def settings(self) -> dict[str, Any]:
        """Gives the numbers as cryotwin.json names them."""
        return {
            "seed": self.seed,
            "count": self.count,
            "size": self.size,
            "pixel_size_angstrom": self.source.pixel_size_angstrom(self.size),
            "orientations": self.orientations,
            "projector": PROJECTOR,
            "symmetry": "C1",
            "align_symmetry": False,
            "fundamental_domain": False,
            "snr_db": None,  # The noise is given by its variance.
            "split_by": "particle",
            "perturb_train": self.perturb_train,
            **self.perturbation.to_metadata(),
        }


def _config(structure: str, what: str, suffix: str = "", **settings: Any) -> ProjectionsConfig:
    return ProjectionsConfig(
        name=structure + suffix,
        description=f"{COUNT:,} projections of {structure.upper()} at {SIZE} px: {what}",
        source=SOURCES[structure],
        **settings,
    )


def _experiments(structure: str) -> list[ProjectionsConfig]:
    """Lists the experiments with one protein."""
    noise = Perturbation(noise_variance=NOISE_VARIANCE)
    shifts = Perturbation(max_shift_px=MAX_SHIFT_PX, shift_distribution="triangular")
    limit = f"triangular shifts of up to {MAX_SHIFT_PX:g} px"
    return [
        _config(structure, "uniform orientations, no noise"),
        _config(structure, "noise at -12 dB", "_snr-12db", perturbation=noise),
        _config(structure, limit, "_shifts", perturbation=shifts),
        *(
            _config(structure, f"orientations {meaning}", f"_{name}", orientations=name)
            for name, meaning in SAMPLINGS.items()
        ),
        _config(
            structure,
            "noise at -12 dB, on a quarter of the directions",
            "_so3-quarter_snr-12db",
            perturbation=noise,
            orientations="so3-quarter",
        ),
    ]


CONFIGS = [*_experiments("5j0n"), *_experiments("5a1a")]
"""All configurations; the first is the default."""
