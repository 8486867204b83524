import json
import shutil
import subprocess
import sys
import zipfile

import keras
import numpy as np
import pytest

from cryotwin.datasets.clean_views import clean_views
from cryotwin.datasets.folder import open_folder
from cryotwin.imaging.errors import InputError
from cryotwin.models import model_files, publishing
from cryotwin.models.accuracy import distance_accuracy, distance_errors
from cryotwin.models.model_files import list_models, load, read_metadata, save_estimator, sha256
from cryotwin.models.publishing import publish


@pytest.fixture
def shelf(tmp_path, monkeypatch):
    """An empty folder of published estimators."""
    folder = tmp_path / "published"
    folder.mkdir()
    (folder / "presets.json").write_text("[]\n")
    for module in (model_files, publishing):
        monkeypatch.setattr(module, "published_folder", lambda: folder)
    return folder


def _without(path, target, *fields):
    """A copy of an estimator that lacks fields of its metadata."""
    metadata = read_metadata(path)
    for field in fields:
        del metadata[field]
    model_files.rewrite_metadata(path, target, metadata)
    return target


def test_what_was_trained_is_published_without_another_word(shelf, small_estimator):
    publish(small_estimator)

    (preset,) = list_models()
    assert preset["name"] == "small"
    assert preset["sha256"] == sha256(shelf / "small.keras")
    assert preset["bytes"] == (shelf / "small.keras").stat().st_size
    assert {name: preset[name] for name in read_metadata("small")} == read_metadata("small")
    images = np.random.default_rng(0).standard_normal((2, 3, 32, 32, 1)).astype(np.float32)
    distances = [
        keras.ops.convert_to_numpy(load(name)(list(images), training=False))
        for name in ("small", small_estimator)
    ]
    assert np.array_equal(*distances)


def test_under_another_name_the_file_says_so_too(shelf, small_estimator):
    publish(small_estimator, name="7cfn-clean")
    publish(small_estimator)
    publish(small_estimator)

    assert [entry["name"] for entry in list_models()] == ["7cfn-clean", "small"]
    assert read_metadata("7cfn-clean")["name"] == "7cfn-clean"
    with zipfile.ZipFile(shelf / "7cfn-clean.keras") as archive:
        assert archive.testzip() is None
        assert archive.namelist().count("cryotwin.json") == 1
    keras.models.load_model(shelf / "7cfn-clean.keras")


def test_the_card_tells_the_accuracy_the_commands_and_the_digest(shelf, small_estimator):
    preset = publish(small_estimator)
    card = (shelf / "small.md").read_text()
    for row in preset["accuracy"]["conditions"]:
        assert f"| {row['distance_rmse_rad']:.3f} rad |" in card
    for words in (*preset["commands"], preset["sha256"], "SNR 0 to 12 dB", "CC0", "32 px of"):
        assert words in card


def test_the_accuracy_is_measured_on_a_dataset_that_is_given(shelf, small_estimator, small_dataset):
    preset = publish(small_estimator, dataset=small_dataset)

    images, quaternions = clean_views(open_folder(small_dataset), "test")
    expected = distance_accuracy(*distance_errors(load(small_estimator), images, quaternions))
    clean = preset["accuracy"]["conditions"][0]
    assert clean["snr_db"] is None
    assert clean["distance_mse_rad2"] == pytest.approx(expected["distance_mse_rad2"], rel=1e-4)
    assert preset["accuracy"]["condition_particles"] == 60


def test_a_dataset_of_other_images_is_refused(shelf, small_estimator, small_dataset, tmp_path):
    other = shutil.copytree(small_dataset, tmp_path / "other")
    content = json.loads((other / "cryotwin.json").read_text())
    (other / "cryotwin.json").write_text(json.dumps(content | {"size": 48}))
    with pytest.raises(InputError, match="other: has images of 48 px .* expected .* 32 px"):
        publish(small_estimator, dataset=other)
    assert list_models() == []


def test_a_file_that_lacks_a_field_is_not_published(shelf, small_estimator, tmp_path):
    path = _without(small_estimator, tmp_path / "old.keras", "snr_range_db")
    with pytest.raises(InputError, match=r"old\.keras: lacks the metadata 'snr_range_db'"):
        publish(path)
    assert [entry.name for entry in shelf.iterdir()] == ["presets.json"]


def test_a_file_without_a_table_of_accuracy_is_not_published(shelf, small_estimator, tmp_path):
    metadata = read_metadata(small_estimator)
    metadata["accuracy"]["conditions"] = []
    model_files.rewrite_metadata(small_estimator, tmp_path / "bare.keras", metadata)
    with pytest.raises(InputError, match=r"bare\.keras: has no accuracy .* give --dataset"):
        publish(tmp_path / "bare.keras")


def test_a_file_from_before_most_fields_opens_all_the_same(small_estimator, tmp_path):
    fields = set(read_metadata(small_estimator)) - {"name", "head", "pixel_size_angstrom"}
    path = _without(small_estimator, tmp_path / "old.keras", *fields)
    assert load(path).get_layer("extractor").output_shape == (None, 16)


@pytest.mark.parametrize("name", ["Small", "a b", "../up", "", "a_b", "-a"])
def test_a_name_that_is_hard_to_type_is_refused(name):
    with pytest.raises(InputError, match="lower-case letters"):
        publishing._checked_name(name)


def test_a_file_that_is_too_large_is_refused(shelf, small_estimator, monkeypatch):
    monkeypatch.setattr(publishing, "MOST_BYTES", 1000)
    with pytest.raises(InputError, match=r"small\.keras: [0-9,]+ bytes; at most 1,000"):
        publish(small_estimator)


def test_the_program_tells_a_bad_file_in_one_line(tmp_path):
    (tmp_path / "text.keras").write_text("no archive")
    done = subprocess.run(
        [sys.executable, "-m", "cryotwin.models.publishing", str(tmp_path / "text.keras")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("error: ")
    assert "is not an estimator" in done.stderr


def test_saved_metadata_need_not_be_complete(tmp_path, small_estimator):
    save_estimator(load(small_estimator), tmp_path / "mine.keras", {"name": "mine"})
    assert read_metadata(tmp_path / "mine.keras") == {"name": "mine"}
