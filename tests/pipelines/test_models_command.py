import json
import re

import pytest

from cryotwin.models import model_files
from cryotwin.models.model_files import published_folder
from cryotwin.pipelines.command_line import main

MODEL = {
    "name": "blobs",
    "structure": "blobs",
    "symmetry": "D2",
    "architecture": "resnet_small",
    "pixel_size_angstrom": 5.0,
    "box_px": 32,
    "source_pixel_size_angstrom": 2.5,
    "source_box_px": 64,
    "head": "so3",
    "noise_variance": 3.981,
    "max_shift_px": 2.0,
    "accuracy": {"particles": 100, "distance_rmse_rad": 0.1234},
    "bytes": 1_500_000,
}


@pytest.fixture
def published(tmp_path, monkeypatch):
    """A folder of published estimators with one in it."""
    (tmp_path / "blobs.keras").write_bytes(bytes(1_500_000))
    digest = model_files.sha256(tmp_path / "blobs.keras")
    (tmp_path / "presets.json").write_text(json.dumps([MODEL | {"sha256": digest}]))
    monkeypatch.setattr(model_files, "published_folder", lambda: tmp_path)
    return tmp_path


def error_line(capsys):
    """The one line on stderr, and nothing on stdout."""
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    return err


def test_models_are_listed_with_what_they_are_for(published, capsys):
    assert main(["models"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert re.split(r"\s\s+", lines[0]) == (
        [
            "name",
            "structure",
            "symmetry",
            "architecture",
            "head",
            "images",
            "SNR",
            "shifts",
            "error",
            "file",
        ]
    )
    assert re.split(r"\s\s+", lines[1]) == (
        [
            "blobs",
            "blobs",
            "D2",
            "resnet_small",
            "so3",
            "64 px of 2.5 A",
            "-6 dB",
            "2 px",
            "0.123 rad",
            "1.5 MB",
        ]
    )
    assert main(["models", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["accuracy"]["particles"] == 100


def test_the_table_of_the_published_models_fits_a_wide_terminal(capsys):
    assert main(["models"]) == 0
    assert max(map(len, capsys.readouterr().out.splitlines())) <= 120


def test_a_damaged_published_file_is_named(published, capsys):
    (published / "blobs.keras").write_bytes(b"changed")
    for words in (["models"], ["models", "blobs"], ["models", "--json"]):
        assert main(words) == 2
        assert "does not match the digest" in error_line(capsys)


def test_a_published_file_that_is_not_there_is_named(published, capsys):
    (published / "blobs.keras").unlink()
    assert main(["models"]) == 2
    assert re.search(r"blobs\.keras: is missing", error_line(capsys))


def test_no_models_is_an_answer_too(published, capsys):
    (published / "presets.json").write_text("[]")
    assert main(["models"]) == 0
    assert "no estimators" in capsys.readouterr().out


def test_one_model_is_told_with_all_that_its_card_says(capsys):
    preset = json.loads((published_folder() / "presets.json").read_text())[0]

    assert main(["models", preset["name"].upper()]) == 0

    text = capsys.readouterr().out
    assert text.startswith(preset["name"] + "\n")
    for words in (preset["sha256"], *preset["commands"], f"{preset['training_particles']:,}"):
        assert words in text
    for row in preset["accuracy"]["conditions"]:
        assert f"{row['distance_mse_rad2']:.4f} rad^2" in text
    assert main(["models", preset["name"], "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == preset


def test_a_file_that_was_trained_here_is_told_likewise(small_estimator, capsys):
    assert main(["models", str(small_estimator)]) == 0
    text = capsys.readouterr().out
    assert text.startswith("small\n")
    assert "64 px" not in text
    assert "32 px" in text
    assert "cryotwin train dataset" in text
    assert re.search(r"-12 dB +1 px +\d", text)


def test_a_file_of_before_most_fields_is_told_with_gaps(published, capsys):
    assert main(["models", "blobs"]) == 0
    text = capsys.readouterr().out
    assert re.search(r"training time +- on -", text)
    assert "0.123 rad" in text


def test_the_networks_are_listed_with_their_cost(capsys):
    assert main(["models", "--architectures", "--json"]) == 0
    entries = json.loads(capsys.readouterr().out)
    known = {entry["name"]: entry for entry in entries}
    assert known["resnet_small"]["parameters"] > 1_000_000
    assert known["resnet_small"]["mflops_at_64_px"] > 1
    assert main(["models", "--architectures"]) == 0
    text = capsys.readouterr().out
    for entry in entries:
        assert entry["summary"]
        assert f"{entry['parameters']:,}" in text


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["blob"], r"'blob' is neither.*\(did you mean 'blobs'\?\); published are: blobs"),
        (["blobs", "--architectures"], r"NAME or --architectures, not both \('blobs'\)"),
        (["blobs", "more"], "unrecognized argument"),
        ([__file__], "is not an estimator"),
    ],
)
def test_what_is_no_model_is_told_in_one_line(words, message, published, capsys):
    assert main(["models", *words]) == 2
    assert re.search(message, error_line(capsys))
