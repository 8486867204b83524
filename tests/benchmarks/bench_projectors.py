"""Projections per second and core against relative error: ours, ASPIRE's and RELION's.

On one core, the same map and orientations for all, taking turns; see docs/projectors.md. The rows
that are printed are Markdown. Environment: CRYOTWIN_ASPIRE_PYTHON names an interpreter that has
ASPIRE, CRYOTWIN_BENCH_FIGURES a folder that gets projectors.png.
"""

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import finufft
import mrcfile
import numpy as np
import pytest

from cryotwin.imaging.fourier import FourierDisc, fourier_disc, images_to_disc
from cryotwin.imaging.projection import backproject_images, make_projector
from cryotwin.imaging.rotations import (
    matrices_to_relion_angles,
    quaternions_to_matrices,
    uniform_quaternions,
)
from cryotwin.imaging.structures import read_structure
from cryotwin.imaging.volumes import structure_volume

PAPER_MAP = Path(__file__).parents[2].parent / "shared" / "data" / "targets" / "5j0n.mrc"
COUNTS = {64: 4000, 128: 1600, 256: 240}
"""Images of each size in pixels that are timed."""
SLOWER = 4
"""ASPIRE and finufft get one in so many of them."""
EXACT = 40
"""Images whose error is measured."""
FEW = 8
"""Images of the run of `relion_project` that is subtracted: reading the map, preparing it."""
ROUNDS = 5
OURS = [("nufft", 2e-6), ("nufft", 1e-4), ("nufft", 1e-3)] + [
    ("gridding", tolerance) for tolerance in (1e-2, 1e-3, 1e-4, 1e-5, 2e-6)
]
PANELS: dict[int, dict[str, tuple[float, float]]] = {}


class Ours:
    overhead = 0.0

    def __init__(self, volume, rotations, backend, tolerance):
        self.name = f"{backend}, {tolerance:g}"
        self._rotations = rotations if backend == "gridding" else rotations[::SLOWER]
        start = time.perf_counter()
        self._projector = make_projector(volume, backend=backend, tolerance=tolerance)
        self.preparation = time.perf_counter() - start

        self.count = len(self._rotations)

    def images(self, rotations):
        return self._projector.project(rotations)

    def seconds(self):
        start = time.perf_counter()
        self._projector.project(self._rotations)
        return time.perf_counter() - start


class Aspire:
    name = "ASPIRE"
    overhead = 0.0

    def __init__(self, volume, rotations, folder):
        self.count = len(rotations) // SLOWER
        matrices = rotations[: self.count].astype(np.float32)
        np.savez(folder / "in.npz", volume=volume, rotations=matrices)
        script = Path(__file__).with_name("aspire_projector.py")
        python = os.environ["CRYOTWIN_ASPIRE_PYTHON"]
        self._output = folder / "out.npy"
        self._process = subprocess.Popen(
            [python, script, folder / "in.npz", self._output],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=folder,  # ASPIRE writes its logs where it is started.
            env={k: v for k, v in os.environ.items() if k != "PYTHONPATH"},
            text=True,
        )
        self.seconds()

    def images(self, rotations):
        return np.load(self._output, mmap_mode="r")[: len(rotations)]

    def seconds(self):
        print("go", file=self._process.stdin, flush=True)
        for line in self._process.stdout:
            if line.startswith("seconds"):
                return float(line.split()[1])
        raise RuntimeError(f"ASPIRE ended with status {self._process.wait()}")

    def close(self):
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait()


class Relion:
    name = "relion_project"

    def __init__(self, volume, rotations, folder):
        self._folder, self._size = folder, volume.shape[0]
        with mrcfile.new(folder / "map.mrc") as file:
            file.set_data(volume)
            file.voxel_size = 1.0
        for name, part in (("all", rotations), ("few", rotations[:FEW])):
            self._write_star(folder / f"{name}.star", part)
        self.count = len(rotations) - FEW
        self.overhead = np.inf

    def images(self, rotations):
        self._run("all")
        with mrcfile.mmap(self._folder / "all_out.mrcs") as file:
            return file.data[: len(rotations)].copy()

    def seconds(self):
        """Times a whole run; a short one, to be subtracted, leaves projecting and writing."""
        self.overhead = min(self.overhead, self._run("few"))
        return self._run("all")

    def _run(self, name):
        start = time.perf_counter()
        subprocess.run(
            ["relion_project", "--i", "map.mrc", "--o", f"{name}_out", "--ang", f"{name}.star"],
            cwd=self._folder,
            check=True,
            capture_output=True,
        )
        return time.perf_counter() - start

    def _write_star(self, path, rotations):
        optics = {
            "rlnOpticsGroup": 1,
            "rlnOpticsGroupName": "one",
            "rlnVoltage": 300,
            "rlnSphericalAberration": 2.7,
            "rlnAmplitudeContrast": 0.1,
            "rlnImagePixelSize": 1.0,
            "rlnImageSize": self._size,
            "rlnImageDimensionality": 2,
        }
        columns = ["ImageName", "AngleRot", "AngleTilt", "AnglePsi", "OpticsGroup"]
        rows = [
            f"{index}@none.mrcs {rot:.7f} {tilt:.7f} {psi:.7f} 1"
            for index, (rot, tilt, psi) in enumerate(matrices_to_relion_angles(rotations), start=1)
        ]
        lines = ["data_optics", "", "loop_", *(f"_{name}" for name in optics)]
        lines += [" ".join(map(str, optics.values())), "", "data_particles", "", "loop_"]
        lines += [f"_rln{column}" for column in columns] + rows
        path.write_text("\n".join(lines) + "\n")


@pytest.fixture(autouse=True)
def _one_core() -> Iterator[None]:
    """Pins the benchmark, and what it starts, to one core."""
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(cores)})
    yield
    os.sched_setaffinity(0, cores)


def _exact_slices(volume, rotations, disc: FourierDisc):
    """Evaluates the slices by finufft in double precision at 1e-8: the reference of the errors."""
    plane = np.stack([disc.kx, disc.ky], axis=1) * (2 * np.pi / disc.size)
    points = np.einsum("kd,pdc->cpk", plane, rotations[:, :2])
    points = np.ascontiguousarray(points).reshape(3, -1)
    values = finufft.nufft3d2(
        points[2],
        points[1],
        points[0],
        volume.astype(np.complex128),
        isign=-1,
        eps=1e-8,
        nthreads=1,
    )
    return values.reshape(len(rotations), -1)


def _error(images, exact, disc: FourierDisc, fit_scale: bool) -> float:
    """Gives the relative error inside the Nyquist disc, over all images."""
    slices, weights = images_to_disc(np.asarray(images), disc), disc.weights
    scale = 1.0
    if fit_scale:  # The peers' units differ from ours by a factor: of N, or near 1.
        scale = (weights * (slices.conj() * exact).real).sum() / (weights * abs(slices) ** 2).sum()
    difference = (weights * abs(scale * slices - exact) ** 2).sum()
    return float(np.sqrt(difference / (weights * abs(exact) ** 2).sum()))


def _volume(size):
    source = PAPER_MAP if PAPER_MAP.exists() else "7cfn"
    return structure_volume(read_structure(str(source)), size=size).volume


@pytest.mark.parametrize("size", COUNTS)
def test_rate_against_error(size, tmp_path, record_result):
    volume = _volume(size)
    rng = np.random.default_rng(0)
    rotations = quaternions_to_matrices(uniform_quaternions(COUNTS[size], rng))
    disc = fourier_disc(size)
    exact = _exact_slices(volume, rotations[:EXACT], disc)

    field = [Ours(volume, rotations, *choice) for choice in OURS]
    if "CRYOTWIN_ASPIRE_PYTHON" in os.environ:
        field.append(Aspire(volume, rotations, tmp_path))
    if shutil.which("relion_project"):
        field.append(Relion(volume, rotations, tmp_path))
    errors = {
        one.name: _error(
            one.images(rotations[:EXACT]), exact, disc, fit_scale=not isinstance(one, Ours)
        )
        for one in field
    }
    seconds = {one.name: [] for one in field}
    for _ in range(ROUNDS):
        for one in field:
            seconds[one.name].append(one.seconds())
    rates = {one.name: one.count / (min(seconds[one.name]) - one.overhead) for one in field}
    for one in field:
        if isinstance(one, Aspire):
            one.close()

    _report(size, field, errors, rates, record_result)
    PANELS[size] = {name: (errors[name], rates[name]) for name in rates}
    assert errors["gridding, 0.0001"] < 1e-4
    assert errors["nufft, 2e-06"] < 1e-5


def _report(size, field, errors, rates, record_result):
    peers = ("ASPIRE", "relion_project")
    if size == min(COUNTS):
        record_result("projections a second on one core; the best of five rounds, taking turns")
        record_result("| px | projector | error | images/s | / ASPIRE | / RELION |")
        record_result("| --- | --- | --- | --- | --- | --- |")
    for one in field:
        ratios = [f"{rates[one.name] / rates[p]:.2f}" if p in rates else "" for p in peers]
        cells = [size, one.name, f"{errors[one.name]:.1e}", f"{rates[one.name]:,.0f}", *ratios]
        record_result("| " + " | ".join(map(str, cells)) + " |")
    for peer in peers:
        if peer not in rates:
            record_result(f"| {size} | {peer} | not installed | | | |")
    preparations = {one.name: one.preparation for one in field if isinstance(one, Ours)}
    slowest = max(preparations, key=preparations.get)
    record_result(f"(preparing a volume of {size} px: {preparations[slowest]:.2f} s at most)")


def test_error_against_the_closed_form(record_result):
    """The projection of Gaussians is known: what is left is the projector, and rounding."""
    size, sigmas = 64, np.array([2.0, 2.3, 2.7, 3.0])
    centres = np.random.default_rng(0).uniform(-6, 6, size=(4, 3))
    rotations = quaternions_to_matrices(uniform_quaternions(EXACT, np.random.default_rng(1)))
    axis = np.arange(size) - size // 2

    def gaussians(points):
        """Sums Gaussians at points (4, d) on a grid of d axes, the last of them x."""
        total = 0.0
        for point, sigma in zip(points, sigmas, strict=True):
            lines = [np.exp(-((axis - c) ** 2) / (2 * sigma**2)) for c in point]
            part = lines[0]
            for line in lines[1:]:
                part = np.multiply.outer(line, part)
            total = total + part * (np.sqrt(2 * np.pi) * sigma if len(point) == 2 else 1)
        return total

    volume = gaussians(centres).astype(np.float32)
    exact = np.stack([gaussians((centres @ rotation.T)[:, :2]) for rotation in rotations])

    noise = np.random.default_rng(2).standard_normal(volume.shape).astype(np.float32)
    disc = fourier_disc(size)
    noise_slices = _exact_slices(noise, rotations, disc)

    record_result("error of projected Gaussians of 64 px against their closed form, and of noise")
    record_result("| tolerance | nufft | gridding | nufft, noise | gridding, noise |")
    record_result("| --- | --- | --- | --- | --- |")
    for tolerance in (1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 2e-6):
        errors, of_noise = [], []
        for backend in ("nufft", "gridding"):
            choice = {"backend": backend, "tolerance": tolerance}
            images = make_projector(volume, **choice).project(rotations)
            errors.append(np.linalg.norm(images - exact) / np.linalg.norm(exact))
            images = make_projector(noise, **choice).project(rotations)
            of_noise.append(_error(images, noise_slices, disc, fit_scale=False))
            assert errors[-1] < 2 * tolerance
        cells = " | ".join(f"{error:.1e}" for error in errors + of_noise)
        record_result(f"| {tolerance:g} | {cells} |")


@pytest.mark.parametrize("size", [64, 128])
def test_back_projection(size, measure):
    count = COUNTS[size] // 4
    rng = np.random.default_rng(0)
    images = rng.standard_normal((count, size, size)).astype(np.float32)
    rotations = quaternions_to_matrices(uniform_quaternions(count, rng))
    for backend, tolerance in (("nufft", 2e-6), ("gridding", 1e-4), ("gridding", 2e-6)):
        measure(
            f"back projection, {size} px, {backend}, {tolerance:g}",
            lambda b=backend, t=tolerance: backproject_images(
                images, rotations, backend=b, tolerance=t
            ),
            items=count,
            unit="images",
        )


def test_figure(record_result):
    """Draws rate against error; last, from what the other benchmarks of this file found."""
    folder = os.environ.get("CRYOTWIN_BENCH_FIGURES")
    if not folder or not PANELS:
        pytest.skip("CRYOTWIN_BENCH_FIGURES names no folder, or nothing was timed")
    from matplotlib import pyplot

    figure, panels = pyplot.subplots(1, len(PANELS), figsize=(4 * len(PANELS), 3.6))
    for panel, (size, points) in zip(np.atleast_1d(panels), PANELS.items(), strict=True):
        for group, marker in (
            ("gridding", "o-"),
            ("nufft", "s-"),
            ("ASPIRE", "^"),
            ("relion", "v"),
        ):
            chosen = [point for name, point in points.items() if name.startswith(group)]
            if chosen:
                label = "relion_project" if group == "relion" else group
                panel.loglog(*zip(*sorted(chosen), strict=True), marker, label=label)
        panel.set(title=f"{size} px", xlabel="relative error")
    np.atleast_1d(panels)[0].set_ylabel("projections a second, one core")
    np.atleast_1d(panels)[0].legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(Path(folder) / "projectors.png", dpi=80)
    record_result(f"drawn: {Path(folder) / 'projectors.png'}")


@pytest.mark.gpu
def test_astra_against_the_reference_on_a_gpu(record_result):
    """Error, rate and mismatch of ASTRA's projectors, which need a CUDA device."""
    for size in COUNTS:
        volume, count = _volume(size), COUNTS[size] // 4
        rng = np.random.default_rng(0)
        rotations = quaternions_to_matrices(uniform_quaternions(count, rng))
        exact = make_projector(volume, tolerance=1e-5).project(rotations)
        projector = make_projector(volume, backend="astra")
        images = projector.project(rotations)
        start = time.perf_counter()
        projector.project(rotations)
        rate = count / (time.perf_counter() - start)
        error = np.linalg.norm(images - exact) / np.linalg.norm(exact)
        forward = np.vdot(images, exact)
        back = np.vdot(volume, backproject_images(exact, rotations, backend="astra"))
        record_result(
            f"| {size} | astra | error {error:.1e} | {rate:,.0f} images/s "
            f"| <P V, y> / <V, B y> - 1 = {forward / back - 1:.1e} |"
        )
        assert error < 0.1
