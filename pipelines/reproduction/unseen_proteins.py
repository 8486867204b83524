"""Unseen proteins: what an estimator that was trained on some proteins tells of others.

The paper leaves that as the final test before real data, and hopes that proteins have enough in
common (its section 4). Two images of an unknown object determine the line that they share but not
the angle about it, so that their distance rests on what proteins have in common alone.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from cryotwin.imaging.errors import InputError
from cryotwin.imaging.randomness import keyed_generator
from cryotwin.imaging.rotations import pairwise_distances, uniform_quaternions
from cryotwin.models.features import extract_features
from cryotwin.models.siamese import head_of
from cryotwin.pipelines.reproduction.estimator import (
    distance_loss,
    symmetric_distances,
)
from cryotwin.pipelines.reproduction.protein_training import ProteinTraining, train_on_proteins
from cryotwin.pipelines.reproduction.protein_views import (
    OneProtein,
    ProteinViews,
    in_random_order,
    load_proteins,
    make_protein_views,
    protein_views,
)
from cryotwin.pipelines.reproduction.proteins import HELD_OUT, TRAIN, protein_files
from cryotwin.pipelines.reproduction.recovered import recover_as_in_the_paper, recover_our_way
from cryotwin.pipelines.reproduction.result import OURS, PAPER, Result, Table, Trend
from cryotwin.pipelines.reproduction.verdict import told
from cryotwin.pipelines.reproduction.workspace import Record, Workspace
from cryotwin.recovery.evaluation import evaluate_orientations
from cryotwin.recovery.from_images import recover

_NETWORKS = {PAPER: ("banjac2021", "cosine"), OURS: ("polar_search", "so3")}
_SEEN = 4
"""Proteins of the training whose other views are tried for comparison."""

_GAIN = 0.05
"""Change of a correlation that is more than chance."""


@dataclass(frozen=True)
class Settings:
    """Of the experiment.

    Attributes:
        training: projections of the first N proteins in a random order, for each N.
        held_out: projections of proteins that no training sees.
        steps: batches of 64 images, in each training.
    """

    training: tuple[ProteinViews, ...]
    held_out: ProteinViews
    steps: int


@dataclass(frozen=True)
class _Trial:
    training: ProteinTraining
    held_out: ProteinViews
    column: str
    whole_way: bool


def settings(workspace: Workspace) -> Settings:
    """Gives the settings at the size of the workspace."""
    few = workspace.scale.name == "quick"
    box, count = workspace.scale.box_px, 200 if few else 400
    files = _files(workspace, TRAIN)
    most = 8 if few else len(files)
    numbers = [number for number in ((1, 8) if few else (1, 4, 16, 64)) if number < most]
    return Settings(
        tuple(
            protein_views(files[:number], box_px=box, count=count) for number in (*numbers, most)
        ),
        protein_views(_files(workspace, HELD_OUT), box_px=box, count=count),
        steps=200 if few else 2000,
    )


def _files(workspace: Workspace, part: str) -> list[Path]:
    assert workspace.proteins is not None, "the command line asks for it"
    return in_random_order(protein_files(workspace.proteins, part))


def run(workspace: Workspace, settings: Settings) -> Result:
    """Trains on more and more proteins, and tries each estimator on those held out."""
    most = settings.training[-1].proteins
    cases: list[dict[str, Any]] = []
    for views in settings.training:
        case: dict[str, Any] = {"proteins": views.proteins}
        for column, (model, head) in _NETWORKS.items():
            whole_way = column == OURS and views.proteins == most
            training = ProteinTraining(views, model, head, settings.steps)
            trial = _Trial(training, settings.held_out, column, whole_way)
            case[column], _ = workspace.step("unseen", trial, _worker(workspace, trial))
        cases.append(case)
    remarks = [
        f"Every training has {settings.steps:,} steps of 64 noiseless images of one protein, "
        "whatever the number of proteins, and the first N proteins of one random order.",
        f"In the column “{PAPER}” network, head and recovery are the paper's; pairs and optimizer "
        "are ours, as the paper has no training on several proteins.",
        "Symmetry is not taken into account: distances of proteins that have some cannot be "
        "told in full.",
        "Chance: for distances an estimator that always says π/2, for orientations random ones, "
        "aligned with the truth as all are.",
        "Dots are single proteins that were held out. Correlations are over all pairs, in which "
        "large distances are frequent; losses are as if distances were uniform.",
    ]
    return Result(_tables(cases), trends(cases), {"cases": cases}, remarks)


def _worker(workspace: Workspace, trial: _Trial) -> Any:
    def work(folder: Path) -> Record:
        return _try(workspace, trial)

    return work


def _try(workspace: Workspace, trial: _Trial) -> Record:
    views = trial.training.views
    files = _files(workspace, TRAIN)[: views.proteins]
    model = train_on_proteins(workspace, files, trial.training).load()
    seen = load_proteins(make_protein_views(workspace, files, views), "test", most=_SEEN)
    others = make_protein_views(workspace, _files(workspace, HELD_OUT), trial.held_out)
    unseen = []
    for protein in load_proteins(others, "test"):
        numbers, distances = _distance_numbers(model, protein)
        numbers |= _recovery_numbers(trial.column, distances, protein)
        if trial.whole_way:
            numbers |= _whole_way_numbers(model, protein, workspace.threads)
        unseen.append(numbers)
    return {"unseen": unseen, "seen": [_distance_numbers(model, each)[0] for each in seen]}


def _distance_numbers(model: Any, protein: OneProtein) -> tuple[Record, NDArray[np.float64]]:
    features = extract_features(model.get_layer("extractor"), protein.views.images)
    distances = head_of(model).distances_in_numpy(features, features)
    pairs = np.triu_indices(len(distances), 1)
    true = pairwise_distances(protein.views.quaternions)[pairs]
    numbers = {
        "name": protein.name,
        "distance_loss": distance_loss(distances, protein.views.quaternions),
        "correlation": float(np.corrcoef(distances[pairs], true)[0, 1]),
    }
    return numbers, symmetric_distances(distances)


def _recovery_numbers(column: str, distances: NDArray[np.float64], protein: OneProtein) -> Record:
    true = protein.views.quaternions
    way = recover_as_in_the_paper if column == PAPER else recover_our_way
    found = way(distances, true)
    random = uniform_quaternions(len(true), keyed_generator(0, "chance", protein.name))
    chance = evaluate_orientations(random, true)
    return {
        "o4_error": found.o4_error,
        "physical_error": found.physical_error,
        "chance_loss": distance_loss(np.full(distances.shape, np.pi / 2), true),
        "chance_o4_error": chance.o4.mean_error,
        "chance_physical_error": chance.physical.mean_error,
    }


def _whole_way_numbers(model: Any, protein: OneProtein, threads: int) -> Record:
    try:
        found = recover(
            protein.views.images,
            model,
            pixel_size_angstrom=protein.pixel_size_angstrom,
            threads=threads,
        )
    except InputError as refusal:
        return {"whole_physical_error": None, "trusted": False, "reason": str(refusal)}
    errors = evaluate_orientations(found.quaternions, protein.views.quaternions)
    return {
        "whole_physical_error": errors.physical.mean_error,
        "trusted": found.trust.trusted,
        "reason": found.trust.reason,
    }


def _mean(proteins: Sequence[Mapping[str, Any]], what: str) -> float:
    return float(np.mean([each[what] for each in proteins]))


def _tables(cases: Sequence[Mapping[str, Any]]) -> list[Table]:
    header = ["proteins trained on", "column", "distance loss on those seen (rad²)"]
    header += ["correlation on those seen", "distance loss, unseen (rad²)", "correlation, unseen"]
    header += ["O(4) error, unseen (rad)", "physical error, unseen (rad)"]
    names = ("distance_loss", "correlation")
    rows: list[list[Any]] = [
        [
            case["proteins"],
            column,
            *(_mean(case[column]["seen"], name) for name in names),
            *(
                _mean(case[column]["unseen"], name)
                for name in (*names, "o4_error", "physical_error")
            ),
        ]
        for case in cases
        for column in (PAPER, OURS)
    ]
    unseen = cases[-1][OURS]["unseen"]
    by_chance = [_mean(unseen, f"chance_{name}") for name in ("loss", "o4_error", "physical_error")]
    rows.append([None, "chance", None, None, by_chance[0], 0.0, *by_chance[1:]])
    whole = [
        [
            each["name"],
            each["distance_loss"],
            each["correlation"],
            each["o4_error"],
            each["whole_physical_error"],
            "yes" if each["trusted"] else "no",
            each["reason"],
        ]
        for each in unseen
    ]
    whole_header = ["protein", "distance loss (rad²)", "correlation", "O(4) error (rad)"]
    whole_header += ["physical error of recover() (rad)", "trusted", "why"]
    return [
        Table("means over proteins", header, rows),
        Table(f"{OURS}, trained on {cases[-1]['proteins']} proteins, unseen", whole_header, whole),
    ]


def trends(cases: Sequence[Mapping[str, Any]]) -> list[Trend]:
    """Tells whether more proteins help, and whether orientations follow."""
    correlations = {
        column: [_mean(case[column]["unseen"], "correlation") for case in cases]
        for column in (PAPER, OURS)
    }
    found = [
        Trend(
            f"{column}: training on more proteins helps with unseen ones (hoped for in section 4)",
            "correlation " + ", ".join(f"{value:.2f}" for value in values),
            told(values[-1] > values[0] + _GAIN, _mean(cases[0][column]["seen"], "distance_loss")),
        )
        for column, values in correlations.items()
    ]
    last = cases[-1][OURS]["unseen"]
    error, chance = _mean(last, "o4_error"), _mean(last, "chance_o4_error")
    found.append(
        Trend(
            "orientations of unseen proteins can be recovered (hoped for in section 4)",
            f"O(4) error {error:.2f} rad, by chance {chance:.2f} rad",
            told(error < chance / 2, _mean(cases[0][OURS]["seen"], "distance_loss")),
        )
    )
    return found


def draw(figure: Figure, curves: Mapping[str, Any]) -> None:
    """Draws losses, correlations and errors over the number of proteins."""
    cases = curves["cases"]
    numbers = [case["proteins"] for case in cases]
    panels = figure.subplots(1, 3)
    shown = (
        ("distance_loss", "chance_loss", "distance loss (rad²)"),
        ("correlation", None, "correlation with true distances"),
        ("o4_error", "chance_o4_error", "O(4) error (rad)"),
    )
    for axes, (what, chance, label) in zip(panels, shown, strict=True):
        for column in (PAPER, OURS):
            means = [_mean(case[column]["unseen"], what) for case in cases]
            (line,) = axes.plot(numbers, means, "o-", label=f"{column}, unseen")
            color = line.get_color()
            for case in cases:
                values = [each[what] for each in case[column]["unseen"]]
                axes.plot([case["proteins"]] * len(values), values, ".", color=color, alpha=0.4)
            if what != "o4_error":
                means = [_mean(case[column]["seen"], what) for case in cases]
                axes.plot(numbers, means, "--", color=color, lw=1, label=f"{column}, seen")
        level = 0.0 if chance is None else _mean(cases[-1][OURS]["unseen"], chance)
        axes.axhline(level, color="black", ls=":", label="chance")
        axes.set(xscale="log", xlabel="proteins trained on", ylabel=label)
        axes.set_xticks(numbers, [f"{number}" for number in numbers], minor=False)
        axes.minorticks_off()
        axes.set_ylim(min(0, axes.get_ylim()[0]), 1.05 * axes.get_ylim()[1])
    handles, labels = panels[1].get_legend_handles_labels()
    figure.legend(handles, labels, fontsize=8, ncols=len(labels), loc="outside upper center")
