"""The same examples and metadata on every runner that one machine can start."""

import json
import os
import resource
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cryotwin.pipelines.command_line import main

ASKED = ["--count", "14", "--size", "24", "--snr-db", "0", "--max-shift", "2", "--seed", "7"]


def told(folder: Path) -> dict[str, object]:
    """What is said of a dataset, but for the command that made it."""
    metadata = json.loads((folder / "cryotwin.json").read_text())
    del metadata["command"]
    return {**metadata, "failures": (folder / "failures.jsonl").read_text()}


@pytest.fixture(scope="module")
def reference(blob_list, tmp_path_factory):
    out = tmp_path_factory.mktemp("in_process") / "data"
    assert main(["generate", str(blob_list), "--out", str(out), *ASKED]) == 0
    return out


@pytest.fixture
def same(blob_list, reference, records, tmp_path):
    """Gives same(*flags), which runs the command and compares what it made."""

    def run(*flags):
        out = tmp_path / "data"
        assert main(["generate", str(blob_list), "--out", str(out), *ASKED, *flags]) == 0
        assert records(out) == records(reference)
        assert told(out) == told(reference)
        names = {path.name for path in (out / "volumes").iterdir()}
        assert names == {f"m{number}.mrc" for number in range(4)}
        return out

    return run


@pytest.fixture
def worker_pool():
    """Beam's own worker pool, which starts a process for each worker that a runner asks for."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    command = "-m", "apache_beam.runners.worker.worker_pool_main", "--service_port", str(port)
    # The pool starts workers as `python`.
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    process = subprocess.Popen(
        [sys.executable, *command],
        env={**os.environ, "PATH": path},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 60
    while socket.socket().connect_ex(("localhost", port)):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    yield process.pid, f"localhost:{port}"
    process.kill()
    process.wait()


@pytest.mark.parametrize("per_shard", [1, 5])
def test_shards_of_several_structures_hold_the_same_examples(same, per_shard):
    out = same("--particles-per-shard", str(per_shard))
    # Each of 4 structures gives 6 of its 14 particles to training; a shard of 5 has those of two.
    shards = {1: 24, 5: 5}[per_shard]
    assert len(list(out.glob("cryotwin-train.tfrecord-*"))) == shards


def test_two_processes_make_the_same_examples(same, capfd):
    same(
        "--direct_running_mode=multi_processing",
        "--direct_num_workers=2",
        "--particles-per-shard=3",
    )
    assert capfd.readouterr().err == ""


def pool_flags(address: str) -> list[str]:
    environment = ["--environment_type=EXTERNAL", f"--environment_config={address}"]
    return ["--runner=PortableRunner", "--job_endpoint=embed", *environment]


def test_an_external_worker_pool_makes_the_same_examples(same, worker_pool):
    _, address = worker_pool
    same(*pool_flags(address), "--particles-per-shard=4")


def test_a_worker_of_the_pool_that_cannot_write_is_told_in_one_line(
    blob_list, worker_pool, tmp_path, capfd
):
    pool, address = worker_pool
    resource.prlimit(pool, resource.RLIMIT_FSIZE, (20_000, 20_000))  # Its workers inherit it.
    words = ["generate", str(blob_list), "--out", str(tmp_path / "data"), *ASKED]
    assert main([*words, *pool_flags(address)]) == 2
    errors = capfd.readouterr().err
    assert errors.count("\n") == 1, errors
    assert errors.endswith(".mrc: File too large\n")


def test_a_dask_cluster_makes_the_same_examples(same):
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None
    ) as cluster:
        address = f"--dask_client_address={cluster.scheduler_address}"
        flags = [address, "--dask_npartitions=3", "--particles-per-shard=2"]
        same("--runner=DaskRunner", *flags)


def test_a_bundle_that_is_run_again_makes_the_same_examples(same):
    same("--direct_runner_bundle_repeat=2")
