"""What the benchmarks of recovery rest on: matching, frames, RELION's files, tables."""

import os
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import starfile

from cryotwin.imaging.errors import InputError
from cryotwin.imaging.fourier import fourier_disc, images_to_disc
from cryotwin.imaging.microscope import shift_images
from cryotwin.imaging.projection import project_volume
from cryotwin.imaging.rotations import (
    MIRROR,
    matrices_to_quaternions,
    matrices_to_relion_angles,
    multiply_quaternions,
    orientation_distances,
    quaternions_to_matrices,
    uniform_quaternions,
)
from cryotwin.recovery.alignment import align_orientations
from cryotwin.recovery.evaluation import to_estimated_frame
from recovery_limits.__main__ import STRUCTURES, build_parser
from recovery_limits.commands import without_structures
from recovery_limits.figures import draw_errors_against_noise
from recovery_limits.grid_matching import Candidates, domain_grid, shift_grid
from recovery_limits.likelihood_descent import Descent
from recovery_limits.limit import error_curves, limit_table
from recovery_limits.map_resolution import compared, in_estimated_frame, resolution_table
from recovery_limits.particles import Condition
from recovery_limits.peer_levels import levels
from recovery_limits.peers import aspire_table, panel, peer_table
from recovery_limits.peers import compared as compared_level
from recovery_limits.projection_matching import Search, match_exhaustively
from recovery_limits.relion_initial_model import normalised, read_rotations
from zoo.pages import with_section

BENCHMARKS = Path(__file__).parent
SIZE = 24
QUICK = Search(spacing_rad=0.35, radius=5, candidates=3, radii=(5.0, 8.0))


@pytest.fixture(scope="module")
def volume():
    """Gives five blobs without any symmetry."""
    rng = np.random.default_rng(3)
    axis = np.arange(SIZE) - SIZE // 2
    z, y, x = np.meshgrid(axis, axis, axis, indexing="ij")
    density = np.zeros((SIZE,) * 3)
    for centre in rng.uniform(-5, 5, (5, 3)):
        squares = (x - centre[0]) ** 2 + (y - centre[1]) ** 2 + (z - centre[2]) ** 2
        density += rng.uniform(0.5, 2) * np.exp(-squares / (2 * 1.4**2))
    return density.astype(np.float32)


@pytest.fixture(scope="module")
def views(volume):
    rng = np.random.default_rng(0)
    quaternions = uniform_quaternions(30, rng)
    images = project_volume(volume, quaternions_to_matrices(quaternions))
    shifts = rng.uniform(-1, 1, (30, 2))
    return shift_images(images, shifts), quaternions, shifts


def turned(quaternions, angle, seed=1):
    """Turns each orientation by `angle` about an axis of its own."""
    axes = np.random.default_rng(seed).standard_normal((len(quaternions), 3))
    axes /= np.linalg.norm(axes, axis=1, keepdims=True)
    turns = np.column_stack([np.full(len(axes), np.cos(angle / 2)), np.sin(angle / 2) * axes])
    return multiply_quaternions(turns, quaternions)


def test_a_descent_near_the_truth_ends_at_it(volume, views):
    images, quaternions, shifts = views
    disc = fourier_disc(SIZE)
    rotations, moved, misfits = Descent(volume, disc, fit_shifts=True).run(
        images_to_disc(images, disc),
        np.arange(len(images)),
        quaternions_to_matrices(turned(quaternions, 0.1)),
        shifts + 0.3,
        20,
    )
    assert orientation_distances(matrices_to_quaternions(rotations), quaternions).max() < 1e-3
    np.testing.assert_allclose(moved, shifts, atol=1e-2)
    assert misfits.max() < 1e-5 * (np.abs(images_to_disc(images, disc)) ** 2).sum(axis=1).min()


def test_matching_that_is_told_a_wrong_truth_finds_the_right_one(volume, views):
    images, quaternions, shifts = views
    found = match_exhaustively(
        images,
        volume,
        turned(quaternions, 2.5),
        np.zeros_like(shifts),
        max_shift_px=1,
        search=QUICK,
    )
    errors = orientation_distances(found.quaternions, quaternions)
    assert np.median(errors) < 1e-3
    assert (errors < 1e-2).mean() > 0.9
    right = errors < 1e-2
    assert not found.from_truth[right].any()
    np.testing.assert_allclose(found.shifts_px[right], shifts[right], atol=0.02)


def test_matching_that_is_told_the_truth_stays_there_and_says_so(volume, views):
    images, quaternions, shifts = views
    found = match_exhaustively(images, volume, quaternions, shifts, max_shift_px=1, search=QUICK)
    assert orientation_distances(found.quaternions, quaternions).max() < 1e-3
    assert found.from_truth.all()


def test_the_error_grows_in_proportion_to_the_noise_as_a_cramer_rao_bound_does(volume, views):
    images, quaternions, shifts = views
    noise = np.random.default_rng(1).standard_normal(images.shape).astype(np.float32)
    means = []
    for deviation in (0.05, 0.1):
        found = match_exhaustively(
            images + deviation * images.std() * noise,
            volume,
            quaternions,
            shifts,
            max_shift_px=1,
            search=QUICK,
        )
        means.append(orientation_distances(found.quaternions, quaternions).mean())
    assert means[1] / means[0] == pytest.approx(2, rel=0.1)


def test_shifts_that_cannot_be_are_not_fitted(volume, views):
    images, quaternions, shifts = views
    centred = shift_images(images, -shifts)
    found = match_exhaustively(
        centred, volume, quaternions, np.zeros_like(shifts), max_shift_px=0, search=QUICK
    )
    assert (found.shifts_px == 0).all()


@pytest.mark.parametrize(("symmetry", "order"), [("C1", 1), ("D2", 4)])
def test_the_grid_covers_what_looks_different_and_no_more(symmetry, order):
    spacing = 0.3
    grid = domain_grid(spacing, symmetry)
    assert len(grid) == pytest.approx(8 * np.pi**2 / spacing**3 / order, rel=0.05)
    views = uniform_quaternions(200, np.random.default_rng(0))
    distances = orientation_distances(views[:, None], grid[None], symmetry=symmetry)
    assert distances.min(axis=1).max() < spacing


def test_the_grid_of_shifts_reaches_the_largest_in_steps_that_are_small_enough():
    grid = shift_grid(5.8, 2.9)
    assert np.abs(grid).max() == 5.8
    assert len(grid) == 25
    assert (shift_grid(0, 2.9) == 0).all()


def test_the_best_candidates_differ_and_the_truth_is_among_them():
    start = np.array([[1.0, 0, 0, 0]])
    near, far = turned(start, 0.001), turned(start, 1.0)
    candidates = Candidates(
        np.zeros(4, dtype=np.int64),
        np.concatenate([start, near, far, turned(far, 0.001)]),
        np.zeros((4, 2)),
        np.array([5.0, 1.0, 3.0, 2.0]),
        np.array([True, False, False, False]),
    )
    kept = candidates.best(3)
    assert kept.from_truth.sum() == 1
    assert sorted(kept.misfits) == [2.0, 5.0]


@pytest.mark.parametrize("left", [np.eye(3), MIRROR])
def test_true_orientations_in_the_estimated_frame_see_the_map_turned_there(volume, left):
    """R_true = A R_est B: the turned, or mirrored, map gives the images of the true one."""
    rng = np.random.default_rng(2)
    true = quaternions_to_matrices(uniform_quaternions(12, rng))
    right = quaternions_to_matrices(uniform_quaternions(1, rng))[0]
    estimated = matrices_to_quaternions(left.T @ true @ right.T)
    aligned = align_orientations(estimated, matrices_to_quaternions(true))
    moved = project_volume(to_estimated_frame(volume, aligned), in_estimated_frame(true, aligned))
    images = project_volume(volume, true)
    assert np.abs(moved - images).max() < 1e-3 * images.max()


def test_a_map_compared_with_itself_is_right_to_nyquist_with_and_without_a_mask(volume):
    same = compared(volume, volume, np.ones_like(volume), 3.0)
    assert same["unmasked"]["resolution_angstrom"] == 6.0
    assert same["masked"]["fsc"] == same["unmasked"]["fsc"]


def test_minus_12_db_at_116_px_is_an_snr_of_0_21_at_64_px():
    snrs = {level.name: level.snr for level in levels(500, 5000)}
    assert snrs["0.21"] == pytest.approx(0.21, abs=0.005)
    assert snrs["none"] is None


def test_backgrounds_are_normalised_as_relion_wants_them():
    rng = np.random.default_rng(0)
    images = (3 + 2 * rng.standard_normal((4, 32, 32))).astype(np.float32)
    scaled, deviation = normalised(images, 10)
    axis = np.arange(32) - 16
    outside = np.hypot(axis[:, None], axis) > 10
    np.testing.assert_allclose(scaled[:, outside].mean(axis=1), 0, atol=1e-5)
    np.testing.assert_allclose(scaled[:, outside].std(axis=1), 1, rtol=1e-5)
    assert deviation == pytest.approx(2, rel=0.2)


def test_images_without_noise_are_not_blown_up():
    images = np.zeros((2, 32, 32), np.float32)
    images[:, 12:20, 12:20] = 1
    scaled, _ = normalised(images, 10)
    np.testing.assert_array_equal(scaled, images)


def test_rotations_of_relion_come_back_in_the_order_of_the_stack(tmp_path):
    rotations = quaternions_to_matrices(uniform_quaternions(5, np.random.default_rng(0)))
    rot, tilt, psi = matrices_to_relion_angles(rotations).T
    order = [3, 0, 4, 1, 2]
    columns = {"rlnAngleRot": rot, "rlnAngleTilt": tilt, "rlnAnglePsi": psi}
    table = pd.DataFrame({name: values[order] for name, values in columns.items()})
    table.insert(0, "rlnImageName", [f"{number + 1:06d}@particles.mrcs" for number in order])
    path = tmp_path / "run_it010_data.star"
    starfile.write({"optics": pd.DataFrame({"rlnOpticsGroup": [1]}), "particles": table}, path)
    np.testing.assert_allclose(read_rotations(path, 5), rotations, atol=1e-5)
    with pytest.raises(InputError, match="6 were expected"):
        read_rotations(path, 6)


CONDITIONS = [Condition("5j0n", None, 5.8), Condition("5j0n", -12.0, 5.8)]


def test_the_table_of_limits_gives_ratios_only_where_there_is_noise():
    errors = [{"physical_error_rad": 0.02}, {"physical_error_rad": 0.04}]
    found = [
        {"physical_error_rad": error, "o4_error_rad": 0.01, "seconds": 60.0}
        for error in (0.002, 0.06)
    ]
    records = {"oracle": errors, "own-map": errors, "recover": found}
    first, second = limit_table(CONDITIONS, records).splitlines()[2:]
    assert "| - | - | 60 |" in first
    assert "| **0.0600** | 0.0100 | 1.50 | 1.50 | 60 |" in second
    noises, panels = error_curves(CONDITIONS, records)
    assert noises == ["none", "-12 dB"]
    assert panels["5j0n, shifts up to 5.8 px"]["true map"] == [("-12 dB", 0.04)]
    assert panels["5j0n, shifts up to 5.8 px"]["recover"] == [("none", 0.002), ("-12 dB", 0.06)]


def test_a_reference_that_was_left_out_has_no_column():
    one = {"physical_error_rad": 0.01, "o4_error_rad": 0.01, "seconds": 10}
    records = {"oracle": [one] * len(CONDITIONS), "recover": [one] * len(CONDITIONS)}
    header, _, first, *_ = limit_table(CONDITIONS, records).splitlines()
    assert "own best map" not in header
    assert header.count("|") == first.count("|") == 9
    _, panels = error_curves(CONDITIONS, records)
    assert all("own best map" not in curves for curves in panels.values())


def test_the_table_of_resolutions_has_a_row_with_and_one_without_a_mask():
    def maps(resolution):
        return {"unmasked": {"resolution_angstrom": resolution, "fsc": [1.0]}} | {
            "masked": {"resolution_angstrom": resolution / 2, "fsc": [1.0]}
        }

    record = {"noiseless": maps(8.0), "recovered": maps(22.0), "true_orientations": maps(20.0)}
    rows = resolution_table(CONDITIONS[:1], [record | {"pixel_size_angstrom": 3.67}]).splitlines()
    assert "| none | 8.00 | 22.00 | 20.00 | 1.100 | 7.34 |" in rows[2]
    assert "| soft | 4.00 | 11.00 | 10.00 | 1.100 | 7.34 |" in rows[3]


def test_aspire_counts_with_the_best_of_its_methods(tmp_path):
    (level,) = (level for level in levels(500, 5000) if level.name == "1/2")

    def record(error, **settings):
        settings = {"level": asdict(level), **settings}
        figures = {"physical_error_deg": error, "physical_median_deg": error, "seconds": 90.0}
        return {**figures, "iteration": 300, "settings": settings}

    records = {
        "aspire": [
            record(9.0, method="voting", denoise=False),
            record(6.1, method="lud", denoise=True),
        ],
        "relion": [record(20.0)],
        "recover": [record(1.0)],
    }
    rows = [compared_level(level, records)]
    assert "| 1/2 | 6.10 | LUD, denoised | 90 | 20.0 |" in peer_table(rows)
    without = [{name: part for name, part in row.items() if name != "relion"} for row in rows]
    assert "RELION" not in peer_table(without)
    assert "| 1/2 | 6.10 | LUD, denoised | 90 | **" in peer_table(without)
    assert "| 1/2 | voting | 9.00 | 9.00 | 90 |" in aspire_table(records["aspire"])
    path = tmp_path / "figure.svg"
    draw_errors_against_noise(path, ["1/2"], panel(rows), "degrees")
    assert "RELION" in path.read_text()


@pytest.mark.parametrize("name", ["limit", "resolution", "peers"])
def test_the_page_has_a_place_for_each_section(name, repository):
    text = (repository / "docs" / "recovery-limits.md").read_text(encoding="utf-8")
    assert "a new table" in with_section(text, name, "a new table", maker="make limits")


def test_the_command_in_the_page_names_no_place_of_this_machine():
    words = ["limit", "--structure-5j0n", "/x/5j0n.mrc", "--cache=/y", "--views", "100"]
    assert without_structures(words) == ["limit", "--views", "100"]


def test_noises_are_given_in_decibels_or_as_none():
    args = build_parser().parse_args(["limit", "--snrs-db", "none", "-12"])
    assert args.snrs_db == [None, -12.0]


@pytest.mark.slow
@pytest.mark.skipif(not STRUCTURES.is_dir(), reason="no shared data here")
def test_limit_and_resolution_run_and_fill_their_sections(tmp_path, repository):
    docs = tmp_path / "docs"
    docs.mkdir()
    page = docs / "recovery-limits.md"
    page.write_text((repository / "docs" / page.name).read_text())
    small = ["--proteins", "5j0n", "--count", "200", "--views", "60", "--snrs-db", "none"]
    small += ["--docs", str(docs), "--cache", str(tmp_path / "limits")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(BENCHMARKS), *sys.path])}
    for benchmark in ("limit", "resolution"):
        words = [sys.executable, "-m", "recovery_limits", benchmark, *small]
        subprocess.run(words, check=True, env=environment)
    text = page.read_text()
    assert text.count("| 5j0n (C1) | none | 5.8 |") == 3
    assert len(list((docs / "figures").glob("*.svg"))) == 2
