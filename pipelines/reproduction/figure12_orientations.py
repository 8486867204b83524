"""Figure 12: four distributions of orientations, and the distances that they induce.

Appendix A: short distances are rare between orientations that are drawn blindly, so that training
pairs are drawn anew until their distances are uniform.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray
from scipy.stats import kstest

from cryotwin.datasets.pairs import pair_distances, sample_pairs
from cryotwin.imaging.orientations import draw_quaternions
from cryotwin.imaging.randomness import keyed_generator
from cryotwin.imaging.rotations import orientation_distances, quaternions_to_matrices
from cryotwin.pipelines.reproduction.result import Cell, Result, Table, Trend
from cryotwin.pipelines.reproduction.workspace import Record, Workspace

_BINS = 45
_SHOWN_DIRECTIONS = 300
_COMPONENTS = "abcd"

_UNIFORM = 0.02
"""Distances that are within this Kolmogorov-Smirnov distance of uniform ones are uniform."""


@dataclass(frozen=True)
class Settings:
    """Of the experiment.

    Attributes:
        count: orientations of each distribution (the paper's 5,000).
        names: of the distributions.
        pairs: independent ones, whose distances are compared with the analytic density.
        resampled: pairs that are drawn so that their distances are uniform.
        seed: of all draws.
    """

    count: int
    names: tuple[str, ...]
    pairs: int
    resampled: int
    seed: int


def settings(workspace: Workspace) -> Settings:
    """Gives the settings, which are the paper's at every size."""
    return Settings(5000, ("so3", "euler", "euler-half", "so3-quarter"), 50_000, 20_000, 0)


def run(workspace: Workspace, settings: Settings) -> Result:
    """Draws the distributions."""

    def work(folder: Path) -> Record:
        return {name: _distribution(settings, name) for name in settings.names}

    found, _ = workspace.step("distributions", settings, work)
    cases = {name: found[name] for name in settings.names}
    rows: list[list[Cell]] = [
        [
            name,
            case["below_half"],
            case["from_uniform_rotations"],
            case["from_uniform_distances"],
            case["smallest"],
            case["largest"],
        ]
        for name, case in cases.items()
    ]
    table = Table(
        f"{settings.count:,} orientations of each; Kolmogorov-Smirnov distances of "
        f"{settings.pairs:,} independent pairs from (1 - cos d) / π, and of "
        f"{settings.resampled:,} resampled pairs from uniform ones",
        [
            "distribution",
            "pairs nearer than π / 2 (%)",
            "from the analytic density",
            "resampled, from uniform",
            "smallest resampled (rad)",
            "largest (rad)",
        ],
        rows,
    )
    return Result([table], trends(cases, settings.pairs), cases)


def uniform_rotations_cdf(distances: ArrayLike) -> NDArray[np.float64]:
    """Gives the share of pairs of uniform rotations that are nearer: the density integrated."""
    distances = np.asarray(distances, np.float64)
    return (distances - np.sin(distances)) / np.pi


def _distribution(settings: Settings, name: str) -> Record:
    rng = keyed_generator(settings.seed, "distribution", name)
    quaternions = draw_quaternions(name, settings.count, rng)
    # Each of these orientations is in one pair, so that the distances are independent.
    first, second = (draw_quaternions(name, settings.pairs, rng) for _ in range(2))
    apart = orientation_distances(first, second)
    resampled = pair_distances(quaternions, sample_pairs(quaternions, settings.resampled, rng))
    among = (resampled - resampled.min()) / np.ptp(resampled)
    directions = quaternions_to_matrices(quaternions[:_SHOWN_DIRECTIONS])[:, 2]
    return {
        "below_half": 100 * float(np.mean(apart < np.pi / 2)),
        "from_uniform_rotations": float(kstest(apart, uniform_rotations_cdf).statistic),
        "from_uniform_distances": float(kstest(among, "uniform").statistic),
        "smallest": float(resampled.min()),
        "largest": float(resampled.max()),
        "distances": _density(apart, 0, np.pi),
        "resampled": _density(resampled, 0, np.pi),
        "components": [_density(component, -1, 1) for component in quaternions.T],
        "rot_degrees": _rounded(np.degrees(np.arctan2(directions[:, 1], directions[:, 0])) % 360),
        "height": _rounded(directions[:, 2]),
    }


def _density(values: NDArray[np.float64], low: float, high: float) -> list[float]:
    return _rounded(np.histogram(values, _BINS, (low, high), density=True)[0])


def _rounded(values: NDArray[np.float64]) -> list[float]:
    rounded: list[float] = values.round(3).tolist()
    return rounded


def trends(cases: Mapping[str, Any], independent_pairs: int) -> list[Trend]:
    """Checks the analytic density, and what Appendix A says of distances."""
    limit = 1.63 / math.sqrt(independent_pairs)
    off = {name: case["from_uniform_rotations"] for name, case in cases.items()}
    others = [name for name in cases if name != "so3"]
    below = {name: case["below_half"] for name, case in cases.items()}
    resampled = max(case["from_uniform_distances"] for case in cases.values())
    return [
        Trend(
            "'so3' is uniform on SO(3): its distances have the density (1 - cos d) / π, by a "
            "Kolmogorov-Smirnov test at 1%",
            f"{off['so3']:.4f}, limit {limit:.4f}",
            off["so3"] < limit,
        ),
        Trend(
            "the other distributions do not have these distances (Figure 12)",
            ", ".join(f"{name} {off[name]:.3f}" for name in others),
            all(off[name] > limit for name in others),
        ),
        Trend(
            "short distances are under-sampled, whatever the distribution: less than half of the "
            "pairs are nearer than π / 2 (Appendix A)",
            ", ".join(f"{name} {share:.0f}%" for name, share in below.items()),
            all(share < 50 for share in below.values()),
        ),
        Trend(
            f"resampling makes distances uniform, to {_UNIFORM:g} (Appendix A)",
            f"{resampled:.4f} at most",
            resampled < _UNIFORM,
        ),
    ]


def draw(figure: Figure, curves: Mapping[str, Any]) -> None:
    """Draws viewing directions, distances before and after resampling, and components."""
    figure.set_size_inches(9, 6)
    grid = figure.add_gridspec(2, 1, height_ratios=(1, 1.3))
    upper, lower = (figure.add_subfigure(grid[row, 0]) for row in (0, 1))
    for place, (axes, (name, case)) in enumerate(
        zip(upper.subplots(1, len(curves), sharey=True), curves.items(), strict=True)
    ):
        axes.plot(case["rot_degrees"], case["height"], ".", ms=2, color=f"C{place}")
        axes.set(title=name, xlabel="$θ_1$ (degrees)", xlim=(0, 360), ylim=(-1, 1))
        axes.set_xticks(range(0, 361, 90))
        if place == 0:
            axes.set_ylabel("cos $θ_2$ of the direction")
    panels = lower.subplot_mosaic("ddrr\n0123")
    _draw_densities(panels["d"], curves, "distances", np.pi)
    distances = np.linspace(0, np.pi, 100)
    panels["d"].plot(distances, (1 - np.cos(distances)) / np.pi, "k:", label="(1 - cos d) / π")
    panels["d"].set(xlabel="distance of pairs (rad)", ylabel="density (1/rad)")
    panels["d"].legend(fontsize=7)
    _draw_densities(panels["r"], curves, "resampled", np.pi)
    panels["r"].set(xlabel="distance of resampled pairs (rad)", ylim=(0, 0.6))
    for number, name in enumerate(_COMPONENTS):
        axes = panels[str(number)]
        for place, case in enumerate(curves.values()):
            edges = np.linspace(-1, 1, _BINS + 1)
            axes.stairs(case["components"][number], edges, color=f"C{place}")
        axes.set(xlabel=f"component {name} of q", yticks=[])


def _draw_densities(axes: Any, curves: Mapping[str, Any], what: str, high: float) -> None:
    edges = np.linspace(0, high, _BINS + 1)
    for place, (name, case) in enumerate(curves.items()):
        axes.stairs(case[what], edges, color=f"C{place}", label=name)
