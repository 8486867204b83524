import numpy as np
import pytest

from cryotwin.imaging.ctf import CtfParameters, apply_ctf
from cryotwin.imaging.microscope import shift_images
from cryotwin.imaging.projection import project_volume
from cryotwin.imaging.rotations import (
    matrices_to_quaternions,
    orientation_distances,
    rotation_grid,
    rotation_vectors_to_matrices,
)
from cryotwin.recovery.compared_images import ComparedImages
from cryotwin.recovery.orientation_search import (
    moves_within,
    search_everywhere,
    search_nearby,
    turns_within,
)
from cryotwin.recovery.reference import Reference

SIZE, PIXEL_A = 24, 3.0
GRID = rotation_grid(0.35)
CHOSEN = np.arange(3, len(GRID), len(GRID) // 20)
ROWS = np.arange(len(CHOSEN))
MOVES = moves_within(2, 2)


@pytest.fixture(scope="module")
def volume():
    z, y, x = np.mgrid[:SIZE, :SIZE, :SIZE] - SIZE // 2
    return sum(
        weight * np.exp(-((x - a) ** 2 + (y - b) ** 2 + (z - c) ** 2) / 5)
        for weight, a, b, c in np.random.default_rng(3).uniform(
            (0.5, -5, -5, -5), (1.5, 5, 5, 5), (7, 4)
        )
    ).astype(np.float32)


@pytest.fixture(scope="module")
def shifts():
    return MOVES[np.arange(len(CHOSEN)) % len(MOVES)]


@pytest.fixture(scope="module")
def compared(volume, shifts):
    views = project_volume(volume, rotation_vectors_to_matrices([0.02, 0, -0.02]) @ GRID[CHOSEN])
    ctf = CtfParameters(np.linspace(3000, 6000, len(CHOSEN)), np.linspace(3000, 6000, len(CHOSEN)))
    images = apply_ctf(shift_images(views, shifts + 0.1), ctf, PIXEL_A)
    return ComparedImages.of(images, ctf, PIXEL_A).below(8, SIZE)


def test_the_search_everywhere_finds_the_nearest_node_and_displacement(volume, compared, shifts):
    found, moved, _ = search_everywhere(
        volume,
        compared,
        np.ones(compared.rings),
        ROWS,
        np.zeros((len(ROWS), 2)),
        grid=GRID,
        moves_px=MOVES,
    )
    assert np.array_equal(found, GRID[CHOSEN])
    assert np.array_equal(moved, shifts)


def test_the_search_nearby_finds_what_was_turned_away(volume, compared, shifts):
    start = rotation_vectors_to_matrices([0.2, 0.1, -0.1]) @ GRID[CHOSEN]
    turns = turns_within(0.4, 0.12)

    found, moved, _ = search_nearby(
        Reference(volume),
        compared,
        np.ones(compared.rings),
        ROWS,
        start,
        np.zeros((len(ROWS), 2)),
        turns=turns,
        moves_px=MOVES,
        most_shift_px=3,
        threads=2,
    )

    left = orientation_distances(
        matrices_to_quaternions(found), matrices_to_quaternions(GRID[CHOSEN])
    )
    assert np.median(left) < 0.08
    assert left.max() < 0.15
    assert np.array_equal(moved, shifts)


def test_both_searches_give_the_same_likelihood(volume, compared, shifts):
    settings = compared, np.ones(compared.rings), ROWS
    none = np.zeros((1, 2))

    *_, nearby = search_nearby(
        Reference(volume),
        *settings,
        GRID[CHOSEN],
        shifts,
        turns=np.zeros((1, 3)),
        moves_px=none,
        most_shift_px=3,
    )
    found, _, everywhere = search_everywhere(volume, *settings, shifts, grid=GRID, moves_px=none)

    assert np.array_equal(found, GRID[CHOSEN])
    assert np.allclose(nearby, everywhere, rtol=1e-3)


def test_no_displacement_is_taken_beyond_the_bound(volume, compared):
    _, moved, _ = search_nearby(
        Reference(volume),
        compared,
        np.ones(compared.rings),
        ROWS,
        GRID[CHOSEN],
        np.zeros((len(ROWS), 2)),
        turns=np.zeros((1, 3)),
        moves_px=moves_within(4, 1),
        most_shift_px=1.0,
    )
    assert np.abs(moved).max() == 1


@pytest.mark.parametrize(("radius", "spacing"), [(0.4, 0.13), (0.35, 0.14), (0.5, 0.1)])
def test_turns_fill_a_ball_as_densely_as_said_and_begin_with_none(radius, spacing):
    turns = turns_within(radius, spacing)
    assert np.array_equal(turns[0], np.zeros(3))
    assert np.linalg.norm(turns, axis=1).max() <= radius
    assert len(turns) == pytest.approx(4 / 3 * np.pi * (radius / spacing) ** 3, rel=0.2)


def test_moves_reach_as_far_as_asked_and_hold_none():
    moves = moves_within(5, 2)
    assert np.abs(moves).max() == 6
    assert len(moves) == 49
    assert (moves == 0).all(axis=1).sum() == 1
    assert np.array_equal(moves_within(0, 3), np.zeros((1, 2)))
