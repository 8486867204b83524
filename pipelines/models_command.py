"""`cryotwin models`: the published estimators, one of them, or the networks that there are."""

import argparse
import json
from collections.abc import Mapping, Sequence
from typing import Any

from cryotwin.imaging.errors import InputError
from cryotwin.models.model_card import (
    accuracy_caption,
    accuracy_lines,
    card_facts,
    lowest_snr,
    number,
    size,
    source_images,
)
from cryotwin.models.model_files import list_models, read_metadata, resolve

DESCRIPTION = """\
List the estimators that come with cryotwin, or tell all that is known of one. An estimator knows
the particle that it was trained on, at its noise, and says little about another."""

EPILOG = """\
examples:
  cryotwin models
  cryotwin models 7cfn
  cryotwin models est.keras --json
  cryotwin models --architectures
  cryotwin recover particles.star --estimator 7cfn --out run"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments of `cryotwin models`."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.description, parser.epilog = DESCRIPTION, EPILOG
    parser.add_argument(
        "name",
        nargs="?",
        metavar="NAME",
        help="a published estimator, or a file that cryotwin train wrote: tell all about it",
    )
    parser.add_argument(
        "--architectures",
        action="store_true",
        help="list the networks that cryotwin train --model knows",
    )
    parser.add_argument("--json", action="store_true", help="print the same, in full, as JSON")


def run(args: argparse.Namespace) -> int:
    """Runs `cryotwin models`.

    Returns:
        The exit status, 0.

    Raises:
        InputError: no such estimator, or a published file does not match its digest.
    """
    if args.architectures:
        if args.name is not None:
            raise InputError(f"give NAME or --architectures, not both ({args.name!r})")
        _print_architectures(as_json=args.json)
    elif args.name is not None:
        _print_one(args.name, as_json=args.json)
    else:
        _print_all(as_json=args.json)
    return 0


def _print_all(*, as_json: bool) -> None:
    models = list_models()
    for model in models:
        resolve(model["name"])
    if as_json:
        print(json.dumps(models, indent=2))
    elif not models:
        print("no estimators are published with this version")
    else:
        print(table(models))


def _print_one(name: str, *, as_json: bool) -> None:
    metadata = _known(name)
    if not metadata:
        raise InputError(f"{name}: tells nothing about itself; expected a file of cryotwin train")
    print(json.dumps(metadata, indent=2) if as_json else describe(metadata))


def _known(name: str) -> dict[str, Any]:
    """Gives the preset of a published name, or what a file says of itself."""
    presets = {entry["name"]: entry for entry in list_models()}
    if preset := presets.get(name.lower()):
        resolve(name)
        return preset
    metadata = read_metadata(name)
    return metadata and metadata | {"bytes": resolve(name).stat().st_size}


def _print_architectures(*, as_json: bool) -> None:
    from cryotwin.datasets.quiet_imports import quiet_start

    with quiet_start():
        from cryotwin.models.cost import describe_architectures

        entries = describe_architectures()
    if as_json:
        print(json.dumps(entries, indent=2))
        return
    rows = [
        (one["name"], f"{one['parameters']:,}", f"{one['mflops_at_64_px']:,.0f}", one["summary"])
        for one in entries
    ]
    headings = ("name", "parameters", "MFLOPs", "what it is")
    print("\n".join(_aligned([headings, *rows])))
    print("\nwith 512 features; MFLOPs are for one image of 64 px.")


def table(models: Sequence[Mapping[str, Any]]) -> str:
    """Lays out one line for each model, below a line of headings."""
    headings = (
        *("name", "structure", "symmetry", "architecture", "head", "images", "SNR"),
        *("shifts", "error", "file"),
    )
    return "\n".join(
        [
            *_aligned([headings, *map(_cells, models)]),
            "",
            "images, SNR, shifts: the images, the lowest ratio over the whole image and the "
            "largest shift trained for.",
            "error: root mean squared error of the distance, over all pairs of such test images.",
            "cryotwin models NAME tells more.",
        ]
    )


def _cells(model: Mapping[str, Any]) -> tuple[str, ...]:
    accuracy = model.get("accuracy", {})
    return (
        str(model["name"]),
        str(model.get("structure", "-")),
        str(model.get("symmetry", "-")),
        str(model.get("architecture", "-")),
        str(model.get("head", "-")),
        source_images(model),
        lowest_snr(model),
        number(model.get("max_shift_px"), "{:.3g} px"),
        number(accuracy.get("distance_rmse_rad"), "{:.3f} rad"),
        size(model),
    )


def describe(metadata: Mapping[str, Any]) -> str:
    """Lays out the facts of a model card for a terminal."""
    lines = [str(metadata.get("name", "-")), "", *_aligned(card_facts(metadata))]
    if rows := accuracy_lines(metadata):
        lines += ["", accuracy_caption(metadata), "", *_aligned(rows)]
    lines += ["", "made by", *(f"  {command}" for command in metadata.get("commands", []))]
    return "\n".join(lines)


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Pads the cells of each column to one width."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
