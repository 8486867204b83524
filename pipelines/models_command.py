"""`cryotwin models`: the published estimators."""

import argparse
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from cryotwin.models.model_files import list_models, resolve

DESCRIPTION = """\
List the estimators that come with cryotwin. An estimator knows the particle that it was trained
on, at its pixel size and noise, and says little about another."""

EPILOG = """\
examples:
  cryotwin models
  cryotwin models --json
  cryotwin recover particles.star --estimator 7cfn --out run"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments of `cryotwin models`."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.description, parser.epilog = DESCRIPTION, EPILOG
    parser.add_argument("--json", action="store_true", help="print all metadata as JSON")


def run(args: argparse.Namespace) -> int:
    """Runs `cryotwin models`.

    Returns:
        The exit status, 0.

    Raises:
        InputError: a published file does not match its digest.
    """
    models = list_models()
    if args.json:
        print(json.dumps(models, indent=2))
    elif not models:
        print("no estimators are published with this version")
    else:
        sizes = [resolve(model["name"]).stat().st_size for model in models]
        print(table(models, sizes))
    return 0


def table(models: Sequence[Mapping[str, Any]], sizes_bytes: Sequence[int]) -> str:
    """Lays out one line for each model, below a line of headings."""
    headings = ("name", "structure", "pixel size", "box", "head", "SNR", "distance error", "file")
    rows = [headings, *(_row(*entry) for entry in zip(models, sizes_bytes, strict=True))]
    widths = [max(len(row[column]) for row in rows) for column in range(len(headings))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
    return "\n".join(
        [
            *lines,
            "",
            "SNR: the lowest trained for, over the whole image at that pixel size.",
            "distance error: root mean squared, over all pairs of test particles.",
        ]
    )


def _row(model: Mapping[str, Any], size_bytes: int) -> tuple[str, ...]:
    accuracy = model.get("accuracy", {})
    return (
        str(model["name"]),
        str(model.get("structure", "-")),
        _measure(model.get("pixel_size_angstrom"), "{:.3g} A"),
        _measure(model.get("box_px"), "{} px"),
        str(model.get("head", "-")),
        _snr(model.get("noise_variance")),
        _measure(accuracy.get("distance_rmse_rad"), "{:.3f} rad"),
        f"{size_bytes / 1e6:.1f} MB",
    )


def _measure(value: Any, form: str) -> str:
    return "-" if value is None else form.format(value)


def _snr(noise_variance: float | None) -> str:
    """Turns the variance of the noise (signal 1) into decibels."""
    if noise_variance is None:
        return "-"
    if noise_variance == 0:
        return "no noise"
    return f"{-10 * math.log10(noise_variance):.3g} dB"
