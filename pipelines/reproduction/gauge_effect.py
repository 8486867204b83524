"""The gauge: what is missing to a map when orientations are recovered from distances alone.

Distances do not change under R -> A R B and R -> R^T. The paper takes all of that for the freedom
of a global rotation and reflection (its section 2.4), and aligns with the truth over O(4) before it
reconstructs. A map needs the right A and the right one of R and R^T; the common lines of the images
tell them without the truth (`cryotwin.recovery.gauge`).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cryotwin.pipelines.reproduction.aligned_maps import aligned_map
from cryotwin.pipelines.reproduction.map_slices import read_slice, shown_slice
from cryotwin.pipelines.reproduction.own_column import OwnTraining, own_training
from cryotwin.pipelines.reproduction.paper_column import PaperTraining, paper_training
from cryotwin.pipelines.reproduction.result import OURS, PAPER, Result, Table, Trend
from cryotwin.pipelines.reproduction.trial import (
    ORIENTATIONS_FILE,
    perturbed_test_images,
    try_estimator,
)
from cryotwin.pipelines.reproduction.verdict import has_learned
from cryotwin.pipelines.reproduction.views import (
    HALF_OF_THE_DIRECTIONS,
    Condition,
    ViewSettings,
    half_of_the_directions,
    make_views,
)
from cryotwin.pipelines.reproduction.workspace import Record, Workspace
from cryotwin.recovery.evaluation import evaluate_orientations
from cryotwin.recovery.gauge import find_gauge

EMBEDDED, IN_GAUGE, WHOLE = "as recovered", "after the gauge", "after refinement"
STATES = (EMBEDDED, IN_GAUGE, WHOLE)
"""How far a recovery has come."""

_SHOWN_PX = 48
_SAME_RAD = 0.1
"""Physical and O(4) errors that differ by less are taken for the same."""


@dataclass(frozen=True)
class Settings:
    """Of the experiment.

    Attributes:
        views: projections of the particle without symmetry.
        noise_variances: of the paper's images, one case each.
    """

    views: ViewSettings
    noise_variances: tuple[float, ...]


def settings(workspace: Workspace) -> Settings:
    """Gives the settings at the size of the workspace."""
    return Settings(half_of_the_directions(workspace), (0.0, 16.0))


def run(workspace: Workspace, settings: Settings) -> Result:
    """Measures recovered orientations and their maps, before and after the gauge is found."""
    cases: list[dict[str, Any]] = []
    for variance in settings.noise_variances:
        condition = Condition(noise_variance=variance)
        for column, training in (
            (PAPER, paper_training(workspace, settings.views, condition)),
            (OURS, own_training(workspace, settings.views, condition)),
        ):
            record, _ = workspace.step("gauge", training, _worker(workspace, training))
            cases.append({"noise_variance": variance, "column": column, **record})
    curves = {
        "cases": cases,
        "true_slice": shown_slice(make_views(workspace, settings.views).volume),
    }
    remarks = [
        HALF_OF_THE_DIRECTIONS,
        "Maps are made in the frame of the truth after the best rotation of the object and the "
        "better of the two mirror images, which images leave open, and not after the isometry of "
        "the distances that the O(4) error allows.",
        f"In the column “{PAPER}” the gauge is ours, as the paper has none.",
    ]
    return Result([_table(cases)], trends(cases), curves, remarks)


def _worker(workspace: Workspace, training: PaperTraining | OwnTraining) -> Any:
    def work(folder: Path) -> Record:
        return _measure(workspace, training)

    return work


def _measure(workspace: Workspace, training: PaperTraining | OwnTraining) -> Record:
    own = isinstance(training, OwnTraining)
    tried, folder = try_estimator(workspace, training, whole_way=own)
    made, seen = perturbed_test_images(workspace, training)
    with np.load(folder / ORIENTATIONS_FILE) as kept:
        true, embedded = kept["true"], kept["embedded"]
        whole = kept.get("whole")
    gauge = find_gauge(
        seen.images, embedded, ctf=seen.ctf, pixel_size_angstrom=made.pixel_size_angstrom
    )
    states = {EMBEDDED: embedded, IN_GAUGE: gauge.apply(embedded)}
    if whole is not None:
        states[WHOLE] = whole
    record: Record = {
        "distance_loss": tried["distance_loss"],
        "states": {},
    }
    for state, quaternions in states.items():
        errors = evaluate_orientations(quaternions, true)
        found = aligned_map(made, seen, errors.physical.quaternions, threads=workspace.threads)
        record["states"][state] = {
            "o4_error": errors.o4.mean_error,
            "physical_error": errors.physical.mean_error,
            "resolution_angstrom": found.resolution_angstrom,
            "slice": shown_slice(found.volume),
        }
    return record


def _table(cases: list[dict[str, Any]]) -> Table:
    header = ["noise variance", "column", "O(4) error (rad)"]
    header += [f"physical error {state} (rad)" for state in STATES]
    header += [f"map {state} (Å)" for state in STATES]
    rows = [
        [
            case["noise_variance"],
            case["column"],
            case["states"][EMBEDDED]["o4_error"],
            *(_of(case, state, "physical_error") for state in STATES),
            *(_of(case, state, "resolution_angstrom") for state in STATES),
        ]
        for case in cases
    ]
    return Table("errors, and resolution against the true map at FSC 0.5", header, rows)


def _of(case: Mapping[str, Any], state: str, what: str) -> float | None:
    return case["states"][state][what] if state in case["states"] else None


def trends(cases: list[dict[str, Any]]) -> list[Trend]:
    """Tells whether the gauge is missing, and whether the images tell it, where much was learned.

    Where the orientations are far off after the best of alignments, all errors are alike.
    """
    learned = [case for case in cases if has_learned(case["distance_loss"])]
    excess = {state: [_excess(case["states"][state]) for case in learned] for state in STATES[:2]}
    return [
        Trend(
            "recovered orientations lack no more than a global rotation and reflection (2.4)",
            f"physical error less O(4) error: {_list(learned, excess[EMBEDDED])}",
            max(excess[EMBEDDED]) < _SAME_RAD if learned else None,
        ),
        Trend(
            "the images alone tell what is missing (beyond the paper)",
            f"the same after the gauge is found: {_list(learned, excess[IN_GAUGE])}",
            max(excess[IN_GAUGE]) < _SAME_RAD if learned else None,
        ),
    ]


def _excess(errors: Mapping[str, Any]) -> float:
    return float(errors["physical_error"] - errors["o4_error"])


def _list(cases: list[dict[str, Any]], numbers: list[float]) -> str:
    told = [
        f"{number:.2f} rad ({case['column']}, noise {case['noise_variance']:g})"
        for case, number in zip(cases, numbers, strict=True)
    ]
    return ", ".join(told) or "no estimator has learned enough"


def draw(figure: Figure, curves: Mapping[str, Any]) -> None:
    """Draws physical errors by state, and slices through the maps of the least noise."""
    grid = figure.add_gridspec(1, 2, width_ratios=(2, 3))
    bars, maps = (figure.add_subfigure(grid[0, column]) for column in (0, 1))
    _draw_errors(bars.subplots(), curves["cases"])
    least = min(case["noise_variance"] for case in curves["cases"])
    rows = [case for case in curves["cases"] if case["noise_variance"] == least]
    panels = maps.subplots(len(rows), 1 + len(STATES), squeeze=False)
    for row, case in zip(panels, rows, strict=True):
        slices = {"true map": curves["true_slice"]}
        slices |= {state: case["states"][state]["slice"] for state in case["states"]}
        for axes in row:
            axes.set_axis_off()
        for axes, (title, values) in zip(row, slices.items(), strict=False):
            axes.imshow(read_slice(values), cmap="gray", origin="lower")
            axes.set_title(title, fontsize=8)
        row[0].text(
            -0.08,
            0.5,
            case["column"],
            rotation=90,
            ha="center",
            va="center",
            transform=row[0].transAxes,
        )
    maps.suptitle(f"middle slices, noise variance {least:g}", fontsize=9)


def _draw_errors(axes: Axes, cases: list[dict[str, Any]]) -> None:
    places = np.arange(len(cases))
    for number, state in enumerate(STATES):
        heights = [_of(case, state, "physical_error") or 0 for case in cases]
        axes.bar(places + 0.27 * (number - 1), heights, width=0.25, label=state)
    bounds = [case["states"][EMBEDDED]["o4_error"] for case in cases]
    axes.hlines(bounds, places - 0.4, places + 0.4, "black", lw=1.5, label="O(4) error")
    labels = [f"{case['column']},\nnoise {case['noise_variance']:g}" for case in cases]
    axes.set_xticks(places, labels, fontsize=7)
    axes.set(ylabel="physical error (rad)", ylim=(0, 1.45 * axes.get_ylim()[1]))
    axes.legend(fontsize=7, ncols=2, loc="upper center")
