import errno
import json
import os
import shutil
import subprocess
import sys
import zipfile

import keras
import numpy as np
import pytest

from cryotwin.imaging.errors import InputError
from cryotwin.models import model_files
from cryotwin.models.model_files import (
    extractor_path,
    list_models,
    load,
    metadata_of,
    read_metadata,
    resolve,
    save_estimator,
    sha256,
)
from cryotwin.models.siamese import build

METADATA = {"name": "small", "pixel_size_angstrom": 4.0, "box_px": 32}


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(0)
    return build("resnet_small", feature_dim=8)


@pytest.fixture(scope="module")
def saved(model, tmp_path_factory):
    path = tmp_path_factory.mktemp("models") / "small.keras"
    save_estimator(model, path, METADATA)
    return path


@pytest.fixture
def published(saved, tmp_path, monkeypatch):
    """A folder of published files with one estimator, named `small`."""
    shutil.copy(saved, tmp_path / "small.keras")
    entry = METADATA | {"sha256": sha256(saved)}
    (tmp_path / "presets.json").write_text(json.dumps([entry]))
    monkeypatch.setattr(model_files, "published_folder", lambda: tmp_path)
    return tmp_path


def _images(seed):
    shape = (3, 32, 32, 1)
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def _distances(model):
    return keras.ops.convert_to_numpy(model([_images(1), _images(2)], training=False))


def test_a_saved_estimator_comes_back_with_its_distances(model, saved):
    assert np.allclose(_distances(load(saved)), _distances(model), atol=1e-6)


def test_the_metadata_travel_in_the_file_as_plain_json(saved):
    with zipfile.ZipFile(saved) as archive:
        assert archive.testzip() is None
        assert json.loads(archive.read("cryotwin.json")) == METADATA
    assert read_metadata(saved) == METADATA


def test_what_was_loaded_is_known_without_its_file(model, saved):
    assert metadata_of(load(saved)) == METADATA
    assert metadata_of(model) == {}


def test_the_extractor_is_saved_on_its_own(model, saved):
    path = extractor_path(saved)
    assert path.name == "small.extractor.keras"

    extractor = keras.models.load_model(path)

    expected = model.get_layer("extractor")(_images(1))
    features = keras.ops.convert_to_numpy(extractor(_images(1)))
    assert np.allclose(features, keras.ops.convert_to_numpy(expected), atol=1e-6)
    assert read_metadata(path) == METADATA | {"part": "extractor"}


def test_the_file_of_a_compiled_model_holds_nothing_of_its_training(model, saved, tmp_path):
    path = tmp_path / "compiled.keras"
    compiled = load(saved)
    compiled.compile(optimizer="adam", loss="mse")

    save_estimator(compiled, path, {})

    loaded = keras.models.load_model(path)
    assert not loaded.compiled
    assert compiled.compiled
    assert np.allclose(_distances(loaded), _distances(model), atol=1e-6)
    assert [layer.name for layer in loaded.layers] == [layer.name for layer in model.layers]
    assert path.stat().st_size < 1.1 * saved.stat().st_size


def test_a_model_of_somebody_else_has_no_metadata(model, tmp_path):
    model.save(tmp_path / "bare.keras")
    assert read_metadata(tmp_path / "bare.keras") == {}
    assert np.allclose(_distances(load(tmp_path / "bare.keras")), _distances(model), atol=1e-6)


def test_a_published_estimator_is_loaded_by_its_name_in_any_case(published, model):
    assert [entry["name"] for entry in list_models()] == ["small"]
    assert resolve("Small") == published / "small.keras"
    assert read_metadata("small") == METADATA
    assert np.allclose(_distances(load("small")), _distances(model), atol=1e-6)


def test_a_published_file_that_was_changed_is_refused(published):
    with zipfile.ZipFile(published / "small.keras", "a") as archive:
        archive.writestr("more.txt", "changed")
    for read in (load, read_metadata):
        with pytest.raises(InputError, match=r"small\.keras.*digest of its preset"):
            read("small")


def test_a_name_that_nobody_published_is_answered_with_those_that_are(published):
    with pytest.raises(InputError, match="'smal' is neither .*mean 'small'.*published are: small"):
        load("smal")
    with pytest.raises(InputError, match="neither a file nor"):
        load(published)


@pytest.fixture
def unsafe_keras():
    """Keras after somebody has told it to run the code in files."""
    keras.config.enable_unsafe_deserialization()
    yield
    keras.src.backend.common.global_state.set_global_attribute("safe_mode_saving", None)


def _with_lambda(path):
    """An estimator in all but a layer that is a Python function."""
    first, second = (keras.Input((None, None, 1), name=name) for name in ("a", "b"))
    image = keras.Input((None, None, 1))
    pooled = keras.layers.GlobalAveragePooling2D()(keras.layers.Lambda(lambda x: 2 * x)(image))
    extractor = keras.Model(image, pooled, name="extractor")
    distance = keras.layers.Dot(axes=1, name="so3_head")([extractor(first), extractor(second)])
    keras.Model([first, second], distance).save(path)


@pytest.mark.parametrize("unsafe", [False, True])
def test_a_file_with_code_in_it_is_refused_in_one_line(unsafe, tmp_path, request):
    if unsafe:
        request.getfixturevalue("unsafe_keras")
    path = tmp_path / "code.keras"
    _with_lambda(path)
    with pytest.raises(
        InputError, match=r"code\.keras: has a Lambda layer.*stock layers"
    ) as caught:
        load(path)
    assert "\n" not in str(caught.value)


def test_a_file_that_needs_a_class_of_somebody_else_is_refused_in_one_line(saved, tmp_path):
    path = tmp_path / "custom.keras"
    with zipfile.ZipFile(saved) as source, zipfile.ZipFile(path, "w") as target:
        for name in source.namelist():
            content = source.read(name)
            if name == "config.json":
                assert b'"module": "keras.layers", "class_name": "Dense"' in content
                content = content.replace(
                    b'"module": "keras.layers", "class_name": "Dense"',
                    b'"module": "os.path", "class_name": "join"',
                )
            target.writestr(name, content)
    with pytest.raises(
        InputError, match=r"custom\.keras: is not a Keras model .* opened"
    ) as caught:
        load(path)
    assert "\n" not in str(caught.value)


def test_an_extractor_alone_is_answered_with_what_is_expected(saved):
    with pytest.raises(InputError, match=r"small\.extractor\.keras: is the extractor alone"):
        load(extractor_path(saved))


def _text(path):
    path.write_text("not an archive")


def _other_zip(path):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("notes.txt", "nothing")


def _zip_with_empty_config(path):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", "{}")


def _stranger(path):
    keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)]).save(path)


def _bad_metadata(path):
    _stranger(path)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("cryotwin.json", b"\xff[")


def _list_for_metadata(path):
    _stranger(path)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("cryotwin.json", "[]")


def _empty(path):
    path.write_bytes(b"")


@pytest.mark.parametrize(
    "write",
    [
        _text,
        _empty,
        _other_zip,
        _zip_with_empty_config,
        _stranger,
        _bad_metadata,
        _list_for_metadata,
    ],
)
def test_a_file_that_is_no_estimator_is_told_in_one_line(write, tmp_path):
    path = tmp_path / "stranger.keras"
    write(path)
    with pytest.raises(InputError) as caught:
        load(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    assert len(message) < 500


def test_a_file_cut_short_is_told_in_one_line(saved, tmp_path):
    path = tmp_path / "cut.keras"
    path.write_bytes(saved.read_bytes()[:-1000])
    with pytest.raises(InputError, match="is not an estimator"):
        load(path)


def test_weights_that_do_not_fit_the_model_are_told_in_one_line(saved, tmp_path):
    path = tmp_path / "mixed.keras"
    with zipfile.ZipFile(saved) as source, zipfile.ZipFile(path, "w") as target:
        for name in source.namelist():
            content = source.read(name)
            target.writestr(name, content[:5000] if name.endswith(".h5") else content)
    with pytest.raises(InputError, match="cannot|can be opened") as caught:
        load(path)
    assert "\n" not in str(caught.value)


def test_another_suffix_is_refused_before_anything_is_written(model, tmp_path):
    with pytest.raises(InputError, match=r"est\.h5: .*must end in \.keras"):
        save_estimator(model, tmp_path / "est.h5", {})
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_is_full_for_the_second_file_leaves_neither(model, tmp_path, monkeypatch):
    whole, calls = keras.Model.save, []

    def save(self, *args, **kwargs):
        calls.append(self.name)
        if len(calls) == 2:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return whole(self, *args, **kwargs)

    monkeypatch.setattr(keras.Model, "save", save)
    with pytest.raises(OSError, match="No space left"):
        save_estimator(model, tmp_path / "est.keras", {})
    assert len(calls) == 2
    assert list(tmp_path.iterdir()) == []


def test_reading_metadata_and_the_list_needs_no_keras(saved):
    program = (
        "import sys; from cryotwin.models.model_files import list_models, read_metadata; "
        "list_models(); read_metadata(sys.argv[1]); "
        "print([name for name in ('keras', 'tensorflow', 'jax') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(saved)], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
