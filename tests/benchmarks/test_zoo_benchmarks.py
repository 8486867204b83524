"""The plumbing of the benchmarks of the zoo: records, pages, figures, and the commands."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from cryotwin.imaging.errors import InputError
from zoo.__main__ import build_parser, without_places
from zoo.claims import claimed
from zoo.distance_statistics import errors_by_distance
from zoo.figures import draw_head_comparison
from zoo.head_comparison import head_table
from zoo.pages import markdown_table, measured_on, with_section
from zoo.projections import STRUCTURES
from zoo.records import Task, run_tasks, settings_name

BENCHMARKS = Path(__file__).parent


@dataclass(frozen=True)
class Doubling:
    number: int


def double(cache, settings):
    with (cache / "calls").open("a") as calls:
        calls.write(f"{settings.number}\n")
    return {"doubled": 2 * settings.number}


def tasks(*numbers):
    return [Task(f"double-{number}", double, Doubling(number)) for number in numbers]


def calls(cache):
    return (cache / "calls").read_text().split()


def test_what_has_a_record_is_not_done_again(tmp_path):
    run_tasks(tmp_path, tasks(1, 2))
    records = run_tasks(tmp_path, tasks(3, 2, 1))
    assert [record["doubled"] for record in records] == [6, 4, 2]
    assert calls(tmp_path) == ["1", "2", "3"]


def test_a_record_tells_its_settings_the_machine_and_the_day(tmp_path):
    (record,) = run_tasks(tmp_path, tasks(4))
    assert record["settings"] == {"number": 4}
    assert "thread" in record["machine"]
    assert len(record["date"]) == len("2000-01-01")


def test_other_settings_have_another_record():
    assert settings_name("a", Doubling(1)) != settings_name("a", Doubling(2))


def test_work_that_fails_leaves_no_record_and_is_done_the_next_time(tmp_path):
    def fails(cache, settings):
        raise OSError("no space left on device")

    with pytest.raises(OSError, match="no space"):
        run_tasks(tmp_path, [Task("double-5", fails, Doubling(5))])
    (record,) = run_tasks(tmp_path, tasks(5))
    assert record["doubled"] == 10


def test_what_another_process_holds_cannot_be_claimed_and_is_free_when_it_ends(tmp_path):
    lock = tmp_path / "lock"
    with claimed(lock) as first, claimed(lock, wait=False) as second:
        assert (first, second) == (True, False)
    with claimed(lock, wait=False) as third:
        assert third


def test_a_section_takes_the_place_of_the_one_before():
    page = "# Page\n\n<!-- x: made by `make zoo` -->\n<!-- x: end -->\n\nThe rest.\n"
    once = with_section(page, "x", "one")
    assert "one" in once
    assert with_section(once, "x", "two") == with_section(page, "x", "two")
    assert with_section(page, "x", "two").endswith("<!-- x: end -->\n\nThe rest.\n")


@pytest.mark.parametrize(
    "page",
    [
        "no comments",
        "<!-- x: made by `make zoo` -->",
        "<!-- x: end --><!-- x: made by `make zoo` -->",
    ],
)
def test_a_page_without_a_place_for_the_section_is_refused(page):
    with pytest.raises(InputError, match="x: made by"):
        with_section(page, "x", "text")


@pytest.mark.parametrize(
    ("page", "name"),
    [
        ("distance-head.md", "head comparison"),
        ("zoo-table.md", "models"),
        ("zoo-table.md", "shifts"),
        ("zoo-table.md", "cost of quality"),
        ("zoo-table.md", "estimators"),
    ],
)
def test_the_documentation_has_a_place_for_each_section(page, name, repository):
    text = (repository / "docs" / page).read_text(encoding="utf-8")
    assert "a new table" in with_section(text, name, "a new table")


def test_a_table_has_as_many_cells_in_each_row():
    lines = markdown_table(["a", "b"], [["`x`", "1"], ["`y`", "2"]]).splitlines()
    assert lines[1] == "| --- | ---: |"
    assert {line.count("|") for line in lines} == {3}


def test_the_note_names_all_machines_and_the_range_of_days():
    records = [{"machine": "A", "date": "2026-01-02"}, {"machine": "B", "date": "2026-01-01"}]
    note = measured_on(records, "make zoo")
    assert "A and B, 2026-01-01 to 2026-01-02" in note


def test_the_command_in_the_documentation_names_no_folder_of_this_machine():
    words = ["estimators", "/home/me/x.keras", "--cache", "/tmp/a", "--jobs=2", "--test-views", "9"]
    assert without_places(words) == ["estimators", "x.keras", "--test-views", "9"]


def some_errors(bias):
    true = np.linspace(0.01, 3.1, 500)
    return errors_by_distance(true + bias, true)


def test_the_table_of_heads_has_mean_and_spread_over_the_seeds():
    table = head_table({"so3": [some_errors(0.1), some_errors(0.3)]})
    assert "| `so3` | 0.0500 ± 0.0566 |" in table  # (0.01 + 0.09) / 2
    assert "0.2000 ± 0.1414" in table
    assert "bias above 171° (rad)" in table


def test_a_figure_has_the_same_bytes_for_the_same_numbers(tmp_path):
    by_head = {"so3": [some_errors(0.1), some_errors(0.2)], "cosine": [some_errors(0.3)]}
    paths = [tmp_path / name for name in ("one.svg", "two.svg")]
    for path in paths:
        draw_head_comparison(path, by_head)
    assert paths[0].read_bytes() == paths[1].read_bytes()
    assert len(paths[0].read_bytes()) < 100_000


@pytest.mark.parametrize("benchmark", ["heads", "cost", "models"])
def test_every_benchmark_has_arguments_that_make_it_small(benchmark):
    args = build_parser().parse_args([benchmark, "--count", "60", "--images", "64"])
    assert args.count == 60


@pytest.mark.slow
@pytest.mark.skipif(not STRUCTURES.is_dir(), reason="no shared data here")
def test_all_benchmarks_run_and_fill_their_sections(tmp_path, repository):
    docs = tmp_path / "docs"
    docs.mkdir()
    for page in ("distance-head.md", "zoo-table.md"):
        (docs / page).write_text((repository / "docs" / page).read_text())
    small = ["--count", "300", "--test-views", "60", "--cache", str(tmp_path / "zoo")]
    small += ["--docs", str(docs)]
    cost = ["cost", "--images", "300", "--paper-model", "resnet_small", "--no-full-size", *small]
    cost += ["--evaluated-every", "3"]
    run_zoo("heads", "--images", "300", "--seeds", "1", *small)
    run_zoo(*cost, "--minutes", "0.1")
    run_zoo("models", "--images", "300", "--models", "resnet_small", *small)
    estimator = next((tmp_path / "zoo" / "trainings").glob("*so3*[0-9a-f].keras"))
    run_zoo("estimators", str(estimator), "--max-shift", "4", *small)
    assert "| `euclidean` |" in (docs / "distance-head.md").read_text()
    table = (docs / "zoo-table.md").read_text()
    assert "times less time" in table
    assert table.count("| `resnet_small` |") == 3
    assert f"| `{estimator.name}` | C1 | none | 4 |" in table
    assert len(list((docs / "figures").glob("*.svg"))) == 3
    (state,) = (tmp_path / "zoo" / "trainings").glob("paper-*/state.json")
    before = json.loads(state.read_text())
    run_zoo(*cost, "--minutes", "0.2")
    after = json.loads(state.read_text())
    points = before["content"]["points"]
    assert after["content"]["points"][: len(points)] == points
    assert after["step"] > before["step"]


def run_zoo(*words):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(BENCHMARKS), *sys.path])}
    subprocess.run([sys.executable, "-m", "zoo", *words], check=True, env=environment)
