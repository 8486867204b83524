"""What goes wrong in a run costs no more than it must, and is told."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

from cryotwin.datasets.folder import open_folder
from cryotwin.imaging.maps import read_map
from cryotwin.imaging.stopwatch import Stopwatch
from cryotwin.pipelines import preparation
from cryotwin.pipelines.command_line import main
from cryotwin.pipelines.preparation import PrepareTask, dead_letter, prepare_structure
from cryotwin.pipelines.staging import only_run_in
from cryotwin.pipelines.structure_lists import StructureEntry
from cryotwin.pipelines.subjects import Grid

SMALL = ["--count", "12", "--size", "24"]
LONG = ["--count", "1500", "--size", "32", "--snr-db", "0", "--particles-per-shard", "50"]


def generate(source, out, *flags):
    return main(["generate", str(source), "--out", str(out), *flags])


def start_with_two_workers(source: Path, out: Path) -> subprocess.Popen[str]:
    """Starts a long run with two worker processes, in a process of its own."""
    program = "import sys; from cryotwin.pipelines.command_line import main; sys.exit(main())"
    words = ["generate", str(source), "--out", str(out), *LONG]
    words += ["--direct_running_mode=multi_processing", "--direct_num_workers=2"]
    return subprocess.Popen(
        [sys.executable, "-c", program, *words],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def dead_letters(folder: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in (folder / "failures.jsonl").read_text().splitlines()]


def wait_for_shards(out: Path, count: int) -> list[Path]:
    """Waits until so many shards of a run are finished, and another is being written."""
    deadline = time.monotonic() + 120
    while True:
        done = list(out.glob(".unfinished/cryotwin-*"))
        if len(done) >= count and list(out.glob(".unfinished/.partial-*tfrecord*")):
            return done
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.fixture(scope="module")
def undisturbed(blob_list, tmp_path_factory):
    """The dataset of a run in which nothing goes wrong."""
    out = tmp_path_factory.mktemp("undisturbed") / "data"
    assert generate(blob_list, out, *LONG) == 0
    return out


def test_a_dead_letter_says_why_and_does_not_stop_the_others(blob_list, tmp_path, capsys):
    rows = [*blob_list.read_text().splitlines(), "text.cif,d", ",e"]
    (blob_list.parent / "text.cif").write_text("Dear reader,")
    mixed = blob_list.parent / "mixed.csv"
    mixed.write_text("\n".join(rows))
    assert generate(mixed, tmp_path, *SMALL) == 0
    letters = dead_letters(tmp_path)
    assert [Path(letter["structure"]).name for letter in letters] == [
        "nowhere.mrc",
        "text.cif",
        "mixed.csv, line 8",
    ]
    assert "no such file" in letters[0]["reason"]
    assert "the row names no structure" in letters[2]["reason"]
    assert all("\n" not in letter["reason"] for letter in letters)
    assert (
        f"wrote {tmp_path}: 4 structures, 3 failed, see failures.jsonl" in capsys.readouterr().out
    )
    names = [entry["name"] for entry in open_folder(tmp_path).metadata["structures"]]
    assert names == ["m0", "m1", "m2", "m3"]


def test_fail_fast_ends_with_the_reason_and_leaves_nothing(blob_list, tmp_path, capsys):
    assert generate(blob_list, tmp_path / "data", *SMALL, "--fail-fast") == 2
    assert capsys.readouterr().err.startswith("cryotwin generate: error: no such file")
    assert list(tmp_path.iterdir()) == []


def test_if_every_structure_fails_so_does_the_command(tmp_path, capsys):
    (tmp_path / "list.csv").write_text("file\na.cif\nb.mrc\n")
    assert generate(tmp_path / "list.csv", tmp_path / "data", *SMALL) == 2
    errors = capsys.readouterr().err
    assert errors.count("\n") == 1
    assert "none of 2 structures can be used, see " in errors
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["failures.jsonl"]
    assert len(dead_letters(tmp_path / "data")) == 2


def test_dead_letters_of_an_earlier_attempt_are_gone_when_all_is_well(tmp_path, blob_list):
    (tmp_path / "list.csv").write_text("file\na.cif\nb.mrc\n")
    assert generate(tmp_path / "list.csv", tmp_path / "data", *SMALL) == 2
    assert generate(blob_list.parent / "m0.mrc", tmp_path / "data", *SMALL) == 0
    assert not (tmp_path / "data" / "failures.jsonl").exists()


def test_a_parser_that_breaks_makes_a_dead_letter_too(tmp_path, monkeypatch):
    def broken(spec):
        raise KeyError("_atom_site.\nid")

    monkeypatch.setattr("cryotwin.pipelines.subjects.read_structure", broken)
    task = PrepareTask(str(tmp_path), 0, StructureEntry("x.cif", "x"), Grid(24))
    assert not prepare_structure(task, Stopwatch())
    letter = dead_letter(task)
    assert letter is not None
    assert letter.structure == "x.cif"
    assert letter.reason.startswith("KeyError: ")


def test_a_structure_that_is_ready_is_not_read_again(blob_list, tmp_path, monkeypatch):
    entry = StructureEntry(str(blob_list.parent / "m0.mrc"), "m0")
    task = PrepareTask(str(tmp_path), 0, entry, Grid(24))
    assert prepare_structure(task, Stopwatch())
    monkeypatch.setattr(preparation, "make_subject", None)
    assert prepare_structure(task, Stopwatch())
    (tmp_path / "volumes" / "m0.mrc").unlink()
    assert not prepare_structure(task, Stopwatch())  # It tries, and fails as there is no function.


def test_without_a_pixel_size_each_structure_fills_the_box(blob_list, tmp_path):
    assert generate(blob_list, tmp_path / "own", *SMALL) == 0
    assert generate(blob_list, tmp_path / "one", *SMALL, "--pixel-size", "2") == 0
    own, one = (open_folder(tmp_path / name).metadata for name in ("own", "one"))
    assert own["pixel_size_angstrom"] is None
    assert len({entry["pixel_size_angstrom"] for entry in own["structures"]}) == 4
    for entry in own["structures"]:
        stored = read_map(tmp_path / "own" / entry["volume"]).voxel_size_angstrom
        assert stored == pytest.approx([entry["pixel_size_angstrom"]] * 3)
    assert one["pixel_size_angstrom"] == 2
    assert {entry["pixel_size_angstrom"] for entry in one["structures"]} == {2}


def test_by_cluster_the_splits_share_no_structure(blob_list, tmp_path, records):
    assert generate(blob_list, tmp_path, *SMALL, "--split-by", "cluster") == 0
    clusters = {"m0": "a", "m1": "a", "m2": "b", "m3": "c"}
    homes = {}
    for split, examples in records(tmp_path).items():
        for example in examples:
            (name,) = (name for name in clusters if f"{name}-".encode() in example)
            homes.setdefault(split, set()).add(clusters[name])
    assert sorted(map(sorted, homes.values())) == [["a"], ["b"], ["c"]]
    # The cluster of two structures is the largest, and training the largest split.
    assert homes["cryotwin-train"] == {"a"}


def test_two_clusters_are_told_before_images_are_made(blob_list, tmp_path, capsys):
    (blob_list.parent / "two.csv").write_text("file,cluster\nm0.mrc,a\nm1.mrc,b\nm2.mrc,b\n")
    flags = [*SMALL, "--split-by", "cluster"]
    assert generate(blob_list.parent / "two.csv", tmp_path / "data", *flags) == 2
    assert "clusters of structures must be at least 3" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_an_address_is_refused(tmp_path, capsys):
    assert generate("7cfn", "gs://bucket/data", *SMALL) == 2
    assert "gs:// is not supported" in capsys.readouterr().err


def test_a_run_that_is_killed_and_started_again_ends_with_the_same_dataset(
    blob_list, undisturbed, records, tmp_path
):
    out = tmp_path / "data"
    words = ["generate", str(blob_list), "--out", str(out), *LONG]
    program = "import sys; from cryotwin.pipelines.command_line import main; main(sys.argv[1:])"
    process = subprocess.Popen([sys.executable, "-c", program, *words], stdout=subprocess.DEVNULL)
    wait_for_shards(out, 3)
    process.kill()
    process.wait()
    done = {path.name: path.stat().st_mtime_ns for path in out.glob(".unfinished/cryotwin-*")}
    assert len(done) >= 3
    with pytest.raises(ValueError, match="not a dataset folder"):
        open_folder(out)

    assert main(words) == 0
    # What was finished was kept.
    assert all((out / name).stat().st_mtime_ns == time_ns for name, time_ns in done.items())
    assert records(out) == records(undisturbed)
    assert not list(out.rglob(".*"))


def test_a_worker_that_is_killed_on_dask_costs_time_only(blob_list, undisturbed, records, tmp_path):
    distributed = pytest.importorskip("distributed")
    out = tmp_path / "data"
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None
    ) as cluster:
        flags = ["--runner=DaskRunner", f"--dask_client_address={cluster.scheduler_address}"]
        run = threading.Thread(target=generate, args=(blob_list, out, *LONG, *flags))
        run.start()
        wait_for_shards(out, 2)
        with distributed.Client(cluster) as client:
            pids = client.run(os.getpid)
            os.kill(next(iter(pids.values())), signal.SIGKILL)
            run.join(timeout=120)
            assert set(pids.values()) != set(client.run(os.getpid).values())
    assert not run.is_alive()
    assert records(out) == records(undisturbed)


def test_a_lost_process_of_this_machine_ends_the_run_and_the_next_goes_on(
    blob_list, undisturbed, records, tmp_path
):
    out = tmp_path / "data"
    process = start_with_two_workers(blob_list, out)
    wait_for_shards(out, 2)
    workers = psutil.Process(process.pid).children(recursive=True)
    next(worker for worker in workers if "python" in worker.name()).kill()
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 2
    assert errors.count("\n") == 1
    assert "Worker subprocess exited" in errors
    assert generate(blob_list, out, *LONG) == 0
    assert records(out) == records(undisturbed)


def test_a_second_run_into_the_same_folder_is_refused(blob_list, tmp_path, capsys):
    with only_run_in(tmp_path):
        assert generate(blob_list, tmp_path, *SMALL) == 2
        assert "another run writes there" in capsys.readouterr().err
        assert list(tmp_path.iterdir()) == []
    assert generate(blob_list, tmp_path, *SMALL) == 0


def test_ctrl_c_while_worker_processes_start_ends_at_once_in_one_line(blob_list, tmp_path):
    process = start_with_two_workers(blob_list, tmp_path / "data")
    deadline = time.monotonic() + 120
    driver = psutil.Process(process.pid)
    while not any("sdk_worker_main" in " ".join(child.cmdline()) for child in driver.children()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert errors == "cryotwin generate: interrupted\n"
    assert not (tmp_path / "data" / "features.json").exists()
