"""The figures of the documentation: the same bytes for the same numbers, and small."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np

from cryotwin.imaging.atomic import atomic_output
from zoo.cost_curves import CostCurve
from zoo.distance_statistics import BinnedErrors

_STYLE = {
    "svg.hashsalt": "cryotwin",
    "svg.fonttype": "none",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.3,
    "legend.frameon": False,
}


@contextmanager
def figure_file(path: Path, panels: int) -> Iterator[Any]:
    """Yields so many axes side by side, and writes them as SVG."""
    with mpl.rc_context(_STYLE):
        from matplotlib.backends.backend_svg import FigureCanvasSVG
        from matplotlib.figure import Figure

        figure = Figure(figsize=(3.9 * panels, 3.1), layout="constrained")
        FigureCanvasSVG(figure)
        yield figure.subplots(1, panels)
        with atomic_output(path) as temporary:
            figure.savefig(temporary, metadata={"Date": None})
    print(f"wrote {path}", flush=True)


def draw_head_comparison(path: Path, by_head: Mapping[str, Sequence[BinnedErrors]]) -> None:
    """Draws bias and squared error by true distance: mean and range over the seeds."""
    with figure_file(path, 2) as (bias_axes, error_axes):
        for head, runs in by_head.items():
            centres = (runs[0].edges[1:] + runs[0].edges[:-1]) / 2
            for axes, values in (
                (bias_axes, [run.bias for run in runs]),
                (error_axes, [run.squared_error for run in runs]),
            ):
                (line,) = axes.plot(centres, np.mean(values, axis=0), label=head)
                axes.fill_between(
                    centres,
                    np.min(values, axis=0),
                    np.max(values, axis=0),
                    color=line.get_color(),
                    alpha=0.2,
                    linewidth=0,
                )
        bias_axes.set(xlabel="true distance (rad)", ylabel="bias (rad)")
        error_axes.set(xlabel="true distance (rad)", ylabel="squared error (rad²)", yscale="log")
        bias_axes.legend()


def draw_cost_of_quality(path: Path, theirs: Sequence[CostCurve], own: Sequence[CostCurve]) -> None:
    """Draws the error against time and against forward passes, for both sides."""
    with figure_file(path, 2) as panels:
        for axes, cost, label in zip(
            panels,
            ("seconds", "passes"),
            ("seconds of training", "forward passes"),
            strict=True,
        ):
            for curves, colour, side in (
                (theirs, "C1", "as in the paper"),
                (own, "C0", "ours"),
            ):
                for number, curve in enumerate(curves):
                    name = side if number == 0 else None
                    axes.plot(getattr(curve, cost), curve.error, color=colour, label=name)
            axes.set(xscale="log", yscale="log", xlabel=label)
        panels[0].set_ylabel("squared error, validation (rad²)")
        panels[0].legend()


def draw_accuracy_against_cost(
    path: Path,
    models: Sequence[str],
    megaflops: Sequence[float],
    errors: Mapping[float | None, Sequence[float]],
) -> None:
    """Draws each model's error against its operations, a panel for each noise."""
    with figure_file(path, len(errors)) as panels:
        for axes, (snr_db, values) in zip(panels, errors.items(), strict=True):
            ranked = sorted(zip(values, megaflops, models, strict=True))
            for rank, (value, cost, model) in enumerate(ranked):
                axes.plot(cost, value, "o")
                # Neighbours in error have their names above and below.
                place = (4, 5) if rank % 2 else (4, -10)
                axes.annotate(
                    model, (cost, value), xytext=place, textcoords="offset points", fontsize=7
                )
            axes.set(
                xscale="log",
                yscale="log",
                xlabel="MFLOPs at 64 px",
                title="no noise" if snr_db is None else f"{snr_db:g} dB",
            )
            axes.margins(0.25)
        panels[0].set_ylabel("squared error of the distances (rad²)")
