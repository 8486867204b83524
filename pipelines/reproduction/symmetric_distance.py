"""A particle with symmetry: distances under its point group, on the whole sphere.

Images from orientations R and R g look the same for every g of the group, so that a distance that
tells them apart cannot be learned. The paper restricts directions to a quarter of the sphere, and
calls that incomplete (its section 3.1): within it most images have one orientation, but two that
are almost alike can still be far apart. The distance under the group has no such places.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from cryotwin.pipelines.reproduction.own_column import OwnTraining, own_training
from cryotwin.pipelines.reproduction.paper_column import PaperTraining, paper_training
from cryotwin.pipelines.reproduction.result import OURS, PAPER, Result, Table, Trend
from cryotwin.pipelines.reproduction.trial import ORIENTATIONS_FILE, try_estimator
from cryotwin.pipelines.reproduction.verdict import told
from cryotwin.pipelines.reproduction.views import ViewSettings
from cryotwin.pipelines.reproduction.workspace import Workspace
from cryotwin.recovery.evaluation import evaluate_orientations

WHOLE, QUARTER = "whole sphere", "a quarter"
PLAIN, UNDER_GROUP = "C1", "under the group"

_SHOWN = 300


@dataclass(frozen=True)
class Settings:
    """Of the experiment.

    Attributes:
        whole: projections of the particle with symmetry from all directions.
        quarter: from a quarter of them, as in the paper.
    """

    whole: ViewSettings
    quarter: ViewSettings


def settings(workspace: Workspace) -> Settings:
    """Gives the settings at the size of the workspace."""
    scale, target = workspace.scale, workspace.symmetric
    return Settings(
        ViewSettings(target, scale.box_px, scale.count, "so3"),
        ViewSettings(target, scale.box_px, scale.count, "so3-quarter"),
    )


def run(workspace: Workspace, settings: Settings) -> Result:
    """Trains and tests with each distance on each set of directions."""
    whole, quarter, group = settings.whole, settings.quarter, settings.whole.target.symmetry
    cases = [
        {"column": column, "views": views, "distance": distance, **_measure(workspace, training)}
        for column, views, distance, training in (
            (PAPER, WHOLE, PLAIN, paper_training(workspace, whole)),
            (PAPER, QUARTER, PLAIN, paper_training(workspace, quarter)),
            (OURS, WHOLE, PLAIN, own_training(workspace, whole)),
            (OURS, QUARTER, PLAIN, own_training(workspace, quarter)),
            (OURS, WHOLE, UNDER_GROUP, own_training(workspace, whole, symmetry=group)),
        )
    ]
    remarks = [
        f"All errors of orientations are under {group}: the least over equivalent orientations.",
        f"Losses are those of the distance that was learned. Distances under {group} are smaller, "
        "so that their losses are: the table has the loss of the best constant beside each.",
    ]
    return Result([_table(cases, group)], trends(cases), {"cases": cases, "group": group}, remarks)


def _measure(workspace: Workspace, training: PaperTraining | OwnTraining) -> dict[str, Any]:
    own = isinstance(training, OwnTraining)
    record, folder = try_estimator(workspace, training, whole_way=own)
    errors = {}
    symmetry = training.views.target.symmetry
    with np.load(folder / ORIENTATIONS_FILE) as kept:
        for state in ("embedded", "whole"):
            if state in kept:
                found = evaluate_orientations(kept[state], kept["true"], symmetry=symmetry)
                errors[f"{state}_o4_error"] = found.o4.mean_error
                errors[f"{state}_physical_error"] = found.physical.mean_error
    true = np.array(record["pairs"])[:, 0]
    return {
        "distance_loss": record["distance_loss"],
        "constant_loss": float(np.var(true)),
        "trusted": record.get("whole_trusted"),
        "pairs": np.round(record["pairs"][:_SHOWN], 3).tolist(),
        **errors,
    }


def _table(cases: list[dict[str, Any]], group: str) -> Table:
    header = [
        "column",
        "directions",
        "distance",
        "distance loss (rad²)",
        "loss of a constant (rad²)",
        "O(4) error (rad)",
        "physical error as recovered (rad)",
        "physical error of recover() (rad)",
        "recover() trusts it",
    ]
    names = ("distance_loss", "constant_loss", "embedded_o4_error", "embedded_physical_error")
    rows = [
        [
            case["column"],
            case["views"],
            case["distance"],
            *(case[name] for name in names),
            case.get("whole_physical_error"),
            {True: "yes", False: "no", None: None}[case["trusted"]],
        ]
        for case in cases
    ]
    return Table(f"on the test split, errors under {group}", header, rows)


def trends(cases: list[dict[str, Any]]) -> list[Trend]:
    """Compares directions and distances."""
    by = {(case["column"], case["views"], case["distance"]): case for case in cases}
    whole, quarter = by[PAPER, WHOLE, PLAIN], by[PAPER, QUARTER, PLAIN]
    ours, restricted = by[OURS, WHOLE, UNDER_GROUP], by[OURS, QUARTER, PLAIN]
    return [
        Trend(
            "symmetry breaks distance learning, a quarter of the directions repairs it (3.1, D)",
            f"loss {whole['distance_loss']:.3f} on the whole sphere, "
            f"{quarter['distance_loss']:.3f} rad² on a quarter",
            told(quarter["distance_loss"] < whole["distance_loss"] / 2, quarter["distance_loss"]),
        ),
        Trend(
            "that is incomplete: the distance under the group does better (3.1, beyond the paper)",
            f"O(4) error {restricted['embedded_o4_error']:.3f} on a quarter, "
            f"{ours['embedded_o4_error']:.3f} rad under the group on the whole sphere",
            told(
                ours["embedded_o4_error"] < restricted["embedded_o4_error"], ours["distance_loss"]
            ),
        ),
    ]


def draw(figure: Figure, curves: Mapping[str, Any]) -> None:
    """Draws estimated against true distances, and the errors of the orientations."""
    cases = curves["cases"]
    panels = figure.subplots(1, 4, width_ratios=(1, 1, 1, 1.5))
    shown = (cases[0], cases[1], cases[-1])
    for axes, case in zip(panels, shown, strict=False):
        true, estimated = np.array(case["pairs"]).T
        axes.plot(true, estimated, ".", ms=2)
        axes.plot([0, true.max()], [0, true.max()], "k", lw=0.8)
        axes.set(xlabel="true distance (rad)", ylim=(0, 3.3), xlim=(0, 3.3))
        axes.set_title(f"{case['column']}:\n{_name(case, curves['group'])}", fontsize=8)
    panels[0].set_ylabel("estimated distance (rad)")
    bars = panels[-1]
    places = np.arange(len(cases))
    bars.barh(places - 0.2, [case["embedded_o4_error"] for case in cases], 0.38, label="O(4) error")
    errors = [case.get("whole_physical_error") or 0 for case in cases]
    bars.barh(places + 0.2, errors, 0.38, label="physical, recover()")
    for place, case in zip(places, cases, strict=True):
        if case["column"] == OURS and not case.get("whole_physical_error"):
            bars.text(0.01, place + 0.2, "refused", fontsize=6, va="center")
    names = [f"{case['column']}: {_name(case, curves['group'])}" for case in cases]
    bars.set_yticks(places, names, fontsize=7)
    bars.invert_yaxis()
    bars.set(xlabel=f"error under {curves['group']} (rad)")
    bars.legend(fontsize=7, loc="upper center", bbox_to_anchor=(0.5, 1.18), ncols=2)


def _name(case: Mapping[str, Any], group: str) -> str:
    distance = PLAIN if case["distance"] == PLAIN else group
    return f"{distance}, {case['views']}"
