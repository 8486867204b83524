"""An experiment on a particle in one column: its training, and what was recovered."""

from dataclasses import dataclass
from pathlib import Path

from cryotwin.imaging.errors import InputError
from cryotwin.pipelines.reproduction.own_column import OwnTraining, own_training
from cryotwin.pipelines.reproduction.paper_column import PaperTraining, paper_training
from cryotwin.pipelines.reproduction.result import OURS, PAPER
from cryotwin.pipelines.reproduction.target import Target
from cryotwin.pipelines.reproduction.trial import try_estimator
from cryotwin.pipelines.reproduction.views import Condition, ViewSettings
from cryotwin.pipelines.reproduction.workspace import Record, Workspace

QUARTER = "so3-quarter"
"""The paper's orientations of the particle with symmetry (its section 3.1)."""


@dataclass(frozen=True)
class RecoveryCase:
    """What is recovered, and in which column.

    Attributes:
        target: the particle.
        column: `PAPER` or `OURS`.
        noise_variance: of the paper's images of 116 px.
        orientations: of the projections. Of a particle with symmetry the paper's column takes a
            quarter of the sphere instead.
    """

    target: Target
    column: str
    noise_variance: float = 0.0
    orientations: str = "so3"


def case_training(workspace: Workspace, case: RecoveryCase) -> PaperTraining | OwnTraining:
    """Gives the training of a case: distances without symmetry in the paper, under it in ours."""
    quarter = case.column == PAPER and case.target.symmetry != "C1"
    views = ViewSettings(
        case.target,
        workspace.scale.box_px,
        workspace.scale.count,
        QUARTER if quarter else case.orientations,
    )
    condition = Condition(noise_variance=case.noise_variance)
    if case.column == PAPER:
        return paper_training(workspace, views, condition)
    return own_training(workspace, views, condition, symmetry=case.target.symmetry)


def try_training(
    workspace: Workspace, training: PaperTraining | OwnTraining
) -> tuple[Record, Path]:
    """Gives `try_estimator` of a training, with the whole recovery where it is ours.

    Raises:
        InputError: the recovery refuses the images.
    """
    record, folder = try_estimator(workspace, training, whole_way=isinstance(training, OwnTraining))
    if isinstance(training, OwnTraining) and "whole_errors" not in record:
        raise InputError(
            f"projections of {training.views.target.name} with noise of variance "
            f"{training.condition.noise_variance:g} cannot be recovered "
            f"({record['whole_reason']}); expected a structure whose views tell it apart"
        )
    return record, folder


def evaluated_error(record: Record, column: str) -> float:
    """Gives the mean error (rad) by which a column judges itself.

    In the paper's that over O(4); in ours the physical one of the whole recovery.
    """
    error: float = record["whole_physical_error" if column == OURS else "o4_error"]
    return error


def evaluated_errors(record: Record, column: str) -> list[float]:
    """Gives the errors (rad), one a particle, whose mean is `evaluated_error`."""
    errors: list[float] = record["whole_errors" if column == OURS else "errors"]
    return errors
