"""Which experiments there are, and what each module of one has to offer."""

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, cast

from matplotlib.figure import Figure

from cryotwin.imaging.errors import InputError
from cryotwin.pipelines.reproduction.result import Result
from cryotwin.pipelines.reproduction.workspace import Workspace

ASYMMETRIC, SYMMETRIC = "asymmetric", "symmetric"


@dataclass(frozen=True)
class Experiment:
    """An experiment, before its module is loaded.

    Attributes:
        name: on the command line and of its files.
        title: what it shows.
        source: where the paper has it; empty if the paper does not.
        module: of this package.
        particles: whose structures it takes: "asymmetric", "symmetric" or both.
        needs_proteins: whether it takes structures of many proteins.
    """

    name: str
    title: str
    source: str
    module: str
    particles: tuple[str, ...] = (ASYMMETRIC,)
    needs_proteins: bool = False

    def load(self) -> "ExperimentModule":
        """Imports its module."""
        name = f"cryotwin.pipelines.reproduction.{self.module}"
        return cast(ExperimentModule, importlib.import_module(name))


class ExperimentModule(Protocol):
    """What the module of an experiment has."""

    def settings(self, workspace: Workspace) -> Any:
        """Gives a frozen dataclass: what the result depends on, at the size of the workspace."""

    def run(self, workspace: Workspace, settings: Any) -> Result:
        """Makes the experiment."""

    def draw(self, figure: Figure, curves: Mapping[str, Any]) -> None:
        """Draws the figure from `Result.curves`, with axes of its own."""


EXPERIMENTS = {
    experiment.name: experiment
    for experiment in (
        Experiment(
            "table1",
            "The split of the projections",
            "Table 1, section 3.1",
            "table1_splits",
            particles=(),
        ),
        Experiment(
            "figure7",
            "Recovery from perturbed distances",
            "Figure 7, section 3.2",
            "figure7_perturbed_distances",
            particles=(),
        ),
        Experiment(
            "figure8",
            "Distance learning",
            "Figure 8, section 3.3",
            "figure8_distance_learning",
            particles=(ASYMMETRIC, SYMMETRIC),
        ),
        Experiment(
            "figure9a",
            "Distance learning from projections that are off-centre",
            "Figure 9a, section 3.4",
            "figure9a_shifts",
        ),
        Experiment(
            "figure9b",
            "Distance learning and recovery in noise",
            "Figure 9b, section 3.4",
            "figure9b_noise",
        ),
        Experiment(
            "figure10",
            "Recovery from estimated distances",
            "Figure 10, section 3.5",
            "figure10_recovery",
            particles=(ASYMMETRIC, SYMMETRIC),
        ),
        Experiment(
            "figure11",
            "Maps from recovered orientations",
            "Figure 11, section 3.5",
            "figure11_maps",
            particles=(ASYMMETRIC, SYMMETRIC),
        ),
        Experiment(
            "figure12",
            "Orientations and the distances they induce",
            "Figure 12, Appendix A",
            "figure12_orientations",
            particles=(),
        ),
        Experiment(
            "figure13",
            "Orientations that are not uniform",
            "Figure 13, Appendix A",
            "figure13_nonuniform",
        ),
        Experiment(
            "figure14",
            "Recovery from exact distances",
            "Figure 14, Appendix B",
            "figure14_exact_distances",
            particles=(),
        ),
        Experiment(
            "figure15",
            "Alignment with the true orientations",
            "Figure 15, Appendix B",
            "figure15_alignment",
            particles=(),
        ),
        Experiment(
            "figure16",
            "Euclidean distances between images",
            "Figure 16, Appendix C",
            "figure16_image_distance",
            particles=(ASYMMETRIC, SYMMETRIC),
        ),
        Experiment(
            "figure17a",
            "The distance between features",
            "Figure 17a, Appendix D",
            "figure17a_feature_distance",
        ),
        Experiment(
            "figure17b",
            "The number of features",
            "Figure 17b, Appendix D",
            "figure17b_feature_dimension",
        ),
        Experiment("psf", "The point-spread function", "", "point_spread"),
        Experiment(
            "symmetry",
            "Distances under the point group",
            "",
            "symmetric_distance",
            particles=(SYMMETRIC,),
        ),
        Experiment("gauge", "Physical errors with and without the gauge", "", "gauge_effect"),
        Experiment("preferred-views", "Preferred views", "", "preferred_views"),
        Experiment(
            "unseen-proteins",
            "Proteins that no training has seen",
            "",
            "unseen_proteins",
            particles=(),
            needs_proteins=True,
        ),
    )
}


def find_experiments(names: list[str]) -> list[Experiment]:
    """Gives the experiments of these names in the order of the paper; all if there are none.

    Raises:
        InputError: there is no such experiment.
    """
    for name in names:
        if name not in EXPERIMENTS:
            raise InputError(f"NAME must be one of {', '.join(EXPERIMENTS)}, not {name!r}")
    return [each for each in EXPERIMENTS.values() if not names or each.name in names]
