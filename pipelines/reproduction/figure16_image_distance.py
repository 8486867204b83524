"""Figure 16: the Euclidean distance between images is no measure of that of their orientations.

Appendix C: a few images against all others, without noise, of the particle without symmetry, and of
the symmetric one from the whole sphere and from a quarter. Beside it the distances that our trained
estimators give.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy.stats import spearmanr

from cryotwin.imaging.rotations import pairwise_distances
from cryotwin.models.features import extract_features
from cryotwin.models.siamese import head_of
from cryotwin.pipelines.reproduction.own_column import OwnTraining
from cryotwin.pipelines.reproduction.recovery_cases import QUARTER, RecoveryCase, case_training
from cryotwin.pipelines.reproduction.result import OURS, Cell, Result, Table, Trend
from cryotwin.pipelines.reproduction.target import Target
from cryotwin.pipelines.reproduction.trial import test_images, train
from cryotwin.pipelines.reproduction.views import ViewSettings, make_views
from cryotwin.pipelines.reproduction.workspace import Record, Workspace

EUCLIDEAN = "between images"

_SHOWN = 90
_ALIKE = 0.01
"""Of all images, the share that is most alike to one."""

_WEAK, _STRONG = 0.2, 0.5
"""Rank correlations below and above are those of a plateau and of a slope."""


@dataclass(frozen=True)
class Settings:
    """Of the experiment.

    Attributes:
        projections: over the three splits; those of the test split are compared.
        box_px: edge of the images.
        chosen: images that are compared with all others in the figure (the paper's 5).
        measured: those that are for the table.
    """

    projections: int
    box_px: int
    chosen: int
    measured: int


@dataclass(frozen=True)
class _Case:
    """Distances of one kind: from the images, or from an estimator."""

    views: ViewSettings
    symmetry: str
    chosen: int
    measured: int
    training: OwnTraining | None


def settings(workspace: Workspace) -> Settings:
    """Gives the settings at the size of the workspace."""
    return Settings(workspace.scale.count, workspace.scale.box_px, 5, 100)


def run(workspace: Workspace, settings: Settings) -> Result:
    """Compares a few images with all others."""
    particles: list[tuple[Target, tuple[str, ...]]] = [(workspace.asymmetric, ("so3",))]
    if workspace.symmetric.symmetry != "C1":
        particles.append((workspace.symmetric, ("so3", QUARTER)))
    cases = []
    for target, distributions in particles:
        for orientations in distributions:
            views = ViewSettings(target, settings.box_px, settings.projections, orientations)
            cases.append(
                _compare(workspace, _Case(views, "C1", settings.chosen, settings.measured, None))
            )
        cases.append(_compare(workspace, _estimated(workspace, target, settings)))
    return Result(
        [_table(settings, cases)],
        trends(cases, workspace.asymmetric.name, workspace.symmetric.name),
        {"cases": cases},
        _remarks(workspace.symmetric),
    )


def _remarks(symmetric: Target) -> list[str]:
    return [
        "Distances between images are root mean square differences, in units of the standard "
        f"deviation of the images. The figure shows up to {_SHOWN} pairs of each of the images, "
        "spread evenly over the true distances.",
        f"cryotwin's distances of {symmetric.name} are under {symmetric.symmetry}, and so are the "
        "true ones beside them.",
    ]


def _estimated(workspace: Workspace, target: Target, settings: Settings) -> _Case:
    training = case_training(workspace, RecoveryCase(target, OURS))
    assert isinstance(training, OwnTraining), "it is ours"
    return _Case(training.views, training.symmetry, settings.chosen, settings.measured, training)


def _compare(workspace: Workspace, case: _Case) -> Record:
    record, _ = workspace.step("image-distances", case, _worker(workspace, case))
    return {
        "particle": case.views.target.name,
        "orientations": case.views.orientations,
        "symmetry": case.symmetry,
        "distance": EUCLIDEAN if case.training is None else OURS,
        **{what: record[what] for what in ("near", "far", "alike_but_far", "true", "found")},
    }


def _worker(workspace: Workspace, case: _Case) -> Callable[[Path], Record]:
    def work(folder: Path) -> Record:
        views = make_views(workspace, case.views).splits["test"]
        some = views.quaternions[: case.measured]
        true = pairwise_distances(some, views.quaternions, symmetry=case.symmetry)
        if case.training is None:
            found = image_distances(views.images[: case.measured], views.images)
        else:
            found = _estimate(workspace, case.training)[: case.measured]
        others = np.eye(*true.shape) == 0
        true, found = (each[others].reshape(len(each), -1) for each in (true, found))
        shown = evenly_chosen(true[: case.chosen])
        return {
            **dependence(true, found),
            "true": np.take_along_axis(true[: case.chosen], shown, axis=1).round(2).tolist(),
            "found": np.take_along_axis(found[: case.chosen], shown, axis=1).round(3).tolist(),
        }

    return work


def image_distances(
    first: NDArray[np.floating], second: NDArray[np.floating]
) -> NDArray[np.float64]:
    """Gives root mean square differences (F, S) of images (F, N, N) and (S, N, N)."""
    return np.stack([np.sqrt(np.mean((second - image) ** 2, axis=(1, 2))) for image in first])


def evenly_chosen(true: NDArray[np.floating]) -> NDArray[np.intp]:
    """Chooses of true distances (C, P) in each row some (C, shown) that are spread evenly."""
    order = np.argsort(true, axis=1)
    ascending = np.take_along_axis(true, order, axis=1)
    wanted = np.linspace(ascending[:, 0], ascending[:, -1], _SHOWN, axis=1)
    places = [np.searchsorted(*row) for row in zip(ascending, wanted, strict=True)]
    return np.take_along_axis(order, np.stack(places), axis=1)


def _estimate(workspace: Workspace, training: OwnTraining) -> NDArray[np.float64]:
    _, images, ctf = test_images(workspace, training)
    model = train(workspace, training).load()
    features = extract_features(model.get_layer("extractor"), images, ctf)
    return np.asarray(head_of(model).distances_in_numpy(features, features), np.float64)


def dependence(true: NDArray[np.floating], found: NDArray[np.floating]) -> dict[str, float]:
    """Tells how distances (C, P) of C images to P others follow the true ones, in rad.

    Returns:
        `near` and `far`: rank correlations over the true distances in the lowest and the highest
        third of their range, means over the images; `alike_but_far`: of the hundredth of the
        images that are most alike, the share in percent at distances of the highest third.
    """
    largest = true.max()
    thirds = {"near": true < largest / 3, "far": true > largest * 2 / 3}
    alike = np.argsort(found, axis=1)[:, : math.ceil(_ALIKE * true.shape[1])]
    return {
        **{
            name: float(
                np.mean(
                    [
                        spearmanr(row[which], values[which]).statistic
                        for row, values, which in zip(true, found, chosen, strict=True)
                        if which.sum() > 2  # Two have no rank correlation.
                    ]
                )
            )
            for name, chosen in thirds.items()
        },
        "alike_but_far": 100 * float(np.take_along_axis(thirds["far"], alike, axis=1).mean()),
    }


def _table(settings: Settings, cases: Sequence[Record]) -> Table:
    rows: list[list[Cell]] = [
        [
            case["particle"],
            case["orientations"],
            case["distance"],
            case["symmetry"],
            case["near"],
            case["far"],
            case["alike_but_far"],
        ]
        for case in cases
    ]
    return Table(
        f"{settings.measured} images against the others of the test split, without noise",
        [
            "particle",
            "orientations",
            "distance",
            "true distances under",
            "rank correlation, nearest third",
            "farthest third",
            "of the 1% most alike: in the farthest third (%)",
        ],
        rows,
    )


def trends(cases: Sequence[Record], asymmetric: str, symmetric: str) -> list[Trend]:
    """Checks what Appendix C says of the cases.

    Args:
        cases: with "particle", "orientations", "distance" and what `dependence` gives.
        asymmetric: name of the particle without symmetry.
        symmetric: name of the other, which may be missing.
    """
    by = {(case["particle"], case["orientations"], case["distance"]): case for case in cases}
    euclidean, ours = by[asymmetric, "so3", EUCLIDEAN], by[asymmetric, "so3", OURS]
    found = [
        Trend(
            "Euclidean distances grow with those of orientations only where these are small, and "
            f"plateau: the rank correlation is above {_STRONG:g} in the nearest third and below "
            f"{_WEAK:g} in the farthest (Figure 16a), {asymmetric}",
            f"{euclidean['near']:.2f} and {euclidean['far']:.2f}",
            euclidean["near"] > _STRONG and euclidean["far"] < _WEAK,
        )
    ]
    if (symmetric, QUARTER, EUCLIDEAN) in by:
        whole, quarter = (by[symmetric, each, EUCLIDEAN] for each in ("so3", QUARTER))
        found += [
            Trend(
                "views of a symmetric particle are alike at orientations that are far apart: most "
                f"of the 1% most alike images (Figure 16b), {symmetric}",
                f"{whole['alike_but_far']:.0f}%",
                whole["alike_but_far"] > 50,
            ),
            Trend(
                "a quarter of the directions solves that: hardly any, a tenth at most (Figure "
                f"16c), {symmetric}",
                f"{quarter['alike_but_far']:.0f}%",
                quarter["alike_but_far"] <= 10,
            ),
        ]
    return [
        *found,
        Trend(
            f"learned distances do not plateau: in the farthest third the rank correlation is "
            f"above {_STRONG:g} (beyond the paper), {asymmetric}",
            f"{ours['far']:.2f}",
            ours["far"] > _STRONG,
        ),
    ]


def draw(figure: Figure, curves: Mapping[str, Any]) -> None:
    """Draws distances between images above, and estimated ones below, over true ones."""
    rows = [
        [case for case in curves["cases"] if case["distance"] == distance]
        for distance in (EUCLIDEAN, OURS)
    ]
    figure.set_size_inches(9, 5.6)
    panels = figure.subplots(2, max(map(len, rows)), squeeze=False)
    for axes in panels.ravel():
        axes.set_axis_off()
    for row, cases in zip(panels, rows, strict=True):
        for axes, case in zip(row, cases, strict=False):
            axes.set_axis_on()
            _draw_case(axes, case)


def _draw_case(axes: Axes, case: Mapping[str, Any]) -> None:
    for true, found in zip(case["true"], case["found"], strict=True):
        axes.plot(true, found, ".", ms=3, alpha=0.7)
    under = "" if case["symmetry"] == "C1" else f" under {case['symmetry']}"
    axes.set(xlim=(0, np.pi), xlabel=f"true distance{under} (rad)")
    axes.set_ylim(bottom=0)
    if case["distance"] == EUCLIDEAN:
        axes.set_ylabel("between images (std)")
    else:
        axes.plot([0, np.pi], [0, np.pi], "k", lw=0.6)
        axes.set(ylabel="estimated (rad)", ylim=(0, np.pi))
    by = EUCLIDEAN if case["distance"] == EUCLIDEAN else f"by {OURS}"
    axes.set_title(f"{case['particle']}, '{case['orientations']}', {by}", fontsize=8)
