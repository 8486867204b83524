"""One round of refinement: maps of both halves, then every image matched to the map of its half."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cryotwin.imaging.ctf import CtfParameters
from cryotwin.imaging.fourier import resize_images
from cryotwin.imaging.point_groups import symmetry_matrices
from cryotwin.imaging.rotations import quaternions_to_matrices
from cryotwin.recovery.compared_images import ComparedImages
from cryotwin.recovery.half_references import make_half_references
from cryotwin.recovery.local_matching import match_images, standard_errors
from cryotwin.recovery.orientation_grid import orientation_grid
from cryotwin.recovery.orientation_search import (
    moves_within,
    search_everywhere,
    search_nearby,
    turns_within,
)
from cryotwin.recovery.reference import Reference

_MARGIN = 4
"""Shells by which a map is larger than what is compared."""

_LEAST_LIMIT = 8
SEARCHES = 3
"""Rounds that search: the first for displacements, the second near each orientation, and
everywhere for images in doubt, the last everywhere for all."""

_SEARCH_LIMIT = 12.5
"""Shells that are compared while orientations are searched for."""

_NEARBY_RAD, _NEARBY_SPACING_RAD = 0.35, 0.14
_GRID_SPACING_RAD = 0.18
_STEPS = 6
"""Gauss-Newton steps in a round, at most."""

_LEAST_VARIANCE = 1e-6
"""Of the power of a ring: even images without noise do not fit better."""

_LOOSE = 1.3
"""By how much displacements may exceed what was said: the origin of the map need not be the middle
of the images."""

_LOW_CONFIDENCE = 0.05
_NOISE_SCALE = 0.5
"""An image that shows the map at less than half of its strength is likelier noise than a view: the
log likelihood of the view, <y, S> - |S|^2 / 2, is below that of nothing."""

_DOUBTFUL_SCALE = 0.75
_PRIOR_AGAINST_FAR = 6.0
"""What an orientation from a search of everything must win in log likelihood: about the logarithm
of how many more orientations it had to choose from."""


@dataclass(frozen=True)
class RefinedImages:
    """The images, and what does not change from round to round; all in pixels of `pixels`."""

    pixels: NDArray[np.float32]
    compared: ComparedImages
    halves: NDArray[np.int64]
    ctf: CtfParameters | None
    pixel_size_angstrom: float
    symmetry: str
    max_shift_px: float
    threads: int

    @property
    def size(self) -> int:
        """N, pixels."""
        return int(self.pixels.shape[-1])


@dataclass
class Matching:
    """What a round changes; see `Refinement`."""

    rotations: NDArray[np.float64]
    shifts_px: NDArray[np.float64]
    misfits: NDArray[np.float64]
    scales: NDArray[np.float64]
    standard_errors_rad: NDArray[np.float64]
    kept: NDArray[np.bool_]
    doubtful: NDArray[np.bool_]

    @classmethod
    def start(
        cls, rotations: NDArray[np.float64], confidence: NDArray[np.floating] | None
    ) -> "Matching":
        """Begins at given orientations and without displacements."""
        count = len(rotations)
        doubtful = np.zeros(count, bool) if confidence is None else confidence < _LOW_CONFIDENCE
        return cls(
            rotations.copy(),
            np.zeros((count, 2)),
            np.ones(count),
            np.ones(count),
            np.ones(count),
            np.ones(count, dtype=bool),
            doubtful,
        )

    def judge(self) -> None:
        """Tells from the scales which images are views of the map at all, and which may not be."""
        middle = max(float(np.median(self.scales)), 1e-30)
        self.kept = self.scales > _NOISE_SCALE * middle
        if 2 * self.kept.sum() < len(self.kept):  # Nothing is seen yet; then nothing can be told.
            self.kept[:] = True
        self.doubtful = self.scales < _DOUBTFUL_SCALE * middle


@dataclass(frozen=True)
class Done:
    """What a round looked at.

    Attributes:
        size: pixels of its images.
        compared: the last shell that was compared, in cycles per box.
        reached: the last shell that the half maps agree to.
        joined: the last shell that the references of both halves have in common.
        fsc: (size // 2 + 1,) that the references were filtered by.
    """

    size: int
    compared: int
    reached: int
    joined: int
    fsc: NDArray[np.floating]


def refine_once(
    particles: RefinedImages,
    matching: Matching,
    *,
    limit: int,
    search: int = 0,
    trusted_fsc: NDArray[np.floating] | None = None,
) -> Done:
    """Makes maps of the two halves and matches every image to the map of its half.

    Args:
        particles: the images.
        matching: changed in place.
        limit: the last shell, in cycles per box, to look at.
        search: 0 goes uphill from where each image is; 1 to `SEARCHES` is the number of the
            search, see there.
        trusted_fsc: of maps of this size that were independent; then both halves are matched to
            the mean of their maps, filtered by it.
    """
    size = min(particles.size, 2 * (limit + _MARGIN))
    references = make_half_references(
        resize_images(particles.pixels, size),
        matching.rotations,
        matching.shifts_px * (size / particles.size),
        np.where(matching.kept, particles.halves, -1),
        ctf=particles.ctf,
        pixel_size_angstrom=particles.pixel_size_angstrom * particles.size / size,
        symmetry=particles.symmetry,
        joined=search > 0 or trusted_fsc is not None,
        least_limit=min(limit, _LEAST_LIMIT),
        trusted_fsc=trusted_fsc,
        threads=particles.threads,
    )
    compared = min(references.limit, limit)
    images = particles.compared.below(compared + 0.5, size)
    halves = [
        (np.flatnonzero(particles.halves == half), Reference(volume), volume)
        for half, volume in enumerate(references.volumes)
    ]
    variance = _ring_variance(particles, matching, images, halves)
    for rows, reference, volume in halves:
        match = _Match(particles, images, variance, rows, reference, volume)
        match.settle(matching, search)
    matching.misfits /= matching.misfits[matching.kept].mean()
    matching.judge()
    return Done(size, compared, references.limit, references.joined, references.fsc)


def _ring_variance(
    particles: RefinedImages,
    matching: Matching,
    images: ComparedImages,
    halves: list[tuple[NDArray[np.int64], Reference, NDArray[np.float32]]],
) -> NDArray[np.float64]:
    """Measures by how much images and slices differ in each ring, at the orientations so far.

    That is noise of any colour, and what the map still lacks.
    """
    unweighted = images.disc.weights
    errors = np.zeros(images.rings)
    for rows, reference, _ in halves:
        kept = rows[matching.kept[rows]]
        compared = reference.compare(
            images,
            unweighted,
            kept,
            matching.rotations[kept],
            matching.shifts_px[kept],
            particles.threads,
        )
        errors += compared.ring_errors.sum(axis=0)
    variance = errors / matching.kept.sum() / images.ring_weights
    return np.asarray(np.maximum(variance, _LEAST_VARIANCE * images.ring_power))


@dataclass(frozen=True)
class _Match:
    """The images `rows` of one half, to be matched to its map."""

    particles: RefinedImages
    images: ComparedImages
    variance: NDArray[np.float64]
    rows: NDArray[np.int64]
    reference: Reference
    volume: NDArray[np.float32]

    def settle(self, matching: Matching, search: int) -> None:
        """Finds where each image fits best, and writes it down."""
        rows, particles = self.rows, self.particles
        start = matching.rotations[rows], matching.shifts_px[rows]
        if search:
            start = self._search(matching, *start, search)
        match = match_images(
            self.reference,
            self.images,
            self.variance,
            rows,
            *start,
            most_shift_px=_LOOSE * particles.max_shift_px,
            steps=_STEPS,
            threads=particles.threads,
        )
        found = match.comparison
        matching.rotations[rows], matching.shifts_px[rows] = match.rotations, match.shifts_px
        matching.misfits[rows] = found.ring_errors @ (1 / self.variance)
        energy = np.maximum(found.overlaps[:, 1], np.finfo(np.float32).tiny)
        matching.scales[rows] = found.overlaps[:, 0] / energy
        matching.standard_errors_rad[rows] = standard_errors(found)

    def _search(
        self,
        matching: Matching,
        rotations: NDArray[np.float64],
        shifts_px: NDArray[np.float64],
        search: int,
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Looks for displacements and orientations at low resolution."""
        most = self.particles.max_shift_px
        low = self.images.below(_SEARCH_LIMIT, self.images.disc.size)
        variance = self.variance[: low.rings]
        spacing = self.particles.size / (3 * _SEARCH_LIMIT)
        turns = turns_within(_NEARBY_RAD, _NEARBY_SPACING_RAD)
        rotations, shifts_px, likelihood = search_nearby(
            self.reference,
            low,
            variance,
            self.rows,
            rotations,
            shifts_px,
            turns=turns if search > 1 or most == 0 else turns[:1],
            moves_px=moves_within(most if search == 1 else most / 2, spacing),
            most_shift_px=most,
            threads=self.particles.threads,
        )
        if search == 1:
            return rotations, shifts_px
        # At the last search displacements are known but for the few images that lie far off.
        last = search == SEARCHES
        chosen = np.flatnonzero(matching.doubtful[self.rows] | last)
        if not len(chosen):
            return rotations, shifts_px
        far, moved, found = search_everywhere(
            self.volume,
            low,
            variance,
            self.rows[chosen],
            shifts_px[chosen],
            grid=_even_grid(self.particles.symmetry),
            moves_px=moves_within(min(most, spacing) if last else most, spacing),
            threads=self.particles.threads,
        )
        better = found > likelihood[chosen] + _PRIOR_AGAINST_FAR
        rotations[chosen[better]], shifts_px[chosen[better]] = far[better], moved[better]
        return rotations, shifts_px


def _even_grid(symmetry: str) -> NDArray[np.float64]:
    count = 8 * np.pi**2 / _GRID_SPACING_RAD**3 / len(symmetry_matrices(symmetry))
    return quaternions_to_matrices(orientation_grid(symmetry, round(count)).quaternions)
