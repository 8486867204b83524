"""What is known of an estimator: the fields of its metadata, and of a published one's preset.

`EstimatorMetadata` is what `cryotwin train` writes into a file as `cryotwin.json`. A preset, an
entry of `models/published/presets.json`, has the file's size and digest besides. Files from before
some of these fields open all the same; only what is published must have all of them.
"""

import difflib
import math
from collections.abc import Iterator, Mapping, Sequence
from types import UnionType
from typing import Any, TypedDict, get_args, get_origin, get_type_hints, is_typeddict

from cryotwin.imaging.errors import InputError


class DistanceAccuracy(TypedDict):
    """Errors of estimated distances over all pairs of views.

    Attributes:
        distance_mse_rad2: mean squared error.
        distance_rmse_rad: its root.
        distance_bias_rad: mean error; above zero, distances are too large.
    """

    distance_mse_rad2: float
    distance_rmse_rad: float
    distance_bias_rad: float


class ConditionAccuracy(DistanceAccuracy):
    """The same on clean test views that were perturbed in one way.

    Attributes:
        snr_db: signal-to-noise ratio of the source images, dB; None is no noise.
        max_shift_px: largest shift on either axis, pixels of the source images.
    """

    snr_db: float | None
    max_shift_px: float


class Accuracy(DistanceAccuracy):
    """The same on the test split as the dataset stores it, and in several conditions.

    Attributes:
        split: of the dataset.
        particles: how many of it.
        condition_particles: how many views each row of `conditions` is over.
        conditions: see `cryotwin.models.accuracy.accuracy_table`; empty if not measured.
    """

    split: str
    particles: int
    condition_particles: int
    conditions: list[ConditionAccuracy]


class EstimatorMetadata(TypedDict):
    """What an estimator was trained for, how, and how accurate it is.

    Besides, `takes_ctf` says whether it has the CTF of each image as an input, and `phase_flip`
    whether it wants images with their phases flipped; older files, which have neither, do not.

    Attributes:
        name: the published name, or the file's without its suffix.
        architecture: a key of `cryotwin.models.architectures.ARCHITECTURES`.
        head: a distance head.
        feature_dim: length of the features.
        parameters: numbers that were trained, those of normalisation included.
        structure: name of the structure.
        structure_source: where it came from.
        symmetry: point group, RELION's name; distances are those under it.
        orientations: how the training views are distributed, as `cryotwin generate` takes it.
        pixel_size_angstrom: edge of the pixels that the network sees.
        box_px: edge of the images that it sees.
        source_pixel_size_angstrom: edge of the pixels at which noise and shifts count.
        source_box_px: edge of the images at which they count.
        noise_variance: the most trained for; clean projections have variance 1.
        snr_range_db: the lowest and the highest trained for; None without noise.
        max_shift_px: the largest shift on either axis.
        shift_distribution: a key of `cryotwin.imaging.shifts.SHIFT_DISTRIBUTIONS`.
        ctf: ranges of the CTF; None for none.
        noise_spectrum: power of the noise by frequency; None for white noise.
        training_particles: clean projections that training drew from.
        training_images_seen: images passed through the network in training; None if not counted.
        seconds: wall-clock time of training.
        machine: what it ran on.
        commands: that made the data and the file.
        accuracy: on views that training never saw.
        cryotwin: version of this package.
        keras: version.
        backend: of Keras.
    """

    name: str
    architecture: str
    head: str
    feature_dim: int
    parameters: int
    structure: str
    structure_source: str
    symmetry: str
    orientations: str
    pixel_size_angstrom: float
    box_px: int
    source_pixel_size_angstrom: float
    source_box_px: int
    noise_variance: float
    snr_range_db: list[float] | None
    max_shift_px: float
    shift_distribution: str
    ctf: dict[str, Any] | None
    noise_spectrum: dict[str, Any] | None
    training_particles: int
    training_images_seen: int | None
    seconds: float
    machine: str
    commands: list[str]
    accuracy: Accuracy
    cryotwin: str
    keras: str
    backend: str


class Preset(EstimatorMetadata):
    """A published estimator.

    Attributes:
        bytes: size of the file.
        sha256: digest of the file, hexadecimal.
    """

    bytes: int
    sha256: str


def check_metadata(metadata: Mapping[str, Any], where: object) -> None:
    """Checks that metadata have every field of `EstimatorMetadata`; more of them are welcome.

    Raises:
        InputError: one is missing or of another kind; `where` leads the message.
    """
    _raise_first(metadata, EstimatorMetadata, where)


def check_preset(preset: Mapping[str, Any], where: object) -> None:
    """Checks that an entry of presets.json has every field of `Preset`.

    Raises:
        InputError: one is missing or of another kind; `where` leads the message.
    """
    _raise_first(preset, Preset, where)


def unknown_name(name: str, known: Sequence[str]) -> str:
    """Words the answer to a name that is not published: a near one if there is, and all."""
    asked = name.lower().removesuffix(".keras")
    near = difflib.get_close_matches(asked, known, n=1)
    guess = f" (did you mean {near[0]!r}?)" if near else ""
    return (
        f"estimator {name!r} is neither a file nor a published name{guess}; "
        f"published are: {', '.join(known) or 'none'}"
    )


def _raise_first(value: Any, kind: Any, where: object) -> None:
    for problem in _problems(value, kind, ""):
        raise InputError(f"{where}: {problem}")


def _problems(value: Any, kind: Any, path: str) -> Iterator[str]:
    """Yields what is wrong with a value of JSON, field by field."""
    if is_typeddict(kind) and isinstance(value, Mapping):
        for name, expected in get_type_hints(kind).items():
            inner = f"{path}.{name}" if path else name
            if name in value:
                yield from _problems(value[name], expected, inner)
            else:
                yield f"lacks the metadata {inner!r}; expected a file that cryotwin train wrote"
    elif get_origin(kind) is list and isinstance(value, list):
        for place, item in enumerate(value):
            yield from _problems(item, get_args(kind)[0], f"{path}[{place}]")
    elif not _fits(value, kind):
        yield f"metadata {path!r} must be {_words(kind)}, not {value!r}"


def _fits(value: Any, kind: Any) -> bool:
    if get_origin(kind) is UnionType:
        return any(not list(_problems(value, one, "")) for one in get_args(kind))
    if kind is float:
        return isinstance(value, int | float) and _is_number(value)
    if kind is int:
        return isinstance(value, int) and _is_number(value)
    plain = dict if is_typeddict(kind) else get_origin(kind) or kind
    return isinstance(value, plain)


def _is_number(value: float) -> bool:
    return not isinstance(value, bool) and math.isfinite(value)


def _words(kind: Any) -> str:
    """Names a kind as JSON has it."""
    if get_origin(kind) is UnionType:
        return " or ".join(_words(one) for one in get_args(kind))
    names = {int: "a whole number", float: "a number", str: "a text", list: "a list"}
    plain = get_origin(kind) or kind
    return "null" if plain is type(None) else names.get(plain, "an object")
