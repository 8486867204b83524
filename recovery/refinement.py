"""Refinement: reconstruct, match the images to the map, and again at growing resolution.

The particles are split into two halves that never see each other's map once the orientations
are roughly right, so that the Fourier shell correlation (FSC) of the two maps measures what is
real, and each reference is filtered by it: noise is not matched to noise.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from cryotwin.imaging.fourier import fourier_disc, images_to_disc, resize_images
from cryotwin.imaging.rotations import (
    matrices_to_quaternions,
    orientation_distances,
    quaternions_to_matrices,
    rotation_grid,
)
from cryotwin.recovery.masking import soft_particle_mask
from cryotwin.recovery.matching import match_globally, match_locally
from cryotwin.recovery.reconstruction import (
    combine_half_maps,
    filter_shells,
    reconstruct_halves,
)
from cryotwin.recovery.resolution import fourier_shell_correlation

_MAX_SIZE = 128
_GRID_SPACING_RAD = 0.13
_CONVERGED_RAD = 0.0015


@dataclass
class Round:
    """What one round of refinement did, for the report."""

    number: int
    size: int
    search: str
    resolution_limit_angstrom: float
    mean_change_rad: float
    quaternions: NDArray[np.float64] = field(repr=False)


@dataclass
class Refinement:
    """Refined orientations.

    Attributes:
        quaternions: (P, 4).
        shifts_px: (P, 2) as x, y: displacement of each image's content, in pixels of the input.
        misfits: (P,) mean squared difference of image and projection over the frequencies used.
        rounds: one entry a round.
    """

    quaternions: NDArray[np.float64]
    shifts_px: NDArray[np.float64]
    misfits: NDArray[np.float64]
    rounds: list[Round]


@dataclass(frozen=True)
class _Stage:
    fraction: float
    global_search: bool
    independent: bool
    most_rounds: int


_STAGES = (
    _Stage(0.375, True, False, 2),
    _Stage(0.5, False, True, 2),
    _Stage(0.75, False, True, 2),
    _Stage(1.0, False, True, 3),
)
"""Sizes of the images, as fractions of the full one, and how they are matched."""


def refine_orientations(
    images: NDArray[np.floating],
    quaternions: NDArray[np.floating],
    halves: NDArray[np.int64],
    *,
    pixel_size_angstrom: float,
    max_shift_px: float = 0.0,
    threads: int = 2,
    progress: Callable[[str], None] = lambda text: None,
) -> Refinement:
    """Refines orientations against maps made from the images themselves.

    Args:
        images: (P, N, N).
        quaternions: (P, 4), right to a few tenths of a radian for most images.
        halves: (P,) 0 or 1, the half that each image belongs to.
        pixel_size_angstrom: of the images.
        max_shift_px: how far particles may lie off the centre, in x and in y; 0 fixes them there.
        threads: threads of the NUFFT.
        progress: called with a line a round.
    """
    count, full = len(images), images.shape[-1]
    state = _State(quaternions_to_matrices(quaternions), np.zeros((count, 2)), np.zeros(count))
    rounds: list[Round] = []
    for stage in _STAGES:
        size = 2 * round(min(full, _MAX_SIZE) * stage.fraction / 2)
        small = resize_images(images, size)
        for _ in range(stage.most_rounds):
            before = matrices_to_quaternions(state.rotations)
            limit = _refinement_round(
                small, state, halves, stage, max_shift_px, full / size, threads
            )
            after = matrices_to_quaternions(state.rotations)
            change = orientation_distances(before, after)
            rounds.append(
                Round(
                    number=len(rounds) + 1,
                    size=size,
                    search="global" if stage.global_search else "local",
                    resolution_limit_angstrom=full * pixel_size_angstrom / limit,
                    mean_change_rad=float(change.mean()),
                    quaternions=after,
                )
            )
            progress(f"refinement round {len(rounds)}, {size} px: moved by {change.mean():.4f} rad")
            if np.median(change) < _CONVERGED_RAD:
                break
    return Refinement(matrices_to_quaternions(state.rotations), state.shifts, state.misfits, rounds)


@dataclass
class _State:
    rotations: NDArray[np.float64]
    shifts: NDArray[np.float64]
    misfits: NDArray[np.float64]


def _refinement_round(
    images: NDArray[np.float32],
    state: _State,
    halves: NDArray[np.int64],
    stage: _Stage,
    max_shift: float,
    pixel_ratio: float,
    threads: int,
) -> float:
    """Makes the half maps, matches the images to them, and returns the limit in cycles per box."""
    size = images.shape[-1]
    disc = fourier_disc(size)
    shifts, max_shift = state.shifts / pixel_ratio, max_shift / pixel_ratio
    maps = reconstruct_halves(images, state.rotations, halves, shifts_px=shifts, threads=threads)
    mask = soft_particle_mask((maps[0] + maps[1]) / 2)
    fsc = np.clip(fourier_shell_correlation(maps[0], maps[1], mask=mask), 0, 1)
    if stage.independent:
        groups = [(halves == half, filter_shells(maps[half] * mask, fsc)) for half in (0, 1)]
    else:
        groups = [(np.ones(len(images), dtype=bool), combine_half_maps(maps, fsc) * mask)]
    limit = _trusted_shell(fsc)
    used = disc.radius <= limit
    for rows, reference in groups:
        coefficients = images_to_disc(images[rows], disc)
        starts = [(state.rotations[rows], shifts[rows])]
        if stage.global_search:
            grid = rotation_grid(_GRID_SPACING_RAD)
            which, moved = match_globally(
                coefficients,
                reference,
                grid,
                disc,
                used,
                shifts_px=_shift_grid(max_shift),
                threads=threads,
            )
            starts.append((grid[which], moved))
        results = [
            match_locally(
                coefficients,
                reference,
                rotations,
                moved,
                disc,
                used,
                steps=4,
                fit_shifts=max_shift > 0,
                threads=threads,
            )
            for rotations, moved in starts
        ]
        best = np.argmin([errors for _, _, errors in results], axis=0)
        pick = (best, np.arange(len(best)))
        state.rotations[rows] = np.stack([found for found, _, _ in results])[pick]
        state.shifts[rows] = np.stack([found for _, found, _ in results])[pick] * pixel_ratio
        state.misfits[rows] = np.stack([errors for _, _, errors in results])[pick]
    return limit


def _shift_grid(max_shift: float) -> NDArray[np.float64]:
    axis = np.arange(-np.ceil(max_shift), np.ceil(max_shift) + 1)
    return np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2)


def _trusted_shell(fsc: NDArray[np.floating]) -> float:
    """Finds the last shell before the half maps' FSC falls below 0.143; at least 4."""
    below = np.flatnonzero(fsc[1:] < 0.143)
    return float(max(4, below[0] if len(below) else len(fsc) - 1))
