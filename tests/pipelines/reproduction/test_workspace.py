from dataclasses import dataclass
from pathlib import Path

import pytest

from cryotwin.imaging.errors import InputError
from cryotwin.pipelines.reproduction.scale import find_scale
from cryotwin.pipelines.reproduction.target import Target
from cryotwin.pipelines.reproduction.workspace import Workspace, identity


@dataclass(frozen=True)
class Settings:
    value: float
    seed: int = 0


@pytest.fixture
def workspace(tmp_path):
    target = Target.of("7cfn")
    return Workspace(tmp_path, find_scale("quick"), asymmetric=target, symmetric=target)


def test_a_step_is_done_once_for_its_settings(workspace):
    calls = []

    def work(folder: Path):
        calls.append(folder)
        return {"answer": 2.5}

    first = workspace.step("thing", Settings(1.0), work)
    again = workspace.step("thing", Settings(1.0), work)
    other = workspace.step("thing", Settings(2.0), work)
    assert first == again
    assert len(calls) == 2
    assert other[1] != first[1]


def test_a_step_that_was_stopped_finds_what_it_left_and_is_not_taken_for_done(workspace):
    def stopped(folder: Path):
        (folder / "half.txt").write_text("half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        workspace.step("thing", Settings(1.0), stopped)
    record, _ = workspace.step(
        "thing", Settings(1.0), lambda folder: {"left": (folder / "half.txt").read_text()}
    )
    assert record["left"] == "half"


def test_time_is_counted_once_for_steps_within_steps(workspace):
    def inner(folder: Path):
        return {"seconds": 3.0}

    def outer(folder: Path):
        workspace.step("inner", Settings(1.0), inner)
        return {"seconds": 10.0}

    workspace.step("outer", Settings(1.0), outer)
    assert workspace.seconds == 10.0
    workspace.seconds = 0.0
    workspace.step("outer", Settings(1.0), outer)
    workspace.step("inner", Settings(1.0), inner)
    assert workspace.seconds == 13.0


def test_time_is_counted_after_a_step_that_was_refused(workspace):
    def refused(folder: Path):
        raise InputError("no views")

    with pytest.raises(InputError, match="no views"):
        workspace.step("refused", Settings(1.0), refused)
    workspace.step("thing", Settings(1.0), lambda folder: {"seconds": 3.0})
    assert workspace.seconds == 3.0


def test_a_file_is_known_by_its_content_wherever_it_lies(tmp_path):
    places = [tmp_path / "one" / "a.pdb", tmp_path / "two" / "a.pdb"]
    for place in places:
        place.parent.mkdir()
        place.write_text("ATOM")
    first, moved = (Target.of(str(place)) for place in places)
    places[1].write_text("other")
    changed = Target.of(str(places[1]))
    assert identity((first,)) == identity((moved,)) != identity((changed,))
