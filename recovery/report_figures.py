"""The report's charts: arrays in, matplotlib figures out, and figures as inline pictures."""

import base64
import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import imsave
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator
from numpy.typing import NDArray

Array = NDArray[np.floating]

BLUE, ORANGE, GREY, INK = "#2f6690", "#c8642b", "#9aa5b1", "#27323f"

CURVES = {
    "half maps, corrected": (BLUE, "-", 2.0),
    "half maps, masked": (BLUE, "--", 1.3),
    "half maps, in a sphere": ("#8fb8d8", "-", 1.6),
    "half maps, no mask": (GREY, "-", 1.3),
    "half maps, phases randomised": (GREY, ":", 1.5),
    "against the truth, masked": (ORANGE, "-", 1.8),
    "against the truth, in a sphere": (ORANGE, ":", 1.5),
}
"""The curves of the Fourier shell correlation by name, in the order of the legend: colour, style
and width."""

_STYLE: dict[Any, Any] = {
    "font.family": "sans-serif",
    "font.size": 10.5,
    "axes.edgecolor": GREY,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e6eaee",
    "axes.axisbelow": True,
    "xtick.color": INK,
    "ytick.color": INK,
    "legend.frameon": False,
    "svg.hashsalt": "cryotwin",
    "figure.constrained_layout.use": True,
}
_WIDTH, _HEIGHT = 5.2, 3.5


@contextmanager
def chart_axes(height: float = _HEIGHT) -> Iterator[tuple[Figure, Axes]]:
    """Gives a figure of the report's width and style, with axes to draw on."""
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(_WIDTH, height))
        yield figure, figure.add_subplot()


def _scale_by_ratio(axes: Axes) -> None:
    """Makes the y axis logarithmic, with plain numbers on it."""
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_locator(NullLocator())


def as_svg(figure: Figure) -> str:
    """Turns a figure into a data URI that an <img> shows without any file."""
    buffer = io.BytesIO()
    with matplotlib.rc_context(_STYLE):
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    return "data:image/svg+xml;base64," + base64.b64encode(buffer.getvalue()).decode()


def grey_picture(image: Array, *, low: float, high: float, upscale: int = 1) -> str:
    """Turns an image (N, N) into a grey PNG data URI, black at `low` and white at `high`."""
    pixels = np.clip((image - low) / max(high - low, 1e-30), 0, 1)
    pixels = np.repeat(np.repeat(pixels, upscale, axis=0), upscale, axis=1)
    return colour_picture(np.stack([pixels] * 3, axis=-1))


def colour_picture(pixels: Array) -> str:
    """Turns colours (N, N, 3 or 4) in [0, 1] into a PNG data URI."""
    buffer = io.BytesIO()
    imsave(buffer, np.round(255 * pixels).astype(np.uint8), format="png", origin="upper")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def distances_against_truth(estimated: Array, true: Array) -> Figure:
    """Draws estimated against true distances of pairs, (m,) each in radians."""
    with chart_axes(4.3) as (figure, axes):
        counts, *_, mesh = axes.hist2d(
            true, estimated, bins=60, range=[[0, np.pi], [0, np.pi]], cmap="Blues", cmin=1
        )
        mesh.set_clim(0, np.nanpercentile(counts, 99) if np.isfinite(counts).any() else 1)
        axes.plot([0, np.pi], [0, np.pi], color=ORANGE, lw=1.4, label="exact")
        axes.set(xlabel="true distance (rad)", ylabel="estimated distance (rad)", aspect="equal")
        axes.legend(loc="upper left")
        figure.colorbar(mesh, ax=axes, label="pairs", shrink=0.8)
    return figure


def distances_alone(estimated: Array, even: Array) -> Figure:
    """Draws estimated distances (m,) beside those of views from all sides alike (k,), in rad."""
    with chart_axes() as (figure, axes):
        axes.hist(
            estimated, bins=50, range=(0, np.pi), density=True, color=BLUE, alpha=0.75,
            label="estimated",
        )  # fmt: skip
        density, edges = np.histogram(even, bins=40, range=(0, np.pi), density=True)
        middle = (edges[1:] + edges[:-1]) / 2
        axes.plot(middle, density, color=ORANGE, lw=1.8, label="views from all sides alike")
        axes.set(xlabel="distance (rad)", ylabel="share of pairs per rad", xlim=(0, np.pi))
        axes.legend(loc="upper left")
    return figure


def embedding_losses(losses: Array) -> Figure:
    """Draws the final loss (starts,) of each start of the embedding, best first."""
    order = np.sort(np.maximum(losses, 1e-12))
    rank = np.arange(1, len(order) + 1)
    with chart_axes() as (figure, axes):
        axes.plot(rank[1:], order[1:], "o", color=GREY, ms=7, label="other starts")
        axes.plot(rank[:1], order[:1], "o", color=ORANGE, ms=10, label="kept")
        if order[-1] > 5 * order[0]:
            _scale_by_ratio(axes)
        else:
            axes.set_ylim(0, 1.25 * order[-1])
        axes.set(xlabel="start, best first", ylabel="mean squared misfit (rad²)")
        axes.set_xticks(rank if len(rank) <= 12 else rank[:: len(rank) // 8])
        axes.set_xlim(0.4, len(order) + 0.6)
        axes.legend(loc="best")
    return figure


def common_line_scores(
    before_after: Mapping[str, float], candidates: Mapping[str, float]
) -> Figure:
    """Draws mean common-line correlations as bars: before, each candidate, at the end."""
    bars = [("before the gauge", before_after.get("before"), BLUE)]
    bars += [(f"candidate: {name}", value, GREY) for name, value in candidates.items()]
    bars += [("at the end", before_after.get("after"), ORANGE)]
    known = [(name, value, colour) for name, value, colour in bars if value is not None]
    with chart_axes(0.9 + 0.5 * len(known)) as (figure, axes):
        places = np.arange(len(known))[::-1]
        values = [value for _, value, _ in known]
        axes.barh(places, values, color=[colour for *_, colour in known], height=0.62)
        for place, value in zip(places, values, strict=True):
            axes.annotate(
                f"{value:.3f}", (max(value, 0), place), xytext=(5, 0),
                textcoords="offset points", va="center", color=INK,
            )  # fmt: skip
        axes.set_yticks(places, [name for name, *_ in known])
        axes.set_xlim(min(0, *values), max(1e-3, *values) * 1.2)
        axes.set_xlabel("mean correlation along common lines")
        axes.grid(visible=False, axis="y")
    return figure


def refinement_steps(rounds: Sequence[Mapping[str, Any]]) -> Figure:
    """Draws by round how far orientations moved and, if known, how far they are from the truth."""
    number = [entry["round"] for entry in rounds]
    with chart_axes() as (figure, axes):
        for name, label, colour in (
            ("mean_change_rad", "mean change in this round", BLUE),
            ("physical_error_rad", "mean error against the truth", ORANGE),
        ):
            values = [entry.get(name) for entry in rounds]
            known = [(n, v) for n, v in zip(number, values, strict=True) if v is not None]
            if known:
                axes.plot(*zip(*known, strict=True), "o-", color=colour, label=label)
        axes.set(xlabel="round", ylabel="angle (rad)")
        _scale_by_ratio(axes)
        axes.set_xticks(number)
        axes.legend(loc="best")
    return figure


def refinement_limits(rounds: Sequence[Mapping[str, Any]]) -> Figure:
    """Draws by round the finest detail that the images were compared at."""
    with chart_axes() as (figure, axes):
        number = [entry["round"] for entry in rounds]
        limits = [entry["resolution_limit_angstrom"] for entry in rounds]
        axes.step(number, limits, where="mid", color=BLUE)
        axes.plot(number, limits, "o", color=BLUE)
        axes.set(xlabel="round", ylabel="finest detail used (Å)")
        axes.set_ylim(bottom=0)
        axes.set_xticks(number)
    return figure


def confidences(confidence: Array, doubtful_below: float) -> Figure:
    """Draws the confidence (P,) of the particles, with the limit below which one is doubtful."""
    with chart_axes() as (figure, axes):
        edges = np.linspace(0, 1, 41)
        counts, _ = np.histogram(confidence, edges)
        colours = [ORANGE if edge < doubtful_below else BLUE for edge in edges[:-1]]
        axes.bar(edges[:-1], counts, width=1 / 40, align="edge", color=colours, alpha=0.8)
        axes.axhline(len(confidence) / 40, color=GREY, ls="--", lw=1.2, label="all alike")
        axes.set(xlabel="confidence", ylabel="particles", xlim=(0, 1))
        axes.legend(loc="upper right")
    return figure


def shifts(shifts_angstrom: Array, allowed_angstrom: float | None) -> Figure:
    """Draws how far particles (P, 2) lie off the centre, with the square that was searched."""
    reach = max(float(np.abs(shifts_angstrom).max()), allowed_angstrom or 0.0, 1e-3) * 1.08
    with chart_axes(4.3) as (figure, axes):
        axes.plot(*shifts_angstrom.T, ".", color=BLUE, ms=3, alpha=0.5, rasterized=True)
        if allowed_angstrom:
            side = [-allowed_angstrom, allowed_angstrom]
            corners = [(side[i], side[j]) for i, j in ((0, 0), (0, 1), (1, 1), (1, 0), (0, 0))]
            axes.plot(*zip(*corners, strict=True), color=ORANGE, lw=1.2)
            axes.annotate(
                "searched", (0, allowed_angstrom), xytext=(0, -4), color=ORANGE, ha="center",
                va="top", textcoords="offset points",
            )  # fmt: skip
        axes.set(xlabel="x (Å)", ylabel="y (Å)", xlim=(-reach, reach), ylim=(-reach, reach))
        axes.set_aspect("equal")
    return figure


def defocus(defocus_angstrom: Array) -> Figure:
    """Draws the defocus (P,) of the images."""
    with chart_axes(2.6) as (figure, axes):
        axes.hist(defocus_angstrom / 1e4, bins=30, color=BLUE, alpha=0.8)
        axes.set(xlabel="defocus (µm)", ylabel="images")
    return figure


def physical_errors(errors: Array) -> Figure:
    """Draws the errors (P,) in radians as a histogram in degrees."""
    degrees = np.rad2deg(errors)
    top = min(180.0, max(1.0, 1.6 * float(np.percentile(degrees, 98))))
    with chart_axes() as (figure, axes):
        axes.hist(np.minimum(degrees, top), bins=50, range=(0, top), color=BLUE, alpha=0.8)
        for value, name, style in (
            (degrees.mean(), "mean", "-"),
            (np.median(degrees), "median", "--"),
        ):
            axes.axvline(value, color=ORANGE, ls=style, label=f"{name} {value:.2f}°")
        beyond = int((degrees > top).sum())
        note = f" ({beyond} larger ones in the last bar)" if beyond else ""
        axes.set(xlabel=f"error of an orientation (degrees){note}", ylabel="particles")
        axes.legend(loc="upper right")
    return figure


def shell_correlations(
    curves: Sequence[tuple[str, Array]],
    thresholds: Sequence[float],
    pixel_size_angstrom: float,
    size: int,
) -> Figure:
    """Draws Fourier shell correlations over spatial frequency, with their thresholds.

    Args:
        curves: what each is, as a key of `CURVES`, and its correlations (n,).
        thresholds: where resolutions are read.
        pixel_size_angstrom: pixel size of the maps.
        size: their box N.
    """
    nyquist = 1 / (2 * pixel_size_angstrom)
    with chart_axes(4.1) as (figure, axes):
        for name, curve in curves:
            colour, style, width = CURVES[name]
            frequency = np.arange(len(curve)) / (size * pixel_size_angstrom)
            axes.plot(frequency, curve, style, color=colour, lw=width, label=name)
        for threshold in thresholds:
            axes.axhline(threshold, color=INK, lw=0.8, ls=":")
            axes.annotate(
                f"{threshold:g}", (nyquist, threshold), xytext=(-2, 3), color=INK,
                textcoords="offset points", ha="right",
            )  # fmt: skip
        axes.axhline(0, color=GREY, lw=0.8)
        axes.set(xlim=(0, nyquist), ylim=(-0.1, 1.03), ylabel="correlation")
        ticks = np.linspace(0, nyquist, 6)[1:]
        axes.set_xticks(ticks, [f"{1 / tick:.3g}" for tick in ticks])
        axes.set_xlabel("detail (Å), finer to the right")
        axes.legend(loc="upper right", fontsize=8)
    return figure
