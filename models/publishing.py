"""Puts an estimator among the published ones: `python -m cryotwin.models.publishing FILE.keras`.

Run in a checkout. Copies the file into models/published/, records its metadata and digest in
presets.json, and writes its model card.
"""

import json
import shutil
import sys
from pathlib import Path
from typing import Any

from cryotwin.datasets.perturbation import Perturbation
from cryotwin.imaging.atomic import atomic_output
from cryotwin.imaging.errors import InputError
from cryotwin.models.model_files import load, published_folder, read_metadata, sha256

MOST_BYTES = 8_000_000

_CARD = """\
# {name}

An estimator of the distance between the orientations of two views of {structure}, as
`cryotwin.models.load("{name}")` or `--estimator {name}` opens it. A bare
`keras.models.load_model` opens the file as well.

| what | value |
| --- | --- |
| architecture, head, feature dimension | `{architecture}`, `{head}`, {feature_dim} |
| structure | {structure} ({structure_source}), symmetry {symmetry} |
| images | {box_px} px of {pixel_size_angstrom:.4g} A; `cryotwin recover` resamples others |
| trained for | noise variance up to {noise_variance:.3g} (clean projections have variance 1), \
shifts up to {max_shift_px:g} px, {microscope} |
| training images | {training_particles:,} clean projections, uniform on SO(3), perturbed afresh, \
with their eight exact views |
| training time | {seconds:.0f} s on {machine}, Keras {keras} on {backend} |
| accuracy | root mean squared error of the distance {rmse:.3f} rad (mean squared {mse:.4f} rad^2, \
bias {bias:+.3f} rad) over all pairs of {particles:,} {split} images with that noise and those \
shifts |
| file | {kilobytes:,} kB, SHA-256 `{sha256}` |

Made by

```
{commands}
```

It knows this structure alone: distances between views of another particle mean nothing.
"""


def publish(path: Path) -> None:
    """Publishes one estimator file.

    Raises:
        InputError: the file is no estimator, lacks metadata, or is larger than `MOST_BYTES`.
    """
    load(path)
    metadata = read_metadata(path)
    if "accuracy" not in metadata:
        raise InputError(f"{path}: has no metadata; expected a file written by cryotwin train")
    if path.stat().st_size > MOST_BYTES:
        raise InputError(
            f"{path}: {path.stat().st_size:,} bytes; at most {MOST_BYTES:,} are published"
        )
    folder, name = published_folder(), metadata["name"]
    shutil.copyfile(path, folder / f"{name}.keras")
    entry = metadata | {"sha256": sha256(path), "kilobytes": round(path.stat().st_size / 1000)}
    presets = json.loads((folder / "presets.json").read_text())
    presets = [preset for preset in presets if preset["name"] != name] + [entry]
    _write(
        folder / "presets.json",
        json.dumps(sorted(presets, key=lambda p: p["name"]), indent=1) + "\n",
    )
    _write(folder / f"{name}.md", render_card(entry))


def render_card(entry: dict[str, Any]) -> str:
    """Writes the model card of a preset as Markdown."""
    accuracy = entry["accuracy"]
    return _CARD.format(
        **entry | {"commands": "\n".join(entry["commands"])},
        rmse=accuracy["distance_rmse_rad"],
        mse=accuracy["distance_mse_rad2"],
        bias=accuracy["distance_bias_rad"],
        particles=accuracy["particles"],
        split=accuracy["split"],
        microscope=_microscope(entry),
    )


def _microscope(entry: dict[str, Any]) -> str:
    """Says in the card which CTF and which colour of noise were trained for."""
    trained = Perturbation.from_metadata(entry)
    colour = "white" if trained.noise_spectrum is None else "coloured"
    if trained.ctf is None:
        return f"{colour} noise, no CTF"
    low, high = trained.ctf.defocus_angstrom
    return f"{colour} noise, a CTF with a defocus of {low:g} to {high:g} A"


def _write(path: Path, text: str) -> None:
    with atomic_output(path) as temporary:
        temporary.write_text(text)


if __name__ == "__main__":
    try:
        publish(Path(sys.argv[1]))
    except InputError as error:
        sys.exit(f"error: {error}")
