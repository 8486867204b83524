"""Maps from recovered orientations, made in the frame of the truth and compared with it."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cryotwin.datasets.perturbation import PerturbedImages
from cryotwin.imaging.rotations import quaternions_to_matrices
from cryotwin.pipelines.reproduction.views import SplitViews
from cryotwin.recovery.evaluation import compare_aligned_maps
from cryotwin.recovery.reconstruction import reconstruct


@dataclass(frozen=True)
class AlignedMap:
    """A map in the frame of the true one.

    Attributes:
        volume: (N, N, N), as z, y, x.
        resolution_angstrom: where its FSC with the true map falls below 0.5, within a sphere.
    """

    volume: NDArray[np.float32]
    resolution_angstrom: float


def aligned_map(
    made: SplitViews, seen: PerturbedImages, quaternions: NDArray[np.floating], *, threads: int = 1
) -> AlignedMap:
    """Reconstructs images with orientations that were aligned with the true ones.

    Args:
        made: the projections, whose map is the true one.
        seen: the images, as the microscope shows them.
        quaternions: (P, 4), `Alignment.quaternions` of the recovered orientations: after the
            rotation of the object and the mirror image that images leave open, or after all of
            O(4), as the paper does before it reconstructs (its section 2.4).
        threads: of the FFTs.
    """
    volume = reconstruct(
        seen.images,
        quaternions_to_matrices(quaternions),
        shifts_px=seen.shifts_px,
        ctf=seen.ctf,
        pixel_size_angstrom=made.pixel_size_angstrom,
        threads=threads,
    )
    compared = compare_aligned_maps(volume, made.volume, made.pixel_size_angstrom)
    return AlignedMap(volume, compared.resolution_angstrom)
