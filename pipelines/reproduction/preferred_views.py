"""Preferred views: an estimator trained on all views alike, tried on particles that prefer some.

Particles often lie on the ice in one way more than in others. Distances are of pairs, so that an
estimator need not know how often each view comes; but the recovery, the gauge and the map have less
to go by. Viewing directions are von Mises-Fisher about one direction, with growing concentration;
images have noise, which the views that are rare would average away.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from cryotwin.pipelines.reproduction.aligned_maps import aligned_map
from cryotwin.pipelines.reproduction.own_column import OwnTraining, own_training
from cryotwin.pipelines.reproduction.paper_column import PaperTraining, paper_training
from cryotwin.pipelines.reproduction.result import OURS, PAPER, Result, Table, Trend
from cryotwin.pipelines.reproduction.trial import (
    ORIENTATIONS_FILE,
    perturbed_test_images,
    try_estimator,
)
from cryotwin.pipelines.reproduction.verdict import told
from cryotwin.pipelines.reproduction.views import Condition, ViewSettings
from cryotwin.pipelines.reproduction.workspace import Record, Workspace
from cryotwin.recovery.evaluation import evaluate_orientations

_RIGHT_RAD = 0.3
"""Physical error below which a recovery is called right: wrong ones are off by 0.5 and more."""

_LITTLE = 1.5
"""An error that grows by no more than this factor has hardly grown."""


@dataclass(frozen=True)
class Settings:
    """Of the experiment.

    Attributes:
        views: projections of the particle without symmetry that are trained on.
        noise_variance: of the paper's images, in training and test.
        concentrations: kappa of the viewing directions that are tested on; 0 is all alike.
    """

    views: ViewSettings
    noise_variance: float
    concentrations: tuple[float, ...]


@dataclass(frozen=True)
class _Case:
    training: PaperTraining | OwnTraining
    tested_on: ViewSettings | None


def settings(workspace: Workspace) -> Settings:
    """Gives the settings at the size of the workspace."""
    scale = workspace.scale
    few = scale.name == "quick"
    concentrations = (0.0, 30.0) if few else (0.0, 3.0, 10.0, 30.0, 100.0, 300.0)
    views = ViewSettings(workspace.asymmetric, scale.box_px, scale.count)
    return Settings(views, 16.0, concentrations)


def run(workspace: Workspace, settings: Settings) -> Result:
    """Tries both estimators on test images of each concentration."""
    cases = []
    condition = Condition(noise_variance=settings.noise_variance)
    for concentration in settings.concentrations:
        tested_on = None
        if concentration:
            tested_on = replace(settings.views, orientations=f"vmf:{concentration:g}")
        case: dict[str, Any] = {
            "concentration": concentration,
            "half_within": half_within_degrees(concentration),
        }
        for column, training in (
            (PAPER, paper_training(workspace, settings.views, condition)),
            (OURS, own_training(workspace, settings.views, condition)),
        ):
            one = _Case(training, tested_on)
            case[column], _ = workspace.step("preferred-views", one, _worker(workspace, one))
        cases.append(case)
    remarks = [
        "The estimators are trained on uniform orientations, as in the other experiments.",
        f"Maps: in the column “{PAPER}” after the best isometry of the distances with the truth, "
        "as the paper makes them; in ours those of recover(), in the frame of the truth after the "
        "best rotation of the object and its mirror image alone.",
        "Resolutions of maps from preferred views are means over all directions of Fourier space.",
    ]
    return Result(_tables(cases), trends(cases), {"cases": cases}, remarks)


def half_within_degrees(concentration: float) -> float:
    """Gives the angle in degrees from the preferred direction that half of the views are within."""
    if concentration == 0:
        return 90.0
    cosine = 1 + math.log((1 + math.exp(-2 * concentration)) / 2) / concentration
    return round(math.degrees(math.acos(cosine)), 1)


def _worker(workspace: Workspace, case: _Case) -> Any:
    def work(folder: Path) -> Record:
        return _measure(workspace, case)

    return work


def _measure(workspace: Workspace, case: _Case) -> Record:
    own = isinstance(case.training, OwnTraining)
    record, folder = try_estimator(
        workspace, case.training, whole_way=own, tested_on=case.tested_on
    )
    made, seen = perturbed_test_images(workspace, case.training, case.tested_on)
    with np.load(folder / ORIENTATIONS_FILE) as kept:
        true, found = kept["true"], kept.get("whole" if own else "embedded")
    names = ("distance_loss", "o4_error", "physical_error", "whole_physical_error")
    measured = {name: record.get(name) for name in names}
    limit = aligned_map(made, seen, true, threads=workspace.threads)
    measured["resolution_limit"] = limit.resolution_angstrom
    measured["resolution"] = None
    if found is not None:
        errors = evaluate_orientations(found, true)
        aligned = (errors.physical if own else errors.o4).quaternions
        made_map = aligned_map(made, seen, aligned, threads=workspace.threads)
        measured["resolution"] = made_map.resolution_angstrom
    return {
        **measured,
        "trusted": record.get("whole_trusted"),
        "reason": record.get("whole_reason"),
    }


def _tables(cases: Sequence[Mapping[str, Any]]) -> list[Table]:
    header = ["concentration", "half of the views within (°)"]
    header += [
        f"{PAPER}: distance loss (rad²)",
        f"{PAPER}: O(4) error (rad)",
        f"{PAPER}: physical error (rad)",
        f"{PAPER}: map (Å)",
        f"{OURS}: distance loss (rad²)",
        f"{OURS}: O(4) error of the embedding (rad)",
        f"{OURS}: physical error of recover() (rad)",
        f"{OURS}: map (Å)",
        "map of the true orientations (Å)",
    ]
    rows = [
        [
            case["concentration"],
            case["half_within"],
            *(
                case[PAPER][name]
                for name in ("distance_loss", "o4_error", "physical_error", "resolution")
            ),
            *(
                case[OURS][name]
                for name in ("distance_loss", "o4_error", "whole_physical_error", "resolution")
            ),
            case[OURS]["resolution_limit"],
        ]
        for case in cases
    ]
    says = [
        [case["concentration"], "yes" if case[OURS]["trusted"] else "no", case[OURS]["reason"]]
        for case in cases
    ]
    return [
        Table("on the test split, maps against the true one at FSC 0.5", header, rows),
        Table("what recover() says of itself", ["concentration", "trusted", "why"], says),
    ]


def trends(cases: Sequence[Mapping[str, Any]]) -> list[Trend]:
    """Tells what suffers from preferred views, and whether it is known."""
    least = min(cases, key=lambda case: float(case["concentration"]))
    found = [
        Trend(
            f"{column}: distances are as exact where views are preferred (beyond the paper)",
            "loss " + _list([case[column]["distance_loss"] for case in cases]) + " rad²",
            told(
                max(case[column]["distance_loss"] for case in cases)
                < _LITTLE * least[column]["distance_loss"],
                least[column]["distance_loss"],
            ),
        )
        for column in (PAPER, OURS)
    ]
    errors = [case[OURS]["whole_physical_error"] for case in cases]
    trusted = [bool(case[OURS]["trusted"]) for case in cases]
    right = [error is not None and error < _RIGHT_RAD for error in errors]
    found.append(
        Trend(
            f"recover() trusts itself where its physical error is below {_RIGHT_RAD:g} rad, "
            "and only there (beyond the paper)",
            f"error {_list(errors)} rad, "
            + ", ".join("trusted" if each else "not trusted" for each in trusted),
            trusted == right,
        )
    )
    return found


def _list(numbers: Sequence[float | None]) -> str:
    return ", ".join("-" if number is None else f"{number:.3f}" for number in numbers)


def draw(figure: Figure, curves: Mapping[str, Any]) -> None:
    """Draws losses, errors and resolutions over the concentration, those not trusted hollow."""
    cases = curves["cases"]
    places = np.arange(len(cases))
    losses, errors, maps = figure.subplots(1, 3)
    for column in (PAPER, OURS):
        values = {
            name: np.array([case[column][name] for case in cases], float)
            for name in ("distance_loss", "o4_error", "whole_physical_error", "resolution")
        }
        (line,) = losses.plot(places, values["distance_loss"], "o-", label=column)
        color = line.get_color()
        errors.plot(places, values["o4_error"], "o-", color=color, label=f"{column}: O(4)")
        maps.plot(places, values["resolution"], "o-", color=color, label=column)
    whole = np.array([case[OURS]["whole_physical_error"] for case in cases], float)
    trusted = np.array([bool(case[OURS]["trusted"]) for case in cases])
    errors.plot(places, whole, ":", color="black")
    for verdict, fill in ((True, "black"), (False, "white")):
        label = f"recover(): physical, {'trusted' if verdict else 'not trusted'}"
        shown = trusted == verdict
        errors.plot(places[shown], whole[shown], "s", mfc=fill, mec="black", label=label)
    limit = [case[OURS]["resolution_limit"] for case in cases]
    maps.plot(places, limit, "k--", lw=1, label="true orientations")
    for axes, label in (
        (losses, "distance loss (rad²)"),
        (errors, "error of the orientations (rad)"),
        (maps, "resolution of the map (Å)"),
    ):
        ticks = [f"{case['concentration']:g}\n{case['half_within']:g}°" for case in cases]
        axes.set_xticks(places, ticks)
        axes.set(xlabel="concentration, half of the views within", ylabel=label)
        axes.set_ylim(0, 1.45 * axes.get_ylim()[1])
        axes.legend(fontsize=7, loc="upper left")
