"""Puts an estimator among the published ones: `python -m cryotwin.models.publishing FILE.keras`.

Run in a checkout. Copies the file into models/published/, records its metadata, size and digest in
presets.json, and writes its model card. With --dataset the accuracy by noise and shifts is measured
(again) on clean views of that dataset's test split.
"""

import argparse
import json
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import keras

from cryotwin.datasets.clean_views import clean_views
from cryotwin.datasets.folder import DatasetFolder, open_folder
from cryotwin.imaging.atomic import atomic_output
from cryotwin.imaging.errors import InputError
from cryotwin.models.accuracy import accuracy_table
from cryotwin.models.model_card import render_card
from cryotwin.models.model_files import (
    load,
    published_folder,
    read_metadata,
    rewrite_metadata,
    sha256,
)
from cryotwin.models.presets import Preset, check_metadata, check_preset

MOST_BYTES = 8_000_000
_VIEWS = 1000
_MOST_DIFFERENT = 1e-3
"""By how much, relatively, the pixel size of a dataset may differ from the estimator's."""


def publish(path: Path, *, name: str | None = None, dataset: Path | None = None) -> Preset:
    """Publishes one estimator file, in place of an older one of that name.

    Args:
        path: what `cryotwin train` wrote.
        name: under which; the name in its metadata by default.
        dataset: folder to measure the accuracy on; what training measured by default.

    Returns:
        The entry of presets.json.

    Raises:
        InputError: the file is no estimator, lacks metadata or accuracy, or is larger than
            `MOST_BYTES`; the name is not of lower-case letters, digits and hyphens; or the dataset
            is of other particles.
    """
    model = load(path)
    metadata = read_metadata(path)
    metadata["name"] = _checked_name(name or str(metadata.get("name", path.stem)))
    if dataset is not None:
        metadata = measured(model, metadata, open_folder(dataset))
    check_metadata(metadata, path)
    if not metadata["accuracy"]["conditions"]:
        raise InputError(f"{path}: has no accuracy by noise and shifts; give --dataset")
    if path.stat().st_size > MOST_BYTES:
        raise InputError(
            f"{path}: {path.stat().st_size:,} bytes; at most {MOST_BYTES:,} are published"
        )
    folder = published_folder()
    target = folder / f"{metadata['name']}.keras"
    rewrite_metadata(path, target, metadata)
    preset = metadata | {"bytes": target.stat().st_size, "sha256": sha256(target)}
    record_preset(folder, preset)
    return Preset(**preset)  # type: ignore[typeddict-item]


def measured(
    model: keras.Model, metadata: Mapping[str, Any], folder: DatasetFolder
) -> dict[str, Any]:
    """Gives the metadata with the accuracy by noise and shifts, measured on a dataset.

    Raises:
        InputError: the dataset's images are not those that the metadata's noise and shifts
            refer to, or it has no map.
    """
    wanted = (
        int(metadata.get("source_box_px", metadata["box_px"])),
        float(metadata.get("source_pixel_size_angstrom", metadata["pixel_size_angstrom"])),
    )
    size, pixel_size = folder.metadata.get("size"), folder.metadata.get("pixel_size_angstrom")
    if size != wanted[0] or abs((pixel_size or 0) / wanted[1] - 1) > _MOST_DIFFERENT:
        raise InputError(
            f"{folder.path}: has images of {size} px of {pixel_size} A; expected those that the "
            f"estimator's noise and shifts refer to, {wanted[0]} px of {wanted[1]:.4g} A"
        )
    images, quaternions = clean_views(folder, "test", limit=_VIEWS)
    rows = accuracy_table(model, metadata, images, quaternions)
    accuracy = dict(metadata["accuracy"]) | {"condition_particles": len(images), "conditions": rows}
    return dict(metadata) | {"accuracy": accuracy}


def record_preset(folder: Path, preset: Mapping[str, Any]) -> None:
    """Enters a preset into presets.json, and writes its model card.

    Raises:
        InputError: a field is missing or of another kind.
    """
    check_preset(preset, preset.get("name", "preset"))
    others = [
        entry
        for entry in json.loads((folder / "presets.json").read_text())
        if entry["name"] != preset["name"]
    ]
    entries = sorted([*others, preset], key=lambda entry: str(entry["name"]))
    _write(folder / "presets.json", json.dumps(entries, indent=1) + "\n")
    _write(folder / f"{preset['name']}.md", render_card(preset))


def _checked_name(name: str) -> str:
    """Checks a name that will be typed at a command line, and is that of two files."""
    if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", name):
        raise InputError(
            f"--name must be of lower-case letters, digits and hyphens, as 5j0n-clean, not {name!r}"
        )
    return name


def _write(path: Path, text: str) -> None:
    with atomic_output(path) as temporary:
        temporary.write_text(text)


def _parse(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m cryotwin.models.publishing",
        description="Put an estimator among the published ones of this checkout.",
    )
    parser.add_argument("file", type=Path, metavar="FILE.keras", help="written by cryotwin train")
    parser.add_argument("--name", help="to publish it under (default: that of the file)")
    parser.add_argument(
        "--dataset",
        type=Path,
        metavar="DIR",
        help="measure the accuracy on the test split of this dataset "
        "(default: what training measured)",
    )
    return parser.parse_args(words)


if __name__ == "__main__":
    arguments = _parse(None)
    try:
        published = publish(arguments.file, name=arguments.name, dataset=arguments.dataset)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    print(f"published {published['name']}: {published['bytes']:,} bytes, {published['sha256']}")
