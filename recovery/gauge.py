"""The gauge: which of all orientations with the same distances fit the images (docs/gauge.md).

Distances do not change under R -> A R or R -> A R^T, but images do: by the central-slice theorem
two images share a line through the origin of Fourier space, and where it lies in each of them
follows from R_i R_j^T. The maximum over A and the transpose of how well the predicted common lines
agree fixes the gauge, up to the mirror image of the object, which no projections tell apart.

The search maximises the likelihood of `central_lines`. What is reported is the plain correlation
instead: it is easier to read, though wrong lines reach part of it, as images are alike at low
resolution.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cryotwin.imaging.ctf import CtfParameters
from cryotwin.imaging.microscope import shift_images
from cryotwin.imaging.point_groups import parse_point_group
from cryotwin.imaging.rotations import matrices_to_quaternions, quaternions_to_matrices
from cryotwin.recovery.central_lines import central_lines
from cryotwin.recovery.common_lines import mean_agreement, pair_up
from cryotwin.recovery.gauge_search import GaugeSearch

_IMAGES = 400
_SCORED_LINES = 40_000


@dataclass(frozen=True)
class Gauge:
    """The gauge that fits the images best.

    Attributes:
        left: (3, 3), A.
        transposed: whether R^T stands for R.
        score_before: mean correlation of the common lines of the orientations as they came.
        score_after: the same after the gauge.
        score_as_estimated: best score without the transpose.
        score_transposed: best score with it; None under a point group, which does not allow it.
    """

    left: NDArray[np.float64]
    transposed: bool
    score_before: float
    score_after: float
    score_as_estimated: float
    score_transposed: float | None

    def apply(self, quaternions: NDArray[np.floating]) -> NDArray[np.float64]:
        """Puts orientations (P, 4) into the gauge."""
        matrices = quaternions_to_matrices(quaternions)
        if self.transposed:
            matrices = np.swapaxes(matrices, -1, -2)
        return matrices_to_quaternions(self.left @ matrices)


def find_gauge(
    images: NDArray[np.floating],
    quaternions: NDArray[np.floating],
    *,
    max_shift_px: float = 0.0,
    ctf: CtfParameters | None = None,
    pixel_size_angstrom: float | None = None,
    symmetry: str = "C1",
    likely: NDArray[np.bool_] | None = None,
    seed: int = 0,
) -> Gauge:
    """Finds A and the transpose from the images' common lines (docs/gauge.md).

    Args:
        images: (P, N, N).
        quaternions: (P, 4) orientations that fit the distances.
        max_shift_px: how far particles lie off the centre of their images, in x and in y. Lines
            are then compared at their best displacement along each other.
        ctf: of the P images, or of one for all; phases are flipped before lines are compared.
        pixel_size_angstrom: of the images; a CTF needs it.
        symmetry: point group of the particle, about the axes of the orientations. Other than C1
            only A is free.
        likely: (P,), which images to choose from; None for any.
        seed: chooses the images to compare.

    Raises:
        InputError: the symmetry is unknown, or a CTF came without a pixel size.
    """
    pool = np.arange(len(images)) if likely is None else np.flatnonzero(likely)
    chosen = np.random.default_rng(seed).permutation(pool)[:_IMAGES]
    matrices = quaternions_to_matrices(np.asarray(quaternions)[chosen])
    spectra = central_lines(
        images[chosen],
        max_shift_px,
        ctf=None if ctf is None else ctf.part(chosen),
        pixel_size_angstrom=pixel_size_angstrom,
    )
    correlation = spectra.for_correlation()
    search = GaugeSearch(spectra, symmetry, seed)
    found = []
    for transposed in (False, True) if parse_point_group(symmetry) == "C1" else (False,):
        oriented = np.swapaxes(matrices, -1, -2) if transposed else matrices
        left, likelihood = search.best_left(oriented)
        found.append((likelihood, left, oriented))
    transposed = len(found) > 1 and found[1][0] > found[0][0]
    _, left, oriented = found[transposed]
    left = search.refined(oriented, left)
    scores = [mean_agreement(correlation, search.all_pairs(each), best) for _, best, each in found]
    scores[transposed] = mean_agreement(correlation, search.all_pairs(oriented), left)
    return Gauge(
        left=left,
        transposed=transposed,
        score_before=mean_agreement(correlation, search.all_pairs(matrices)),
        score_after=scores[transposed],
        score_as_estimated=scores[0],
        score_transposed=scores[1] if len(scores) > 1 else None,
    )


def common_line_score(
    images: NDArray[np.floating],
    quaternions: NDArray[np.floating],
    *,
    shifts_px: NDArray[np.floating] | None = None,
    ctf: CtfParameters | None = None,
    pixel_size_angstrom: float | None = None,
    symmetry: str = "C1",
    seed: int = 0,
) -> float:
    """Gives the mean correlation of predicted common lines: 1 if all fits, near 0 for noise.

    Wrong orientations score above 0, as images of a particle are alike at low resolution: compare.

    Args:
        images: (P, N, N).
        quaternions: (P, 4).
        shifts_px: (P, 2) as x, y, how far particles lie off the centre; None stands for zero.
        ctf: of the P images, or of one for all.
        pixel_size_angstrom: of the images; a CTF needs it.
        symmetry: point group of the particle, about the axes of the orientations.
        seed: chooses the images to compare.

    Raises:
        InputError: the symmetry is unknown, or a CTF came without a pixel size.
    """
    chosen = np.random.default_rng(seed).permutation(len(images))[:_IMAGES]
    matrices = quaternions_to_matrices(np.asarray(quaternions)[chosen])
    centred = images[chosen]
    if shifts_px is not None:
        centred = shift_images(centred, -shifts_px[chosen])
    spectra = central_lines(
        centred,
        ctf=None if ctf is None else ctf.part(chosen),
        pixel_size_angstrom=pixel_size_angstrom,
    )
    pairs = pair_up(matrices, symmetry=symmetry, most_lines=_SCORED_LINES, seed=seed)
    return mean_agreement(spectra.for_correlation(), pairs)
