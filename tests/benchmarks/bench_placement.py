"""How long it takes, and how much memory, to find the orientations of any number of particles.

`make bench ARGS="-k bench_placement"` prints a line for each number of particles and each test.
Features are those of an ideal so3 head of 512 numbers with an error of its own for each particle,
so that a million of them need no images; they lie in a file that is mapped. Each number is measured
in a process of its own. CRYOTWIN_BENCH_PARTICLES ("1000 10000 100000 1000000") says for which
numbers; CRYOTWIN_BENCH_DOCS=docs writes the tables and the curve into docs/many-particles.md.

The error of placing, against that of embedding all pairs, is measured on real features: of the
published estimators and noisy, shifted projections of the paper's proteins, in shared/data beside
the checkout.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from cryotwin.datasets.folder import open_folder
from cryotwin.imaging.rotations import quaternions_to_matrices, uniform_quaternions
from cryotwin.models.features import particle_features
from cryotwin.models.heads import find_head
from cryotwin.models.model_files import load, metadata_of
from cryotwin.models.siamese import head_of
from cryotwin.pipelines.reproduction.machine import machine
from cryotwin.recovery.alignment import align_orientations
from cryotwin.recovery.feature_embedding import embed_features
from cryotwin.recovery.placement import place_from_landmarks
from zoo.figures import figure_file
from zoo.pages import figure_link, markdown_table, write_section
from zoo.projections import STRUCTURES, TARGETS, clean_views, dataset, perturbed

COUNTS = [
    int(count)
    for count in os.environ.get("CRYOTWIN_BENCH_PARTICLES", "1000 10000 100000 1000000").split()
]
FEATURE_DIM = 512
SPREAD = 0.05
"""Of each particle's feature about the exact one, which has unit length."""

THREADS = 2
DOCS = os.environ.get("CRYOTWIN_BENCH_DOCS", "")
MACHINE = f"Measured on {machine()}."
PART = 10_000
VIEWS = 9091
"""Particles of a dataset whose test split has 3,000."""

_CHILD = """
import json, pathlib, sys, time
import numpy as np
from cryotwin.models.heads import find_head
from cryotwin.recovery.feature_embedding import embed_features
path, symmetry, threads = sys.argv[1], sys.argv[2], int(sys.argv[3])
features, head = np.load(path, mmap_mode="r"), find_head("so3", symmetry)
embed_features(np.asarray(features[:60]), head, landmarks=30)  # Compiles.
start = time.perf_counter()
found = embed_features(features, head, threads=threads)
seconds = time.perf_counter() - start
# Not getrusage: its peak is the parent's where that was higher.
status = pathlib.Path("/proc/self/status").read_text()
(peak,) = (int(line.split()[1]) / 2**20 for line in status.splitlines() if "VmHWM" in line)
np.save(path + ".found.npy", found.embedding.quaternions[:10_000])
print(json.dumps([seconds, peak, bool(found.embedding.trusted)]))
"""


def ideal_features(quaternions, symmetry, rng):
    """Gives features (P, 512) by which the so3 head is exact, but for an error of each particle."""
    columns = np.moveaxis(quaternions_to_matrices(quaternions), -1, 0)  # (3, P, 3)
    c1, c2, c3 = columns
    if symmetry == "C1":
        blocks = [np.concatenate(columns, axis=1)]
    elif symmetry == "D2":
        blocks = [np.einsum("pa,pb->pab", c, c).reshape(-1, 9) for c in columns]
        blocks.append(np.einsum("pa,pb,pc->pabc", c1, c2, c3).reshape(-1, 27))
    else:  # The nearest copy: each column in a third.
        blocks = [c1, c2, c3]
    head = find_head("so3", symmetry)
    sizes = head.turning_sizes(FEATURE_DIM)
    wide = []
    for block, size in zip(blocks, sizes, strict=True):
        basis = np.linalg.qr(np.random.default_rng(block.shape[1]).normal(size=(size, size)))[0]
        block = block @ basis[: block.shape[1]]
        length = np.linalg.norm(block, axis=1, keepdims=True).mean()
        wide.append(block + rng.normal(0, SPREAD * length / np.sqrt(size), block.shape))
    features = np.concatenate(wide, axis=1)
    features = np.pad(features, [(0, 0), (0, FEATURE_DIM - features.shape[1])])
    units = [part / np.linalg.norm(part, axis=1, keepdims=True) for part in head.split(features)]
    return np.concatenate(units, axis=1).astype(np.float32)


def measured(count, symmetry, folder):
    """Embeds `count` particles in a process of its own: seconds, GiB, O(4) error, trusted."""
    rng = np.random.default_rng(0)
    true = uniform_quaternions(count, rng)
    path = folder / f"{symmetry}-{count}.npy"
    shape = (count, FEATURE_DIM)
    features = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=shape)
    for start in range(0, count, PART):
        part = slice(start, start + PART)
        features[part] = ideal_features(true[part], symmetry, rng)
    features.flush()
    del features
    words = [sys.executable, "-c", _CHILD, str(path), symmetry, str(THREADS)]
    environment = {**os.environ, "OMP_NUM_THREADS": str(THREADS), "TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run(words, check=True, capture_output=True, text=True, env=environment)
    seconds, peak, trusted = json.loads(done.stdout.splitlines()[-1])
    found = np.load(f"{path}.found.npy")
    path.unlink()
    aligned = align_orientations(found, true[: len(found)], ambiguity="o4", symmetry=symmetry)
    return seconds, peak, aligned.mean_error, trusted


def test_the_curve_over_the_number_of_particles(tmp_path, record_result):
    rows = [(count, *measured(count, "C1", tmp_path)) for count in COUNTS]
    for row in rows:
        record_result(_line("C1", *row))
    seconds = {row[0]: row[1] for row in rows}
    told = [_table(["C1", *row] for row in rows), MACHINE]
    if {100_000, 1_000_000} <= set(seconds):
        ratio = seconds[1_000_000] / seconds[100_000]
        record_result(f"C1, a million against a tenth of it: {ratio:.1f} times (at most 11)")
        told.append(f"A million takes {ratio:.1f} times as long as a tenth of it.")
    if DOCS:
        figure = Path(DOCS) / "figures" / "many-particles.svg"
        draw(figure, rows)
        what = "Seconds and peak memory over the number of particles"
        _write("placement-curve", [figure_link(figure, what), *told])


def test_point_groups(tmp_path, record_result):
    counts = [count for count in COUNTS if 10_000 <= count <= 100_000]
    rows = [
        (symmetry, count, *measured(count, symmetry, tmp_path))
        for symmetry in ("D2", "C7", "O")
        for count in counts
    ]
    for row in rows:
        record_result(_line(*row))
    if DOCS:
        _write("placement-groups", [_table(rows), MACHINE])


def test_placing_against_embedding_all_pairs_on_real_features(tmp_path, record_result):
    there = [name for name in TARGETS if (STRUCTURES / TARGETS[name].file).is_file()]
    if not there:
        pytest.skip("the structures of the paper are not there")
    rows = []
    for name in there:
        errors = _errors_of_placing(name, tmp_path)
        told = ", ".join(f"{what} {error}" for what, error in errors.items())
        record_result(f"{name}, 3,000 images at -12 dB, O(4) error in rad: {told}")
        rows.append([f"`{name}`", *errors.values()])
    if DOCS:
        _write("placement-errors", [markdown_table(["estimator", *errors], rows), MACHINE])


def _errors_of_placing(name, cache):
    """Gives the O(4) error of all particles, as text, for several numbers of landmarks."""
    folder, estimator = dataset(cache, name, VIEWS), load(name)
    images, true = clean_views(folder, "test", VIEWS)
    metadata, head = metadata_of(estimator), head_of(estimator)
    pixel_size = float(open_folder(folder).metadata["pixel_size_angstrom"])
    images = perturbed(images, snr_db=-12, max_shift_px=float(metadata.get("max_shift_px", 0)))
    features = particle_features(estimator.get_layer("extractor"), images, pixel_size, metadata)
    errors = {}
    for landmarks in (len(features), 100, 300, 1000):
        found = embed_features(features, head, landmarks=landmarks, threads=THREADS)
        what = "all pairs" if landmarks == len(features) else f"{landmarks:,} landmarks"
        errors[what] = f"{_error(found.embedding.quaternions, true, head.symmetry):.4f}"
    errors["in closed form"] = "-"
    if head.symmetry == "C1":
        known = found.landmarks
        distances = head.distances_in_numpy(features, features[known])
        closed = place_from_landmarks(distances, found.embedding.quaternions[known])
        errors["in closed form"] = f"{_error(closed, true, 'C1'):.4f}"
    return errors


def _line(symmetry, count, seconds, peak, error, trusted):
    return (
        f"{symmetry}, {count:>9,} particles: {seconds:7.1f} s, {peak:5.2f} GiB at most, O(4) error "
        f"{error:.4f} rad, trusted {trusted}"
    )


def _table(rows):
    header = ["group", "particles", "seconds", "peak memory (GiB)", "O(4) error (rad)", "trusted"]
    return markdown_table(
        header,
        [
            [group, f"{count:,}", f"{seconds:.1f}", f"{peak:.2f}", f"{error:.4f}", str(trusted)]
            for group, count, seconds, peak, error, trusted in rows
        ],
    )


def _write(name, paragraphs):
    page = Path(DOCS) / "many-particles.md"
    write_section(page, name, paragraphs, maker='make bench ARGS="-k bench_placement"')


def _error(quaternions, true, symmetry):
    return align_orientations(quaternions, true, ambiguity="o4", symmetry=symmetry).mean_error


def draw(path, rows):
    """Draws time and memory over the number of particles."""
    counts, seconds, peaks = (np.array(column) for column in list(zip(*rows, strict=True))[:3])
    with figure_file(path, 2) as (time_axes, memory_axes):
        time_axes.plot(counts, seconds, "o-")
        line = np.geomspace(1e4, max(counts.max(), 1e5), 2)
        time_axes.plot(line, line * 120 / 1e5, "k:", label="2 min for 100,000")
        memory_axes.plot(counts, peaks, "o-")
        memory_axes.axhline(6, color="k", linestyle=":", label="6 GiB")
        time_axes.set(xscale="log", yscale="log", xlabel="particles", ylabel="seconds, 2 threads")
        memory_axes.set(xscale="log", xlabel="particles", ylabel="peak memory (GiB)", ylim=(0, 7))
        for axes in (time_axes, memory_axes):
            axes.legend()
