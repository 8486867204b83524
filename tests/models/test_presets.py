"""The schema of what is known of an estimator, and the presets of this checkout against it."""

import copy
import json

import pytest

from cryotwin.imaging.errors import InputError
from cryotwin.models.model_card import render_card
from cryotwin.models.model_files import list_models, published_folder, sha256
from cryotwin.models.presets import check_metadata, check_preset, unknown_name
from cryotwin.models.publishing import MOST_BYTES


@pytest.fixture
def preset():
    return copy.deepcopy(list_models()[0])


@pytest.mark.parametrize("entry", list_models(), ids=lambda entry: entry["name"])
def test_every_published_preset_is_complete_and_agrees_with_its_file_and_card(entry):
    check_preset(entry, entry["name"])
    path = published_folder() / f"{entry['name']}.keras"
    assert path.stat().st_size == entry["bytes"] <= MOST_BYTES
    assert sha256(path) == entry["sha256"]
    assert path.with_suffix(".md").read_text() == render_card(entry)
    assert entry["accuracy"]["conditions"]


def test_every_published_file_has_its_preset():
    files = {path.stem for path in published_folder().glob("*.keras")}
    assert files == {entry["name"] for entry in list_models()}


@pytest.mark.parametrize("field", ["parameters", "sha256", "accuracy", "snr_range_db"])
def test_a_missing_field_is_named(field, preset):
    del preset[field]
    with pytest.raises(InputError, match=f"^est: lacks the metadata '{field}'"):
        check_preset(preset, "est")


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("box_px", 64.5, "'box_px' must be a whole number, not 64.5"),
        ("box_px", True, "'box_px' must be a whole number, not True"),
        ("seconds", float("nan"), "'seconds' must be a number, not nan"),
        ("commands", "cryotwin", "'commands' must be a list, not 'cryotwin'"),
        ("commands", ["a", 2], r"'commands\[1\]' must be a text, not 2"),
        ("ctf", 3, "'ctf' must be an object or null, not 3"),
        ("snr_range_db", ["low"], "'snr_range_db' must be a list or null"),
        ("accuracy", [], r"'accuracy' must be an object, not \[\]"),
    ],
)
def test_a_field_of_another_kind_is_quoted(field, value, message, preset):
    with pytest.raises(InputError, match=message):
        check_metadata(preset | {field: value}, "est")


def test_a_row_of_the_accuracy_is_checked_too(preset):
    preset["accuracy"]["conditions"][1]["snr_db"] = "loud"
    with pytest.raises(InputError, match=r"accuracy\.conditions\[1\]\.snr_db' must be a number or"):
        check_metadata(preset, "est")


def test_more_fields_than_the_schema_knows_are_welcome(preset):
    check_metadata(preset | {"optimizer": "adam"}, "est")


def test_presets_are_plain_json():
    content = json.loads((published_folder() / "presets.json").read_text())
    assert content == sorted(content, key=lambda entry: entry["name"])


@pytest.mark.parametrize("asked", ["5jon", "5J0M", "5j0n.keras", "5j0n-claen"])
def test_a_name_that_is_nearly_right_is_answered_with_the_right_one(asked):
    answer = unknown_name(asked, ["5a1a", "5j0n", "5j0n-clean", "7cfn"])
    wanted = "5j0n-clean" if "-" in asked else "5j0n"
    assert f"(did you mean {wanted!r}?)" in answer
    assert answer.endswith("published are: 5a1a, 5j0n, 5j0n-clean, 7cfn")


def test_a_name_that_resembles_none_is_answered_with_all():
    assert "did you mean" not in unknown_name("ribosome", ["5a1a", "7cfn"])
    assert unknown_name("x", []).endswith("published are: none")
