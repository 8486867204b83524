import numpy as np
import pytest

from cryotwin.imaging.errors import InputError
from cryotwin.pipelines.reproduction import recovery_cases
from cryotwin.pipelines.reproduction.recovery_cases import (
    QUARTER,
    RecoveryCase,
    case_training,
    evaluated_error,
    evaluated_errors,
    try_training,
)
from cryotwin.pipelines.reproduction.result import OURS, PAPER
from cryotwin.pipelines.reproduction.scale import find_scale
from cryotwin.pipelines.reproduction.target import Target
from cryotwin.pipelines.reproduction.workspace import Workspace


@pytest.fixture
def workspace(tmp_path):
    return Workspace(
        tmp_path,
        find_scale("quick"),
        asymmetric=Target.of("7cfn"),
        symmetric=Target.of("7cfn", "D2"),
    )


def test_the_paper_takes_a_symmetric_particle_from_a_quarter_and_ours_under_its_group(workspace):
    paper, ours = (
        case_training(workspace, RecoveryCase(workspace.symmetric, column))
        for column in (PAPER, OURS)
    )
    assert paper.views.orientations == QUARTER
    assert (ours.views.orientations, ours.symmetry) == ("so3", "D2")


def test_both_columns_see_the_same_images_of_a_particle_without_symmetry(workspace):
    paper, ours = (
        case_training(workspace, RecoveryCase(workspace.asymmetric, column, 16.0, "euler"))
        for column in (PAPER, OURS)
    )
    assert paper.views == ours.views
    assert paper.condition == ours.condition
    assert paper.condition.noise_variance == 16
    assert paper.views.orientations == "euler"


def test_the_paper_judges_itself_over_o4_and_ours_physically():
    record = {
        "o4_error": 0.2,
        "errors": [0.1, 0.3],
        "physical_error": 1.5,
        "whole_physical_error": 0.01,
        "whole_errors": [0.0, 0.02],
    }
    for column in (PAPER, OURS):
        assert np.mean(evaluated_errors(record, column)) == evaluated_error(record, column)
    assert evaluated_error(record, PAPER) == 0.2
    assert evaluated_error(record, OURS) == 0.01


def test_images_that_the_recovery_refuses_are_told_in_one_line(workspace, tmp_path, monkeypatch):
    def refused(*args, **kwargs):
        return {"whole_trusted": False, "whole_reason": "all views from one side"}, tmp_path

    monkeypatch.setattr(recovery_cases, "try_estimator", refused)
    training = case_training(workspace, RecoveryCase(workspace.asymmetric, OURS, 16.0))
    expected = r"7cfn with noise of variance 16 cannot be recovered \(all views from one side\)"
    with pytest.raises(InputError, match=expected):
        try_training(workspace, training)
