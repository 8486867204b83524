"""Exhaustive projection matching of images against the true map: the limit of any orientation.

White noise is all that stands between an image and its orientation here, so the best estimate is
the most likely one: the least squared difference of image and projection over all frequencies.
Nothing is shared with `cryotwin.recovery`, so that a mistake there cannot hide here.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from cryotwin.imaging.fourier import (
    FourierDisc,
    fourier_disc,
    images_to_disc,
    resize_volume,
)
from cryotwin.imaging.rotations import matrices_to_quaternions, quaternions_to_matrices
from recovery_limits.grid_matching import Candidates, best_of_grid, domain_grid, shift_grid
from recovery_limits.likelihood_descent import Descent

Array = NDArray[np.float64]

_CROP = 1.6
"""Size of a volume that is cropped in Fourier space, over the diameter of the frequencies that are
read off it: slices lie between its samples, which takes a margin."""


@dataclass(frozen=True)
class Search:
    """How exhaustive the search is.

    Attributes:
        spacing_rad: of the grid of orientations.
        radius: frequencies of the search over the grid, cycles per box; shifts are tried a quarter
            of the shortest wave apart.
        candidates: how many orientations of an image go on from the grid, besides the truth.
        radii: frequencies of the descents, growing; all of the disc comes last, by itself.
        finalists: how many descents of an image go on from one of these to the next, besides the
            one from the truth.
        steps: at most so many Gauss-Newton steps at each.
    """

    spacing_rad: float = 0.13
    radius: float = 10.0
    candidates: int = 5
    radii: tuple[float, ...] = (10.0, 18.0, 30.0)
    finalists: int = 2
    steps: int = 10


@dataclass(frozen=True)
class Matches:
    """The most likely orientation of each of P images.

    Attributes:
        quaternions: (P, 4).
        shifts_px: (P, 2) as x, y.
        from_truth: (P,) whether the descent from the truth ended there; elsewhere a wrong
            orientation is the more likely one, and no method could know better.
    """

    quaternions: Array
    shifts_px: Array
    from_truth: NDArray[np.bool_]


def match_exhaustively(
    images: NDArray[np.float32],
    volume: NDArray[np.float32],
    true_quaternions: Array,
    true_shifts_px: Array,
    *,
    max_shift_px: float,
    symmetry: str = "C1",
    search: Search | None = None,
    threads: int = 1,
) -> Matches:
    """Finds the most likely orientation, and shift, of each image, given the true map.

    A search of all of SO(3) (under a point group, of its fundamental domain) and of all shifts at
    low resolution gives each image its best few orientations. From these and from the true one,
    Gauss-Newton descends at growing resolution, and the likeliest end is taken. That is what
    exhaustive matching converges to: an end of the descent from the truth that is the likeliest
    of all is one that a fine enough grid would find, and where noise makes another orientation
    likelier, that one counts.

    Args:
        images: (P, N, N), on the scale of the volume's projections.
        volume: (N, N, N), the true map.
        true_quaternions: (P, 4).
        true_shifts_px: (P, 2) as x, y.
        max_shift_px: neither component of a shift is further from zero; 0 fixes shifts there.
        symmetry: point group of the map.
        search: how exhaustive.
        threads: threads of the NUFFT.
    """
    search = search or Search()
    disc = fourier_disc(volume.shape[0])
    coefficients = images_to_disc(images, disc)
    candidates = _search(coefficients, volume, disc, max_shift_px, symmetry, search, threads)
    starts = _with_truth(candidates, true_quaternions, true_shifts_px)
    for radius in search.radii:
        starts = _descend(starts, coefficients, volume, disc, radius, max_shift_px, search, threads)
        starts = starts.best(search.finalists, symmetry)
    starts = _descend(starts, coefficients, volume, disc, np.inf, max_shift_px, search, threads)
    return _likeliest(starts, len(images))


def _search(
    coefficients: NDArray[np.complex64],
    volume: NDArray[np.float32],
    disc: FourierDisc,
    max_shift_px: float,
    symmetry: str,
    search: Search,
    threads: int,
) -> Candidates:
    """Gives each image's best orientations of the grid, at low resolution."""
    volume, part = _cropped(volume, disc, search.radius)
    scale = disc.size / part.size
    shifts = shift_grid(max_shift_px, disc.size / search.radius / 4)
    found = best_of_grid(
        coefficients[:, disc.radius <= search.radius],
        volume,
        part,
        domain_grid(search.spacing_rad, symmetry),
        shifts / scale,
        keep=search.candidates,
        apart_rad=2 * search.spacing_rad,
        symmetry=symmetry,
        threads=threads,
    )
    return replace(found, shifts_px=found.shifts_px * scale)


def _with_truth(candidates: Candidates, quaternions: Array, shifts_px: Array) -> Candidates:
    count = len(quaternions)
    return Candidates(
        np.concatenate([np.arange(count), candidates.owner]),
        np.concatenate([quaternions, candidates.quaternions]),
        np.concatenate([shifts_px, candidates.shifts_px]),
        np.concatenate([np.zeros(count), candidates.misfits]),
        np.concatenate([np.ones(count, dtype=bool), candidates.from_truth]),
    )


def _descend(
    starts: Candidates,
    coefficients: NDArray[np.complex64],
    volume: NDArray[np.float32],
    disc: FourierDisc,
    radius: float,
    max_shift_px: float,
    search: Search,
    threads: int,
) -> Candidates:
    used = disc.radius <= radius
    volume, part = _cropped(volume, disc, radius)
    descent = Descent(volume, part, max_shift_px > 0, threads)
    scale = disc.size / part.size
    rotations, shifts, misfits = descent.run(
        coefficients[:, used],
        starts.owner,
        quaternions_to_matrices(starts.quaternions),
        starts.shifts_px / scale,
        search.steps,
    )
    return Candidates(
        starts.owner, matrices_to_quaternions(rotations), shifts * scale, misfits, starts.from_truth
    )


def _cropped(
    volume: NDArray[np.float32], disc: FourierDisc, radius: float
) -> tuple[NDArray[np.float32], FourierDisc]:
    """Gives a volume of as few voxels as frequencies up to `radius` need, and these frequencies.

    Its transform is that of the volume, so that coefficients of the images stay what they are.
    """
    part = disc.part(disc.radius <= radius)
    size = 2 * int(np.ceil(_CROP * min(radius, disc.size)))
    if size >= disc.size:
        return volume, part
    small = resize_volume(volume, size) * np.float32((disc.size / size) ** 3)
    return small, FourierDisc(size, part.kx, part.ky, part.weights)


def _likeliest(ends: Candidates, count: int) -> Matches:
    # The last of each owner's rows, in the order of falling misfits, is its likeliest.
    order = np.lexsort((-ends.misfits, ends.owner))
    owners = ends.owner[order]
    best = order[np.append(owners[1:] != owners[:-1], True)]
    assert len(best) == count
    return Matches(ends.quaternions[best], ends.shifts_px[best], ends.from_truth[best])
