"""How fast and in how much memory `cryotwin generate` makes datasets.

CRYOTWIN_BENCH_IMAGES (20,000), CRYOTWIN_BENCH_STRUCTURES (300) and CRYOTWIN_BENCH_ROUNDS (2) make
it smaller. Many structures are files of shared/data beside the checkout, and without these, copies
of the bundled structure. The fast projector leaves start-up and writing to be seen, the reference
takes most of the time itself: both are measured.
"""

import os
import statistics
import subprocess
import sys
import time
from importlib import resources
from pathlib import Path

import numpy as np
import pytest

from cryotwin.datasets.folder import open_folder
from cryotwin.datasets.synthesis import particle_projector
from cryotwin.imaging.maps import read_map, write_map
from cryotwin.imaging.rotations import quaternions_to_matrices, uniform_quaternions

IMAGES = int(os.environ.get("CRYOTWIN_BENCH_IMAGES", "20000"))
STRUCTURES = int(os.environ.get("CRYOTWIN_BENCH_STRUCTURES", "300"))
SIZE = 128
ROUNDS = int(os.environ.get("CRYOTWIN_BENCH_ROUNDS", "2"))
DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data"
PROJECTORS = pytest.mark.parametrize("projector", ["gridding", "nufft"])
IMAGES_EACH, SIZE_OF_MANY = 100, 64
_POLL_S = 0.2


def generate(out: Path, *arguments: str, watch=None) -> float:
    """Runs the command in a process of its own; gives its seconds, start and all."""
    program = "import sys; from cryotwin.pipelines.command_line import main; sys.exit(main())"
    words = [sys.executable, "-c", program, "generate", "--out", str(out), *arguments]
    start = time.perf_counter()
    process = subprocess.Popen(words, env={**os.environ, "OMP_NUM_THREADS": "1"})
    while process.poll() is None:
        if watch:
            watch(process.pid)
        time.sleep(_POLL_S)
    assert process.returncode == 0
    return time.perf_counter() - start


@pytest.fixture(scope="module")
def map_file(tmp_path_factory) -> Path:
    """The bundled structure in a box of 128 px, as a map: reading it takes no time."""
    out = tmp_path_factory.mktemp("map")
    generate(out / "data", "7cfn", "--count", "3", "--size", str(SIZE))
    made = read_map(out / "data" / "volumes" / "7cfn.mrc")
    write_map(out / "particle.mrc", made.data, made.voxel_size_angstrom[0])
    return out / "particle.mrc"


def project_alone(map_file: Path, backend: str) -> float:
    """Projects as many images as the pipeline makes, in its batches, and keeps none."""
    projector = particle_projector(read_map(map_file).data, backend)
    rotations = quaternions_to_matrices(uniform_quaternions(IMAGES, np.random.default_rng(0)))
    projector.project(rotations[:1])
    start = time.perf_counter()
    for first in range(0, IMAGES, 256):
        projector.project(rotations[first : first + 256])
    return time.perf_counter() - start


def flags(map_file: Path, projector: str, *, processes: int = 0) -> list[str]:
    words = [str(map_file), "--size", str(SIZE), "--count", str(IMAGES), "--projector", projector]
    if processes:
        words += ["--direct_running_mode=multi_processing", f"--direct_num_workers={processes}"]
    return words


@PROJECTORS
def test_the_pipeline_against_the_projector_alone(projector, map_file, tmp_path, record_result):
    alone, whole = [], []
    for repeat in range(ROUNDS):
        alone.append(project_alone(map_file, projector))
        whole.append(generate(tmp_path / str(repeat), *flags(map_file, projector)))
    ratio = statistics.median(np.divide(whole, alone))
    record_result(
        f"{IMAGES:,} clean images of {SIZE} px by {projector}: alone {min(alone):.1f} s, "
        f"cryotwin generate {min(whole):.1f} s from start to end, ratio {ratio:.2f} (at most 1.3)"
    )


@PROJECTORS
def test_two_processes_against_one(projector, map_file, tmp_path, record_result):
    one, two = [], []
    for repeat in range(ROUNDS):
        one.append(generate(tmp_path / f"one{repeat}", *flags(map_file, projector, processes=1)))
        two.append(generate(tmp_path / f"two{repeat}", *flags(map_file, projector, processes=2)))
    ratio = statistics.median(np.divide(one, two))
    record_result(
        f"{IMAGES:,} clean images of {SIZE} px by {projector}: one worker {min(one):.1f} s, two "
        f"{min(two):.1f} s, ratio {ratio:.2f} (at least 1.7)"
    )


def write_list(folder: Path) -> Path:
    """Lists so many structures; names are numbered, as a model and its assembly share one."""
    files = sorted([*DATA.glob("models/*/*.gz"), *DATA.glob("assemblies/*/*.npz")])
    if not files:
        packed = resources.files("cryotwin.imaging") / "bundled" / "7cfn.cif.gz"
        files = [folder / "7cfn.cif.gz"]
        files[0].write_bytes(packed.read_bytes())
    rows = [
        f"{files[number % len(files)]},{files[number % len(files)].name}-{number}"
        for number in range(STRUCTURES)
    ]
    (folder / "list.csv").write_text("\n".join(["structure,name", *rows]))
    return folder / "list.csv"


def test_many_structures_in_one_run(tmp_path, record_result):
    import psutil

    peaks: dict[int, int] = {}

    def watch(driver: int) -> None:
        for worker in psutil.Process(driver).children(recursive=True):
            try:
                if "sdk_worker_main" in " ".join(worker.cmdline()):
                    peaks[worker.pid] = max(peaks.get(worker.pid, 0), worker.memory_info().rss)
            except psutil.NoSuchProcess:
                continue

    words = ["--direct_running_mode=multi_processing", "--direct_num_workers=2"]
    words += ["--count", str(IMAGES_EACH), "--size", str(SIZE_OF_MANY)]
    seconds = generate(tmp_path / "data", str(write_list(tmp_path)), *words, watch=watch)
    made = open_folder(tmp_path / "data")
    letters = tmp_path / "data" / "failures.jsonl"
    failed = len(letters.read_text().splitlines()) if letters.exists() else 0
    record_result(
        f"{len(made.metadata['structures'])} structures x {IMAGES_EACH} images of "
        f"{SIZE_OF_MANY} px, {failed} refused, {len(list(made.path.glob('*.tfrecord-*')))} shards: "
        f"{seconds:.0f} s; largest worker {max(peaks.values()) / 2**30:.2f} GiB (at most 1.5)"
    )
