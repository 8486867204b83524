"""Model files: what is in them, where the published ones are, how to read and write them.

A file is an ordinary `.keras` archive without compile state, which a bare
`keras.models.load_model` opens. Its metadata travel in it as `cryotwin.json`, a member that Keras
ignores. Keras itself is imported only where a model is.
"""

from __future__ import annotations

import hashlib
import json
import zipfile
import zlib
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from cryotwin.imaging.atomic import atomic_output
from cryotwin.imaging.errors import InputError
from cryotwin.models.presets import unknown_name

if TYPE_CHECKING:
    import keras

_METADATA_MEMBER = "cryotwin.json"
_CONFIG_MEMBER = "config.json"
_PRESETS = "presets.json"

_METADATA_OF: WeakKeyDictionary[keras.Model, dict[str, Any]] = WeakKeyDictionary()
"""Of the models that are open: a model's own attributes would be saved with it."""


def save_estimator(model: keras.Model, path: str | Path, metadata: dict[str, Any]) -> None:
    """Writes a Siamese estimator, and beside it its extractor alone, each with its metadata.

    Args:
        model: a Siamese model of this zoo.
        path: ends in .keras; the extractor goes to the same name with `.extractor.keras`.
        metadata: JSON-able facts about the training.

    Raises:
        InputError: the name does not end in .keras.
    """
    path = Path(path)
    check_file_name(path)
    # Both or none: a disk that is full for the second leaves no first.
    with atomic_output(path) as whole, atomic_output(extractor_path(path)) as part:
        _write_archive(model, whole, metadata)
        _write_archive(model.get_layer("extractor"), part, metadata | {"part": "extractor"})


def _write_archive(model: keras.Model, path: Path, metadata: dict[str, Any]) -> None:
    if model.compiled:  # What it was compiled with would be loaded, and needed, with it.
        model = type(model)(model.inputs, model.output, name=model.name)
    model.save(path, include_optimizer=False)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(_METADATA_MEMBER, json.dumps(metadata, indent=1))


def rewrite_metadata(source: Path, target: Path, metadata: dict[str, Any]) -> None:
    """Copies an estimator file, its model byte for byte, with other metadata in it."""
    with (
        atomic_output(target) as temporary,
        zipfile.ZipFile(source) as old,
        zipfile.ZipFile(temporary, "w") as new,
    ):
        for member in old.infolist():
            if member.filename != _METADATA_MEMBER:
                new.writestr(member, old.read(member))
        new.writestr(_METADATA_MEMBER, json.dumps(metadata, indent=1))


def check_file_name(path: str | Path) -> None:
    """Raises InputError unless a path ends in .keras."""
    if Path(path).suffix != ".keras":
        raise InputError(f"{path}: the name of an estimator file must end in .keras")


def extractor_path(path: Path) -> Path:
    """Gives the name of the file that holds the extractor of an estimator alone."""
    return path.with_name(f"{path.stem}.extractor.keras")


def load(name_or_path: str | Path) -> keras.Model:
    """Loads a published estimator by name, or a saved one by path.

    Returns:
        A Siamese model: two images (B, N, N, 1) to the distance (B, 1) in rad between their
        orientations; `model.get_layer("extractor")` is its feature extractor.

    Raises:
        InputError: no such name or file, a file that is no estimator, or a published file whose
            digest is not the one of its preset.
    """
    path = resolve(name_or_path)
    metadata = read_metadata(path)
    if metadata.get("part") == "extractor":
        raise InputError(
            f"{path}: is the extractor alone; expected the estimator that was written beside it"
        )
    _refuse_code(path)
    from cryotwin.datasets.quiet_imports import quiet_start

    with quiet_start():
        import keras
    from cryotwin.models.siamese import head_of

    try:
        model = keras.models.load_model(path, compile=False, safe_mode=True)
    except Exception as error:
        first_line = str(error).strip().splitlines()[0][:200] if str(error).strip() else repr(error)
        raise InputError(
            f"{path}: is not a Keras model file that can be opened: {first_line}"
        ) from error
    try:
        head_of(model)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    _METADATA_OF[model] = metadata
    return model


def metadata_of(model: keras.Model) -> dict[str, Any]:
    """Gives the metadata of a model that `load` has opened; empty for any other."""
    return _METADATA_OF.get(model, {})


def read_metadata(name_or_path: str | Path) -> dict[str, Any]:
    """Reads the metadata of an estimator, without Keras; empty for a file of somebody else's.

    Raises:
        InputError: no such name or file, or not a .keras archive.
    """
    path = resolve(name_or_path)
    refusal = InputError(
        f"{path}: is not an estimator: expected a .keras file written by cryotwin train"
    )
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            metadata: dict[str, Any] = {}
            if _METADATA_MEMBER in names:
                metadata = json.loads(archive.read(_METADATA_MEMBER))
    except (zipfile.BadZipFile, zlib.error, OSError, ValueError) as error:
        raise refusal from error
    if _CONFIG_MEMBER not in names or not isinstance(metadata, dict):
        raise refusal
    return metadata


def _refuse_code(path: Path) -> None:
    """Refuses a file with a layer of Python code, even where Keras was told to run such code."""
    with zipfile.ZipFile(path) as archive:
        try:
            config = json.loads(archive.read(_CONFIG_MEMBER))
        except (zipfile.BadZipFile, zlib.error, ValueError) as error:
            raise InputError(f"{path}: is damaged: its {_CONFIG_MEMBER} cannot be read") from error
    if _holds_class(config, "Lambda"):
        raise InputError(
            f"{path}: has a Lambda layer, which is code that would be run; "
            "expected stock layers alone"
        )


def _holds_class(config: Any, name: str) -> bool:
    """Tells whether a layer of a class is anywhere in the configuration of a model."""
    if isinstance(config, dict):
        return config.get("class_name") == name or _holds_class(list(config.values()), name)
    return isinstance(config, list) and any(_holds_class(item, name) for item in config)


def list_models() -> list[dict[str, Any]]:
    """Lists the published estimators, each as a `cryotwin.models.presets.Preset`."""
    presets = published_folder() / _PRESETS
    entries: list[dict[str, Any]] = json.loads(presets.read_text())
    return entries


def resolve(name_or_path: str | Path) -> Path:
    """Finds the file of a published name (its digest checked) or checks that a path is a file."""
    name = str(name_or_path)
    presets = {entry["name"]: entry for entry in list_models()}
    if name.lower() in presets:
        path = published_folder() / f"{name.lower()}.keras"
        if not path.is_file():
            raise InputError(f"{path}: is missing: the published estimator was not installed")
        if sha256(path) != presets[name.lower()]["sha256"]:
            raise InputError(
                f"{path}: does not match the digest of its preset: the file was changed or damaged"
            )
        return path
    path = Path(name)
    if path.is_file():
        return path
    raise InputError(unknown_name(name, list(presets)))


def sha256(path: Path) -> str:
    """Gives the SHA-256 digest of a file in hexadecimal digits."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def published_folder() -> Path:
    """Gives the folder of the package that holds the published estimators."""
    return Path(str(resources.files("cryotwin.models") / "published"))
