"""The command as a user meets it, on experiments that take seconds."""

import json
from dataclasses import replace

import pytest

from cryotwin.imaging.errors import InputError
from cryotwin.pipelines.command_line import main
from cryotwin.pipelines.reproduction import figure7_perturbed_distances as figure7
from cryotwin.pipelines.reproduction import table1_splits as table1
from cryotwin.pipelines.reproduction.experiments import EXPERIMENTS

BUNDLED = ["--asymmetric", "7cfn", "--symmetric", "7cfn", "--symmetry", "C1"]


@pytest.fixture
def tiny(monkeypatch):
    """Figure 7 on a few orientations, so that it takes seconds."""
    settings = figure7.Settings(60, "so3", (0.0,), 1)
    monkeypatch.setattr(figure7, "settings", lambda workspace: settings)


def reproduce(out, *words):
    return main(["reproduce", *words, "--out", str(out), *BUNDLED])


def test_the_list_names_every_experiment_and_where_the_paper_has_it(capsys):
    assert main(["reproduce", "--list"]) == 0
    out = capsys.readouterr().out
    assert [line.split()[0] for line in out.splitlines()] == list(EXPERIMENTS)
    assert "Figure 7, section 3.2" in out


def test_every_experiment_has_what_it_takes():
    for experiment in EXPERIMENTS.values():
        module = experiment.load()
        for name in ("settings", "run", "draw"):
            assert callable(getattr(module, name)), f"{experiment.name} has no {name}"


def test_an_experiment_leaves_numbers_a_figure_and_the_page(tiny, tmp_path, capsys):
    assert reproduce(tmp_path, "figure7", "--quick") == 0
    content = json.loads((tmp_path / "figure7.json").read_text())
    assert content["size"] == "quick"
    assert content["command"].startswith("cryotwin reproduce figure7 --quick --asymmetric 7cfn")
    assert content["seconds"] > 0
    assert content["seeds"]["projections"] == 2021
    assert str(tmp_path) not in (tmp_path / "figure7.json").read_text()
    assert (tmp_path / "figure7.png").read_bytes().startswith(b"\x89PNG")
    page = (tmp_path / "index.html").read_text()
    assert "Recovery from perturbed distances" in page
    assert "http" not in page.replace("http-equiv", "")
    assert "figure7.png" in (tmp_path / "results.md").read_text()


def test_a_removed_figure_is_drawn_again_from_what_was_done(tiny, tmp_path, capsys):
    assert reproduce(tmp_path, "figure7", "--quick") == 0
    capsys.readouterr()
    (tmp_path / "figure7.png").unlink()
    assert reproduce(tmp_path, "figure7", "--quick") == 0
    assert "begins" not in capsys.readouterr().out  # Its steps were there.
    assert (tmp_path / "figure7.png").is_file()


def test_what_is_done_is_not_done_again(tmp_path, capsys):
    assert reproduce(tmp_path, "table1", "--quick") == 0
    before = (tmp_path / "table1.json").stat().st_mtime_ns
    capsys.readouterr()
    assert reproduce(tmp_path, "table1", "--quick") == 0
    assert "table1: The split of the projections: done already" in capsys.readouterr().out
    assert (tmp_path / "table1.json").stat().st_mtime_ns == before


def test_an_experiment_that_cannot_be_made_leaves_the_others(tmp_path, monkeypatch, capsys):
    def refuse(workspace, settings):
        raise InputError("projections of 7cfn cannot be recovered")

    monkeypatch.setattr(figure7, "run", refuse)
    assert reproduce(tmp_path, "figure7", "table1", "--quick") == 2
    assert capsys.readouterr().err == (
        "cryotwin reproduce: error: 1 of 2 experiments cannot be made: "
        "figure7: projections of 7cfn cannot be recovered\n"
    )
    assert (tmp_path / "table1.json").is_file()
    assert not (tmp_path / "figure7.json").exists()
    assert "Table 1" in (tmp_path / "index.html").read_text()


def test_other_settings_are_another_result(tmp_path, monkeypatch):
    assert reproduce(tmp_path, "table1", "--quick") == 0
    usual = table1.settings
    monkeypatch.setattr(table1, "settings", lambda workspace: replace(usual(workspace), seed=5))
    assert reproduce(tmp_path, "table1", "--quick") == 0
    content = json.loads((tmp_path / "table1.json").read_text())
    assert content["settings"]["seed"] == 5


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["figure99", "--out", "DIR"], "NAME must be one of table1, figure7"),
        (["figure7"], "--out DIR is required"),
        (["figure7", "--out", "DIR", "--symmetry", "D0"], "D0"),
        (["figure8", "--out", "DIR", "--asymmetric", "no.mrc"], "no such file: 'no.mrc'"),
        (
            ["symmetry", "--out", "DIR", "--symmetric", "7cfn"],
            "7cfn does not have the symmetry D2",
        ),
        (["figure7", "--out", "DIR", "--quick", "--unreduced"], "not allowed with"),
        (["figure7", "--out", "DIR", "--proteins", "nowhere"], "nowhere/train"),
    ],
)
def test_bad_arguments_are_told_in_one_line(words, expected, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["reproduce", *words]) == 2
    err = capsys.readouterr().err
    assert expected in err
    assert err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_folder_of_another_size_is_left_alone(tmp_path, capsys):
    assert reproduce(tmp_path, "table1", "--quick") == 0
    before = (tmp_path / "table1.json").read_bytes()
    assert reproduce(tmp_path, "table1") == 2
    assert "holds results of another size, quick and not full" in capsys.readouterr().err
    assert (tmp_path / "table1.json").read_bytes() == before


def test_a_file_in_the_place_of_the_folder_is_told(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert reproduce(tmp_path / "file", "figure7", "--quick") == 2
    assert capsys.readouterr().err.count("\n") == 1
