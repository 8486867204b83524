"""Figure 11: maps from recovered orientations, and their Fourier shell correlation.

Section 3.5, on the cases of Figure 10. The maps are of noiseless projections; the orientations were
recovered from noiseless or noisy ones, or are true or random. The paper aligns them with the truth
over O(4) first, as its evaluation does; what its recovery gives without that help is shown too.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure

from cryotwin.pipelines.reproduction import figure10_recovery
from cryotwin.pipelines.reproduction.column_legend import COLORS
from cryotwin.pipelines.reproduction.map_slices import read_slice, shown_slice
from cryotwin.pipelines.reproduction.recovered_maps import (
    AIDED,
    RANDOM,
    TRUE,
    UNAIDED,
    bounding_maps,
    recovered_maps,
)
from cryotwin.pipelines.reproduction.recovery_cases import (
    RecoveryCase,
    case_training,
    try_training,
)
from cryotwin.pipelines.reproduction.result import OURS, PAPER, Cell, Result, Table, Trend
from cryotwin.pipelines.reproduction.target import Target
from cryotwin.pipelines.reproduction.verdict import has_learned, has_recovered
from cryotwin.pipelines.reproduction.views import make_views
from cryotwin.pipelines.reproduction.workspace import Record, Workspace

_REPORTED_ANGSTROM = {
    ("5j0n", 0.0): 12.2,
    ("5j0n", 16.0): 15.2,
    ("5a1a", 0.0): 8.0,
    ("5a1a", 16.0): 9.6,
}
"""The paper's resolutions, by particle and noise variance (section 3.5)."""

_SAME = 1.1
"""Resolutions that differ by no more than this factor are the same."""

Settings = figure10_recovery.Settings
settings = figure10_recovery.settings


@dataclass(frozen=True)
class _Kind:
    """A line of a panel: which orientations, how aligned, and how it is drawn."""

    column: str
    way: str
    noisy: bool

    @property
    def label(self) -> str:
        seen = "noisy" if self.noisy else "noiseless"
        return f"{'paper' if self.column == PAPER else 'cryotwin'}, {seen}\n{self.way}"


_KINDS = tuple(
    _Kind(column, way, noisy)
    for column, way in ((PAPER, AIDED), (PAPER, UNAIDED), (OURS, UNAIDED))
    for noisy in (False, True)
)


def run(workspace: Workspace, settings: Settings) -> Result:
    """Makes the maps of all cases."""
    particles = [
        _particle(workspace, target, noises)
        for target, noises in (
            (workspace.asymmetric, settings.asymmetric_noises),
            (workspace.symmetric, settings.symmetric_noises),
        )
    ]
    nyquist = ", ".join(
        f"{each['nyquist_angstrom']:.1f} Å of {each['particle']}" for each in particles
    )
    remarks = [
        f"No map can be better than its Nyquist limit: {nyquist}.",
        f"“{AIDED}”: the orientations were aligned with the true ones over O(4) before the map was "
        f"made, as in the paper; no user can. “{UNAIDED}”: by a rotation of the object and its "
        "mirror image alone, which images leave open; all else comes from the recovery.",
    ]
    return Result(
        [_table(particles)],
        [trend for particle in particles for trend in trends(particle)],
        {"particles": particles},
        remarks,
    )


def _particle(workspace: Workspace, target: Target, noises: Sequence[float]) -> Record:
    """Gives a particle's maps: of the bounds by column, of the recoveries by column and noise."""
    base = {column: _training(workspace, target, column, 0.0) for column in (PAPER, OURS)}
    made = make_views(workspace, base[PAPER].views)
    recovered = []
    for column in (PAPER, OURS):
        for noise in noises:
            training = _training(workspace, target, column, noise)
            record, _ = try_training(workspace, training)
            maps = recovered_maps(workspace, training)
            recovered.append(
                {
                    "column": column,
                    "noise_variance": noise,
                    "distance_loss": record["distance_loss"],
                    "o4_error": record["o4_error"],
                    "maps": {way: maps[way] for way in (AIDED, UNAIDED) if way in maps},
                }
            )
    return {
        "particle": target.name,
        "nyquist_angstrom": 2 * made.pixel_size_angstrom,
        "box_angstrom": len(made.volume) * made.pixel_size_angstrom,
        "true_map": shown_slice(made.volume),
        "bounds": {
            column: {
                name: numbers
                for name, numbers in bounding_maps(workspace, training).items()
                if name in (TRUE, RANDOM)
            }
            for column, training in base.items()
        },
        "recovered": recovered,
    }


def _training(workspace: Workspace, target: Target, column: str, noise: float) -> Any:
    return case_training(workspace, RecoveryCase(target, column, noise))


def _table(particles: Sequence[Record]) -> Table:
    rows: list[list[Cell]] = []
    for particle in particles:
        for column, bounds in particle["bounds"].items():
            rows += [
                [particle["particle"], column, name, None, numbers["resolution_angstrom"], None]
                for name, numbers in bounds.items()
            ]
        for case in particle["recovered"]:
            for way, numbers in case["maps"].items():
                reported = _REPORTED_ANGSTROM.get((particle["particle"], case["noise_variance"]))
                rows.append(
                    [
                        particle["particle"],
                        case["column"],
                        f"recovered, aligned: {way}",
                        case["noise_variance"],
                        numbers["resolution_angstrom"],
                        reported if way == AIDED else None,
                    ]
                )
    return Table(
        "Resolution against the true map at an FSC of 0.5, noiseless projections of the test split",
        [
            "particle",
            "column",
            "orientations",
            "recovered at noise variance",
            "resolution (Å)",
            "the paper reports (Å)",
        ],
        rows,
    )


def trends(particle: Mapping[str, Any]) -> list[Trend]:
    """Checks what section 3.5 says of a particle's maps, and what it leaves out."""
    name = particle["particle"]
    bounds = {
        what: numbers["resolution_angstrom"] for what, numbers in particle["bounds"][PAPER].items()
    }
    by = {(case["column"], case["noise_variance"] > 0): case for case in particle["recovered"]}
    clean, ours = by[PAPER, False], by[OURS, False]
    recovered = has_learned(clean["distance_loss"]) and has_recovered(clean["o4_error"])
    aided, unaided = (_resolution(clean, way) for way in (AIDED, UNAIDED))
    nyquist = particle["nyquist_angstrom"]
    found = [
        Trend(
            f"the projections suffice for a perfect map, random orientations give none "
            f"(Figure 11a, b), {name}",
            f"{bounds[TRUE]:.1f} Å, {bounds[RANDOM]:.1f} Å; Nyquist is at {nyquist:.1f} Å",
            bounds[TRUE] < _SAME * nyquist and bounds[RANDOM] > 2 * nyquist,
        )
    ]
    if (PAPER, True) in by:
        noisy = _resolution(by[PAPER, True], AIDED)
        found.append(
            Trend(
                f"orientations from noisy images lower the map's resolution (Figure 11d), {name}",
                f"{aided:.1f} and {noisy:.1f} Å",
                aided < noisy if recovered and max(aided, noisy) > nyquist else None,
            )
        )
    found.append(
        Trend(
            "any rotation or reflection of the recovered quaternions is as good as any other "
            f"(section 2.4): without the help of the truth the map is the same, {name}, {PAPER}",
            f"{aided:.1f} Å after O(4), {unaided:.1f} Å without",
            unaided < _SAME * aided if recovered else None,
        )
    )
    best = _resolution(ours, UNAIDED)
    found.append(
        Trend(
            f"cryotwin's map without that help is at least as good as the paper's with it (beyond "
            f"the paper), {name}",
            f"{best:.1f} and {aided:.1f} Å",
            best <= aided,
        )
    )
    return found


def _resolution(case: Mapping[str, Any], way: str) -> float:
    return float(case["maps"][way]["resolution_angstrom"])


def draw(figure: Figure, curves: Mapping[str, Any]) -> None:
    """Draws for each particle its FSC curves, and a middle slice of each map."""
    particles = curves["particles"]
    figure.set_size_inches(9, 3.3 * len(particles))
    slices = [_slices(particle) for particle in particles]
    columns = math.ceil(max(map(len, slices)) / 2)
    grid = figure.add_gridspec(len(particles), 2, width_ratios=(2, 3))
    for row, particle in enumerate(particles):
        plot, maps = (figure.add_subfigure(grid[row, column]) for column in (0, 1))
        _draw_curves(plot.subplots(), particle)
        _draw_slices(maps, slices[row], columns)


def _draw_curves(axes: Axes, particle: Mapping[str, Any]) -> None:
    box = particle["box_angstrom"]
    for (name, numbers), style in zip(particle["bounds"][PAPER].items(), ("--", ":"), strict=True):
        _draw_fsc(axes, numbers["fsc"], box, color="k", ls=style, lw=1, zorder=3, label=name)
    for kind in _KINDS:
        numbers = _numbers(particle, kind)
        if numbers is not None:
            style = {(AIDED, PAPER): "-", (UNAIDED, PAPER): ":"}.get((kind.way, kind.column), "-")
            _draw_fsc(
                axes,
                numbers["fsc"],
                box,
                color=COLORS[kind.column],
                ls=style,
                marker="x" if kind.noisy else None,
                ms=4,
                label=kind.label.replace("\n", ", "),
            )
    axes.axhline(0.5, color="k", lw=0.6)
    axes.set(xlabel="spatial frequency (1/Å)", ylabel="FSC with the true map", ylim=(-0.2, 1.05))
    axes.set_title(f"{particle['particle']}, to Nyquist ({particle['nyquist_angstrom']:.1f} Å)")
    axes.legend(fontsize=6, loc="upper center", bbox_to_anchor=(0.5, -0.22), ncols=2)


def _draw_fsc(axes: Axes, fsc: Sequence[float], box_angstrom: float, **style: Any) -> None:
    axes.plot(np.arange(1, len(fsc)) / box_angstrom, fsc[1:], **style)


def _numbers(particle: Mapping[str, Any], kind: _Kind) -> Mapping[str, Any] | None:
    for case in particle["recovered"]:
        if (case["column"], case["noise_variance"] > 0) == (kind.column, kind.noisy):
            numbers: Mapping[str, Any] | None = case["maps"].get(kind.way)
            return numbers
    return None


def _slices(particle: Mapping[str, Any]) -> dict[str, Any]:
    bounds = particle["bounds"][PAPER]
    shown = {"true map": particle["true_map"]}
    shown |= {name: numbers["slice"] for name, numbers in bounds.items()}
    for kind in _KINDS:
        numbers = _numbers(particle, kind)
        if numbers is not None:
            shown[kind.label] = numbers["slice"]
    return shown


def _draw_slices(maps: SubFigure, shown: Mapping[str, Any], columns: int) -> None:
    panels = maps.subplots(2, columns).ravel()
    for axes in panels:
        axes.set_axis_off()
    for axes, (title, rows) in zip(panels, shown.items(), strict=False):
        axes.imshow(read_slice(rows), cmap="gray", origin="lower")
        axes.set_title(title, fontsize=7)
