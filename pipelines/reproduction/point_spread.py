"""The point-spread function: distances and orientations from images with a CTF.

The paper expects it to be like noise, and leaves it out (its section 3.4). Here images have one, of
a defocus that differs from image to image, and the estimator gets them as they are, or with phases
flipped by the CTF, or beside the CTF as a second input.

How much a CTF does to an image is told by how many times it changes its sign below the Nyquist
frequency, lambda defocus / (2 pixels)^2 times: 9 at 2.5 um in the paper's images of 5j0n, less than
one in the same images at 32 px. So defocus is asked for in sign changes.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from matplotlib.figure import Figure

from cryotwin.imaging.ctf import CtfDistribution, electron_wavelength_angstrom
from cryotwin.pipelines.reproduction.own_column import OwnTraining, own_training
from cryotwin.pipelines.reproduction.paper_column import PaperTraining, paper_training
from cryotwin.pipelines.reproduction.result import OURS, PAPER, Result, Table, Trend
from cryotwin.pipelines.reproduction.trial import try_estimator
from cryotwin.pipelines.reproduction.verdict import UNLEARNED_RAD2, told
from cryotwin.pipelines.reproduction.views import (
    HALF_OF_THE_DIRECTIONS,
    Condition,
    ViewSettings,
    half_of_the_directions,
    make_views,
)
from cryotwin.pipelines.reproduction.workspace import Workspace

NO_CTF, UNCORRECTED, FLIPPED, AS_INPUT = "no CTF", "uncorrected", "phases flipped", "CTF as input"

_SPAN = 5
"""The highest defocus over the lowest, as from 0.5 to 2.5 um."""


@dataclass(frozen=True)
class Settings:
    """Of the experiment.

    Attributes:
        views: projections of the particle without symmetry.
        cases: noise variance of the paper's images, and how often the CTF of the highest defocus
            changes its sign below Nyquist; 0 has no CTF. The lowest defocus is a fifth of it.
    """

    views: ViewSettings
    cases: tuple[tuple[float, float], ...]


def settings(workspace: Workspace) -> Settings:
    """Gives the settings at the size of the workspace."""
    cases = {
        "quick": ((0.0, 0.0), (0.0, 4.0)),
        "full": ((0.0, 0.0), (0.0, 4.0), (4.0, 0.0), (4.0, 4.0)),
        "unreduced": ((0.0, 0.0), (0.0, 3.0), (0.0, 9.0), (4.0, 0.0), (4.0, 9.0)),
    }
    return Settings(half_of_the_directions(workspace), cases[workspace.scale.name])


def run(workspace: Workspace, settings: Settings) -> Result:
    """Trains and tests without a CTF, and with one in all ways of taking it into account."""
    pixel_size = make_views(workspace, settings.views).pixel_size_angstrom
    cases: list[dict[str, Any]] = []
    for noise_variance, sign_changes in settings.cases:
        ctf = ctf_distribution(sign_changes, pixel_size)
        condition = Condition(noise_variance=noise_variance, ctf=ctf)
        about = {
            "noise_variance": noise_variance,
            "sign_changes": sign_changes,
            "defocus_um": None
            if ctf is None
            else [round(d / 1e4, 2) for d in ctf.defocus_angstrom],
            "spread_share": None
            if ctf is None
            else ctf.spread_angstrom(pixel_size) / (settings.views.box_px * pixel_size / 2),
        }
        for way in ways(sign_changes):
            found = {
                column: _numbers(workspace, training)
                for column, training in _trainings(workspace, settings, condition, way).items()
            }
            cases.append({**about, "way": way, PAPER: None, **found})
    return Result([_table(cases)], trends(cases), {"cases": cases}, _remarks(cases))


def ctf_distribution(sign_changes: float, pixel_size_angstrom: float) -> CtfDistribution | None:
    """Gives the CTFs whose phase turns by up to so many times pi below Nyquist; None for 0."""
    if sign_changes == 0:
        return None
    plain = CtfDistribution()
    wavelength = float(electron_wavelength_angstrom(plain.voltage_kv))
    highest = round(sign_changes * (2 * pixel_size_angstrom) ** 2 / wavelength)
    return replace(plain, defocus_angstrom=(highest / _SPAN, float(highest)))


def ways(sign_changes: float) -> tuple[str, ...]:
    """Gives the ways of taking a CTF into account; there is nothing to flip without a change."""
    if sign_changes == 0:
        return (NO_CTF,)
    return (UNCORRECTED, FLIPPED, AS_INPUT) if sign_changes > 1 else (UNCORRECTED, AS_INPUT)


def _trainings(
    workspace: Workspace, settings: Settings, condition: Condition, way: str
) -> dict[str, PaperTraining | OwnTraining]:
    flip = way == FLIPPED
    model = "ctf_polar" if way == AS_INPUT else "polar_search"
    own = own_training(workspace, settings.views, condition, model=model, phase_flip=flip)
    if way == AS_INPUT:  # The paper's network has no such input.
        return {OURS: own}
    return {PAPER: paper_training(workspace, settings.views, condition, phase_flip=flip), OURS: own}


def _numbers(
    workspace: Workspace, training: PaperTraining | OwnTraining
) -> dict[str, float | None]:
    own = isinstance(training, OwnTraining)
    record, _ = try_estimator(workspace, training, whole_way=own)
    names = ["distance_loss", "o4_error"] + (["whole_physical_error"] if own else [])
    return {name: record.get(name) for name in names}


def _table(cases: list[dict[str, Any]]) -> Table:
    header = ["noise variance", "sign changes", "defocus (µm)", "what the network gets"]
    header += [
        f"{column}: {what}"
        for column in (PAPER, OURS)
        for what in ("distance loss (rad²)", "O(4) error (rad)")
    ]
    header.append(f"{OURS}: physical error of recover() (rad)")
    rows = [
        [
            case["noise_variance"],
            case["sign_changes"],
            "-" if case["defocus_um"] is None else "{} to {}".format(*case["defocus_um"]),
            case["way"],
            *(
                case[column] and case[column][what]
                for column in (PAPER, OURS)
                for what in ("distance_loss", "o4_error")
            ),
            case[OURS]["whole_physical_error"],
        ]
        for case in cases
    ]
    return Table("on the test split", header, rows)


def trends(cases: list[dict[str, Any]]) -> list[Trend]:
    """Compares what is told by the strongest CTF of the least noise."""
    least = min(case["noise_variance"] for case in cases)
    most = max(case["sign_changes"] for case in cases)
    by_way = {
        case["way"]: case
        for case in cases
        if case["noise_variance"] == least and case["sign_changes"] in (0, most)
    }
    paper = [by_way[way][PAPER]["distance_loss"] for way in (NO_CTF, UNCORRECTED, FLIPPED)]
    own = [by_way[way][OURS]["distance_loss"] for way in (NO_CTF, AS_INPUT, FLIPPED, UNCORRECTED)]
    return [
        Trend(
            "a PSF acts as noise does: distances are learned, but less exactly (expected in 3.4)",
            f"loss {paper[0]:.3f} without, {paper[1]:.3f} rad² with a CTF",
            told(paper[0] < paper[1] < UNLEARNED_RAD2, paper[0]),
        ),
        Trend(
            "flipping phases helps the paper's network (beyond the paper)",
            f"loss {paper[1]:.3f} without, {paper[2]:.3f} rad² with phases flipped",
            told(paper[2] < paper[1], paper[0]),
        ),
        Trend(
            "the more a network is told of the CTF, the better (beyond the paper, ours)",
            "loss "
            + ", ".join(f"{loss:.3f}" for loss in own)
            + " rad² without a CTF, with it as input, phases flipped, uncorrected",
            told(own[1] < own[2] < own[3], own[0]),
        ),
    ]


def _remarks(cases: list[dict[str, Any]]) -> list[str]:
    widest = max(cases, key=lambda case: case["spread_share"] or 0)
    return [
        HALF_OF_THE_DIRECTIONS,
        "Images at lower resolution take a larger defocus to be changed as much: the strongest CTF "
        f"here changes its sign {widest['sign_changes']:g} times below Nyquist. It carries signal "
        f"{widest['spread_share']:.0%} of half a box away at most, so that little comes in again "
        "on the other side.",
        "In all ways the gauge and the refinement of recover() know the CTF; what differs is what "
        "the network gets.",
        "The paper's network has no second input.",
    ]


def draw(figure: Figure, curves: Mapping[str, Any]) -> None:
    """Draws losses and errors as bars, a group for each thing that a network can get."""
    cases = curves["cases"]
    left, right = figure.subplots(1, 2)
    for axes, what, label in (
        (left, "distance_loss", "distance loss (rad²)"),
        (right, "o4_error", "error of the orientations (rad)"),
    ):
        for column, offset in ((PAPER, -0.2), (OURS, 0.2)):
            shown = [(place, case[column]) for place, case in enumerate(cases) if case[column]]
            places = [place + offset for place, _ in shown]
            axes.bar(places, [found[what] for _, found in shown], width=0.38, label=column)
        axes.set_xticks(range(len(cases)), [_tick(case) for case in cases], fontsize=6)
        axes.set_ylabel(label)
        axes.grid(visible=False, axis="x")
    whole = [case[OURS]["whole_physical_error"] for case in cases]
    places = [place + 0.2 for place, error in enumerate(whole) if error is not None]
    errors = [error for error in whole if error is not None]
    right.plot(places, errors, "kv", ms=5, label=f"{OURS}, physical, recover()")
    for axes in (left, right):
        axes.set_ylim(0, 1.3 * axes.get_ylim()[1])
        axes.legend(fontsize=7, ncols=2, loc="upper center")
    left.set_title("bars: distances", fontsize=8)
    right.set_title("bars: O(4) error", fontsize=8)


def _tick(case: Mapping[str, Any]) -> str:
    lines = [case["way"].replace(" ", "\n")]
    if case["sign_changes"]:
        lines.append(f"{case['sign_changes']:g} changes")
    return "\n".join([*lines, f"noise {case['noise_variance']:g}"])
