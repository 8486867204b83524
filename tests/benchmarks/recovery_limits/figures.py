"""The figures of the benchmarks of recovery."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from zoo.figures import figure_file

ErrorPanels = dict[str, dict[str, list[tuple[str, float]]]]
"""By title of the panel and name of the curve: noise in words, and the error."""

_STYLES = ("o-", "s--", "^:", "v-.", "D-", "x--")


def draw_errors_against_noise(
    path: Path, noises: Sequence[str], panels: ErrorPanels, unit: str = "rad"
) -> None:
    """Draws errors on a logarithmic axis, noises side by side in their order."""
    with figure_file(path, len(panels)) as axes_of_panels:
        for axes, (title, curves) in zip(
            np.atleast_1d(axes_of_panels), panels.items(), strict=True
        ):
            for style, (name, points) in zip(_STYLES, curves.items(), strict=False):
                places = [noises.index(noise) for noise, _ in points]
                axes.plot(places, [error for _, error in points], style, label=name)
            axes.set(
                yscale="log", xlabel="noise", ylabel=f"mean physical error ({unit})", title=title
            )
            axes.set_xticks(range(len(noises)), noises)
            axes.legend()


def draw_shell_correlations(
    path: Path, panels: Mapping[str, Mapping[str, Sequence[float]]]
) -> None:
    """Draws correlations with the true map by shell, by panel and curve."""
    with figure_file(path, len(panels)) as axes_of_panels:
        for axes, (title, curves) in zip(
            np.atleast_1d(axes_of_panels), panels.items(), strict=True
        ):
            for name, values in curves.items():
                axes.plot(np.arange(len(values)), values, label=name)
            axes.axhline(0.5, color="0.6", linewidth=0.8)
            axes.set(ylim=(-0.05, 1.02), xlabel="cycles per box", ylabel="FSC", title=title)
            axes.legend()
