"""Refinement: reconstruct, match the images to the map, and again at growing resolution.

What happens in a round, and why, is told in docs/refinement.md.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from cryotwin.imaging.ctf import CtfParameters
from cryotwin.imaging.fourier import resize_images
from cryotwin.imaging.rotations import (
    matrices_to_quaternions,
    orientation_distances,
    quaternions_to_matrices,
    rotation_vectors_to_matrices,
)
from cryotwin.recovery.compared_images import ComparedImages
from cryotwin.recovery.refinement_round import SEARCHES, Done, Matching, RefinedImages, refine_once

_MAX_SIZE = 128
"""Larger images are resampled: the limit of a first map lies well within it."""

_FIRST_LIMIT = 9
_GROWTH = 1.3
"""How far beyond the shell that the half maps agree to the next round looks."""

_MOST_INDEPENDENT, _MOST_ROUNDS = 12, 24
_STILL, _STILL_JOINED = 0.15, 0.05
_STILL_RAD = 1e-4
"""Rounds of a kind end when half of the images move by less than this part of their standard error,
or by less than so much, and the resolution grows no more."""

_RELAXATION = 1.5
"""An image is part of the map that it is matched to, which holds it back where it is: a round makes
only part of the way."""

_SEARCH_NAMES = ("local", "nearby", "global")

Poses = tuple[NDArray[np.float64], NDArray[np.float64]]
"""Rotations (P, 3, 3) and displacements (P, 2)."""


@dataclass
class Round:
    """What one round of refinement did, for the report.

    Attributes:
        number: from 1.
        size: pixels of the images that the map was made from.
        search: "nearby" (displacements, or orientations about each), "global" (many orientations,
            near each and all over), or "local" (uphill).
        joined: whether both halves were matched to one map at all frequencies.
        resolution_limit_angstrom: of what was compared.
        mean_change_rad: how far images turned.
        median_change_rad: likewise, of the one in the middle.
        particles: how many images the maps were made from.
        quaternions: (P, 4) at the end of it.
    """

    number: int
    size: int
    search: str
    joined: bool
    resolution_limit_angstrom: float
    mean_change_rad: float
    median_change_rad: float
    particles: int
    quaternions: NDArray[np.float64] = field(repr=False)


@dataclass
class Refinement:
    """Refined orientations.

    Attributes:
        quaternions: (P, 4).
        shifts_px: (P, 2) as x, y: displacement of each image's content, in pixels of the input.
        misfits: (P,) mean squared difference of image and projection over the frequencies used,
            each in units of its mean over the images that are kept.
        scales: (P,) how strongly each image shows the map, 1 for a perfect particle; near 0 for
            pure noise.
        kept: (P,) whether an image is rather a view of the map than noise; the maps of the last
            round were made from these.
        standard_errors_rad: (P,) of the orientations, from the curvature of the likelihood.
        independent_quaternions: (P, 4) before the two halves were matched to one map: half maps
            made from these have an FSC that no common noise makes too good.
        independent_shifts_px: (P, 2) likewise.
        rounds: one entry a round.
    """

    quaternions: NDArray[np.float64]
    shifts_px: NDArray[np.float64]
    misfits: NDArray[np.float64]
    scales: NDArray[np.float64]
    kept: NDArray[np.bool_]
    standard_errors_rad: NDArray[np.float64]
    independent_quaternions: NDArray[np.float64]
    independent_shifts_px: NDArray[np.float64]
    rounds: list[Round]


def refine_orientations(
    images: NDArray[np.floating],
    quaternions: NDArray[np.floating],
    halves: NDArray[np.int64],
    *,
    pixel_size_angstrom: float,
    ctf: CtfParameters | None = None,
    symmetry: str = "C1",
    max_shift_px: float = 0.0,
    confidence: NDArray[np.floating] | None = None,
    threads: int = 2,
    progress: Callable[[str], None] = lambda text: None,
) -> Refinement:
    """Refines orientations against maps made from the images themselves.

    Args:
        images: (P, N, N).
        quaternions: (P, 4), right to a few tenths of a radian for most images.
        halves: (P,) 0 or 1, the half that each image belongs to.
        pixel_size_angstrom: of the images.
        ctf: of the images; None for images without.
        symmetry: point group of the particle, about the axes of `quaternions`.
        max_shift_px: how far particles may lie off the centre, in x and in y; 0 fixes them there.
        confidence: (P,) in [0, 1]; images of low confidence are searched for everywhere. None
            trusts all until they are seen not to fit.
        threads: how many to run.
        progress: called with a line a round.
    """
    full = images.shape[-1]
    pixels = resize_images(images, min(full, _MAX_SIZE))
    ratio = full / pixels.shape[-1]
    pixel_size = pixel_size_angstrom * ratio
    particles = RefinedImages(
        pixels=pixels,
        compared=ComparedImages.of(pixels, ctf, pixel_size),
        halves=np.asarray(halves),
        ctf=ctf,
        pixel_size_angstrom=pixel_size,
        symmetry=symmetry,
        max_shift_px=max_shift_px / ratio,
        threads=threads,
    )
    matching = Matching.start(quaternions_to_matrices(quaternions), confidence)
    rounds, (rotations, shifts_px) = _refine(particles, matching, progress)
    return Refinement(
        quaternions=rounds[-1].quaternions,
        shifts_px=matching.shifts_px * ratio,
        misfits=matching.misfits,
        scales=matching.scales,
        kept=matching.kept,
        standard_errors_rad=matching.standard_errors_rad,
        independent_quaternions=matrices_to_quaternions(rotations),
        independent_shifts_px=shifts_px * ratio,
        rounds=rounds,
    )


def _refine(
    particles: RefinedImages, matching: Matching, progress: Callable[[str], None]
) -> tuple[list[Round], Poses]:
    """Goes through the rounds; gives them and where the images were before the halves joined.

    `matching` holds the state before and after.
    """
    rounds: list[Round] = []
    independent: Poses = matching.rotations, matching.shifts_px
    trusted_fsc: NDArray[np.floating] | None = None
    highest = (particles.size - 1) // 2
    limit = min(_FIRST_LIMIT, highest)
    while True:
        number = len(rounds) + 1
        search = number if number <= SEARCHES else 0
        before = matching.rotations.copy(), matching.shifts_px.copy()
        done = refine_once(particles, matching, limit=limit, search=search, trusted_fsc=trusted_fsc)
        rounds.append(_report(number, done, before[0], particles, matching, search))
        progress(_line(rounds[-1]))
        grown = max(min(int(_GROWTH * done.reached) + 2, highest), limit if search else 0)
        tolerated = _STILL if trusted_fsc is None else _STILL_JOINED
        tolerated_rad = max(tolerated * float(np.median(matching.standard_errors_rad)), _STILL_RAD)
        settled = rounds[-1].median_change_rad < tolerated_rad
        still = settled and not search and (grown <= limit or trusted_fsc is not None)
        last = number == _MOST_ROUNDS
        if trusted_fsc is None and (still or number == _MOST_INDEPENDENT or last):
            independent = matching.rotations.copy(), matching.shifts_px.copy()
            trusted_fsc, still = done.fsc, done.joined >= done.compared
        if still or last:
            return rounds, independent
        if not search:
            _overrelax(matching, *before)
        if trusted_fsc is None:
            limit = grown


def _overrelax(
    matching: Matching, rotations: NDArray[np.float64], shifts_px: NDArray[np.float64]
) -> None:
    """Goes beyond where a round led from `rotations` and `shifts_px`."""
    turns = matching.rotations @ np.swapaxes(rotations, 1, 2)
    vectors = Rotation.from_matrix(turns).as_rotvec()
    matching.rotations = rotation_vectors_to_matrices(_RELAXATION * vectors) @ rotations
    matching.shifts_px = shifts_px + _RELAXATION * (matching.shifts_px - shifts_px)


def _report(
    number: int,
    done: Done,
    before: NDArray[np.float64],
    particles: RefinedImages,
    matching: Matching,
    search: int,
) -> Round:
    change = _changes(before, matching.rotations, particles.symmetry)
    box_angstrom = particles.size * particles.pixel_size_angstrom
    return Round(
        number=number,
        size=done.size,
        search=_SEARCH_NAMES[min(search, 2)],
        joined=done.joined >= done.compared,
        resolution_limit_angstrom=box_angstrom / done.compared,
        mean_change_rad=float(change.mean()),
        median_change_rad=float(np.median(change)),
        particles=int(matching.kept.sum()),
        quaternions=matrices_to_quaternions(matching.rotations),
    )


def _line(entry: Round) -> str:
    return (
        f"refinement round {entry.number}, {entry.size} px to "
        f"{entry.resolution_limit_angstrom:.1f} A: moved by {entry.mean_change_rad:.4f} rad"
    )


def _changes(
    before: NDArray[np.float64], after: NDArray[np.float64], symmetry: str
) -> NDArray[np.float64]:
    """Gives by how much orientations (P, 3, 3) turned, up to the symmetry, (P,) rad."""
    first, second = matrices_to_quaternions(before), matrices_to_quaternions(after)
    return orientation_distances(first, second, symmetry=symmetry)
