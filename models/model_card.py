"""What there is to say of an estimator, in words: facts, the table of accuracy, the model card.

Metadata of files from before a fact was recorded give "-" for it.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

_CARD = """\
# {name}

An estimator of the distance between the orientations of two views of {structure}, as
`cryotwin.models.load("{name}")` or `--estimator {name}` opens it. A bare
`keras.models.load_model` opens the file as well.

## Intended use

Orientations of particle images of {structure} ({symmetry}), {use}.
It was trained on projections of one structure, for the images, noise and shifts below.

| what | value |
| --- | --- |
{facts}

## Accuracy

{accuracy}

## Limits

- It knows this structure alone: distances between views of another particle mean nothing, and
  nothing in the file tells that they do not.
- Images that are noisier or further off centre than it was trained for, or that have a CTF when it
  was trained without one (or the reverse), give worse distances than the table says.
- Only projections of a model were seen, never a micrograph: no ice, no neighbours, no flexibility.
- Mirror images of the structure have the same distances. The hand must come from elsewhere.

## How it was made

```
{commands}
```

## Licence

The weights are under the licence of this package. The structure ({structure_source}) is from the
PDB or the EMDB, whose data are in the public domain (CC0 1.0).
"""


def card_facts(metadata: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Gives what was trained, for what, and at what cost, as names and values."""
    return [
        ("structure", _structure(metadata)),
        (
            "architecture, head",
            f"{_text(metadata, 'architecture')}, {_text(metadata, 'head')}, "
            f"{_text(metadata, 'feature_dim')} features, "
            f"{_count(metadata, 'parameters')} parameters",
        ),
        ("trained for images of", f"{source_images(metadata)}, of any scale of grey"),
        ("noise", _noise(metadata)),
        ("shifts", f"{_shifts(metadata)}, {metadata.get('shift_distribution', 'uniform')}"),
        ("CTF", _ctf(metadata)),
        (
            "the network sees",
            f"{_text(metadata, 'box_px')} px of "
            f"{number(metadata.get('pixel_size_angstrom'), '{:.4g} A')}; "
            "cryotwin resamples images for it",
        ),
        (
            "trained on",
            f"{_count(metadata, 'training_particles')} clean projections, "
            f"{_orientations(metadata)}, perturbed afresh whenever they are seen",
        ),
        (
            "images seen",
            f"{_count(metadata, 'training_images_seen')} passed through the network in training",
        ),
        (
            "training time",
            f"{number(metadata.get('seconds'), '{:.0f} s')} on {_text(metadata, 'machine')}, "
            f"Keras {_text(metadata, 'keras')} on {_text(metadata, 'backend')}",
        ),
        ("accuracy", _stored_accuracy(metadata.get("accuracy"))),
        ("file", f"{size(metadata)}, SHA-256 {_text(metadata, 'sha256')}"),
    ]


def accuracy_lines(metadata: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """Lays out errors by condition: headings, then a row for each; empty if not measured."""
    rows = (metadata.get("accuracy") or {}).get("conditions") or []
    if not rows:
        return []
    return [
        ("SNR", "shifts up to", "mean squared", "root mean squared", "bias"),
        *(
            (
                decibels(row["snr_db"]),
                f"{row['max_shift_px']:.3g} px",
                f"{row['distance_mse_rad2']:.4f} rad^2",
                f"{row['distance_rmse_rad']:.3f} rad",
                f"{row['distance_bias_rad']:+.3f} rad",
            )
            for row in rows
        ),
    ]


def accuracy_caption(metadata: Mapping[str, Any]) -> str:
    """Says what the table of accuracy is over."""
    views = (metadata.get("accuracy") or {}).get("condition_particles", 0)
    return (
        f"Errors of the distance over all pairs of {views:,} test views, projected anew and "
        "perturbed with one seed; SNR and shifts are those of images of "
        f"{source_images(metadata)}."
    )


def render_card(preset: Mapping[str, Any]) -> str:
    """Writes the model card of a preset as Markdown."""
    lines = accuracy_lines(preset)
    table = "\n".join([_row(lines[0]), _row(["---"] * len(lines[0])), *map(_row, lines[1:])])
    return _CARD.format(
        **{name: preset[name] for name in ("name", "structure", "structure_source")},
        symmetry=preset["symmetry"],
        use=_use(preset),
        facts="\n".join(_row(fact) for fact in card_facts(preset)),
        accuracy=f"{accuracy_caption(preset)}\n\n{table}",
        commands="\n".join(preset["commands"]),
    )


def source_images(metadata: Mapping[str, Any]) -> str:
    """Says at which images noise and shifts count: those before they are resampled."""
    box = metadata.get("source_box_px", metadata.get("box_px"))
    pixel_size = metadata.get("source_pixel_size_angstrom", metadata.get("pixel_size_angstrom"))
    return f"{number(box, '{} px')} of {number(pixel_size, '{:.3g} A')}"


def snr_range(metadata: Mapping[str, Any]) -> str:
    """Says for which signal-to-noise ratios it was trained."""
    if ends := metadata.get("snr_range_db"):
        return f"SNR {ends[0]:.3g} to {ends[1]:.3g} dB"
    return lowest_snr(metadata)


def lowest_snr(metadata: Mapping[str, Any]) -> str:
    """Says the lowest signal-to-noise ratio trained for; clean projections have variance 1."""
    variance = metadata.get("noise_variance")
    if variance is None:
        return "-"
    return decibels(0.0 - 10 * math.log10(variance) if variance else None)


def decibels(snr_db: float | None) -> str:
    """Writes a signal-to-noise ratio; None is no noise."""
    return "no noise" if snr_db is None else f"{snr_db:.3g} dB"


def number(value: Any, form: str) -> str:
    """Writes a number, or "-" where it was not recorded."""
    return "-" if value is None else form.format(value)


def size(metadata: Mapping[str, Any]) -> str:
    """Writes the size of the file."""
    count = metadata.get("bytes")
    return number(None if count is None else count / 1e6, "{:.1f} MB")


def _text(metadata: Mapping[str, Any], name: str) -> str:
    return str(metadata.get(name, "-"))


def _count(metadata: Mapping[str, Any], name: str) -> str:
    return number(metadata.get(name), "{:,}")


def _structure(metadata: Mapping[str, Any]) -> str:
    structure, source = _text(metadata, "structure"), _text(metadata, "structure_source")
    return f"{structure} ({source}), symmetry {_text(metadata, 'symmetry')}"


def _orientations(metadata: Mapping[str, Any]) -> str:
    asked = metadata.get("orientations", "so3")
    return "uniform over all rotations" if asked == "so3" else f"orientations {asked}"


def _shifts(metadata: Mapping[str, Any]) -> str:
    return number(metadata.get("max_shift_px"), "up to {:.3g} px on either axis")


def _noise(metadata: Mapping[str, Any]) -> str:
    if metadata.get("noise_variance") == 0:
        return "none"
    colour = "coloured" if metadata.get("noise_spectrum") else "white"
    return f"{snr_range(metadata)}, {colour}"


def _use(metadata: Mapping[str, Any]) -> str:
    if metadata.get("symmetry", "C1") == "C1":
        return "with `cryotwin recover` or as features of your own"
    return "with `cryotwin.recovery.embed_distances` (`recover` takes C1 alone so far)"


def _ctf(metadata: Mapping[str, Any]) -> str:
    ctf = metadata.get("ctf")
    if not ctf:
        return "none"
    low, high = ctf["defocus_angstrom"]
    return f"defocus {low:g} to {high:g} A"


def _stored_accuracy(accuracy: Mapping[str, Any] | None) -> str:
    if not accuracy:
        return "-"
    return (
        f"root mean squared error {accuracy['distance_rmse_rad']:.3f} rad "
        f"(mean squared {number(accuracy.get('distance_mse_rad2'), '{:.4f}')} rad^2, "
        f"bias {number(accuracy.get('distance_bias_rad'), '{:+.3f}')} rad) over all pairs of "
        f"{accuracy['particles']:,} {accuracy.get('split', 'test')} images as the dataset has them"
    )


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
