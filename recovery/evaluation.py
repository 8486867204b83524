"""How right a recovery is: errors of the orientations, and resolution of the map.

Both orientation errors of docs/gauge.md are always reported together: the physical one, after the
best rotation of the object and its mirror image, which is all that nature leaves open; and the
paper's equation (5), after the best isometry of the distances, which no user could apply.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import scipy.fft
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from cryotwin.imaging.errors import InputError
from cryotwin.imaging.maps import read_map, resample_map
from cryotwin.imaging.rotations import quaternions_to_matrices
from cryotwin.imaging.volume_rotation import rotate_volume
from cryotwin.recovery.alignment import Alignment, align_orientations
from cryotwin.recovery.reconstruction import combine_half_maps, reconstruct_halves
from cryotwin.recovery.resolution import (
    fourier_shell_correlation,
    resolution_at,
    soft_sphere_mask,
)

HALF_MAPS_THRESHOLD = 0.143
TRUTH_THRESHOLD = 0.5

_MASK_RADIUS = 0.42
_MASK_EDGE = 0.06
_STEPS_PER_PIXEL = 20


@dataclass(frozen=True)
class Evaluation:
    """Errors of P estimated orientations.

    Attributes:
        physical: the alignment by a rotation of the object, and its mirror image if that is
            closer; `.errors` (P,) in rad.
        o4: the paper's alignment over O(4); `.errors` (P,) in rad.
    """

    physical: Alignment
    o4: Alignment

    @property
    def particles(self) -> int:
        """The number P of particles that were compared."""
        return len(self.physical.errors)

    @property
    def mirrored(self) -> bool:
        """Whether the mirror image was closer, which images cannot tell from the object."""
        return not np.allclose(self.physical.left, np.eye(3))


@dataclass(frozen=True)
class MapComparison:
    """Agreement of two maps by shells in Fourier space.

    Attributes:
        fsc: (N // 2 + 1,) Fourier shell correlation within the mask.
        resolution_angstrom: where `fsc` falls below the threshold.
        fsc_no_mask: (N // 2 + 1,) the same over the whole box.
        resolution_no_mask_angstrom: where `fsc_no_mask` falls below the threshold.
        threshold: 0.143 between half maps, 0.5 against the truth.
        mask: the mask of `fsc` in words.
    """

    fsc: NDArray[np.floating]
    resolution_angstrom: float
    fsc_no_mask: NDArray[np.floating]
    resolution_no_mask_angstrom: float
    threshold: float
    mask: str


def evaluate_orientations(
    quaternions: ArrayLike, true_quaternions: ArrayLike, *, symmetry: str = "C1"
) -> Evaluation:
    """Compares estimated orientations with the true ones, in the same order.

    Args:
        quaternions: (P, 4) estimated.
        true_quaternions: (P, 4).
        symmetry: point group of the particle.

    Raises:
        InputError: shapes that do not match, or an unknown symmetry.
    """
    physical, o4 = (
        align_orientations(quaternions, true_quaternions, ambiguity=ambiguity, symmetry=symmetry)
        for ambiguity in ("object", "o4")
    )
    return Evaluation(physical, o4)


def compare_half_maps(
    first: ArrayLike, second: ArrayLike, pixel_size_angstrom: float
) -> MapComparison:
    """Reads the resolution off two maps (N, N, N) of independent halves of the particles.

    Raises:
        InputError: the maps are no cubes of one size, or hold NaN.
    """
    return _compare(first, second, pixel_size_angstrom, HALF_MAPS_THRESHOLD)


def compare_maps(
    volume: ArrayLike, true_volume: ArrayLike, alignment: Alignment, pixel_size_angstrom: float
) -> MapComparison:
    """Compares a map with the true one, brought into the map's frame.

    Args:
        volume: (N, N, N), reconstructed with the estimated orientations.
        true_volume: (N, N, N), in the frame of the true orientations.
        alignment: of the estimated with the true orientations, ambiguity "object".
        pixel_size_angstrom: of both maps; `read_true_map` puts another one on this grid.

    Raises:
        InputError: the maps are no cubes of one size, or hold NaN.
    """
    estimated, true = np.asarray(volume, np.float32), np.asarray(true_volume, np.float32)
    if estimated.shape != true.shape:
        raise InputError(
            f"map and true map must have one size, not {estimated.shape} and {true.shape}"
        )
    true = match_position(to_estimated_frame(true, alignment), estimated)
    return _compare(estimated, true, pixel_size_angstrom, TRUTH_THRESHOLD)


def compare_limit(
    images: NDArray[np.floating],
    true_quaternions: ArrayLike,
    true_volume: ArrayLike,
    pixel_size_angstrom: float,
    *,
    true_shifts_px: ArrayLike,
) -> MapComparison:
    """Compares the map that the true orientations give with the true map: the limit set by noise.

    Args:
        images: (P, N, N).
        true_quaternions: (P, 4).
        true_volume: (N, N, N).
        pixel_size_angstrom: of the images and the map.
        true_shifts_px: (P, 2) as x, y, how far the particles lie off the centre.
    """
    half_maps = reconstruct_halves(
        images,
        quaternions_to_matrices(true_quaternions),
        np.arange(len(images)) % 2,
        shifts_px=np.asarray(true_shifts_px),
    )
    fsc = compare_half_maps(*half_maps, pixel_size_angstrom).fsc
    volume = combine_half_maps(half_maps, fsc)
    true = match_position(np.asarray(true_volume, np.float32), volume)
    return _compare(volume, true, pixel_size_angstrom, TRUTH_THRESHOLD)


def to_estimated_frame(true_volume: ArrayLike, alignment: Alignment) -> NDArray[np.float32]:
    """Turns the true map (N, N, N) into the frame of the estimated orientations.

    With R_true = A R_est B (A = `alignment.left`, B = `alignment.right`), the map that gives the
    same images under R_est is V(B^T x) for A = 1, and its mirror image V(-B^T x) for
    A = diag(-1, -1, 1).
    """
    inverted = not np.allclose(alignment.left, np.eye(3))
    return rotate_volume(true_volume, alignment.right, inverted=inverted)


def match_position(
    volume: NDArray[np.floating], reference: NDArray[np.floating]
) -> NDArray[np.float32]:
    """Moves a map (N, N, N) onto another by the shift of largest correlation.

    Where the object lies in its box is as free as its frame. The shift is found to a twentieth
    of a voxel and applied as a phase ramp.
    """
    from skimage.registration import phase_cross_correlation

    # Without normalisation: white noise beyond the resolution would drown the phases.
    shift_zyx, _, _ = phase_cross_correlation(
        reference, volume, upsample_factor=_STEPS_PER_PIXEL, normalization=None
    )
    moved = ndimage.fourier_shift(scipy.fft.fftn(volume), shift_zyx)
    return scipy.fft.ifftn(moved).real.astype(np.float32)


def read_true_map(
    path: str | Path, *, size: int, pixel_size_angstrom: float
) -> NDArray[np.float32]:
    """Reads a true map (N, N, N) on the grid of the map that it is compared with.

    A map on another grid is centred by mass and resampled: the comparison finds the shift.

    Raises:
        InputError: it is no map, or its particle does not fit into the box.
    """
    density = read_map(path)
    same_voxel = np.allclose(density.voxel_size_angstrom, pixel_size_angstrom, rtol=1e-3)
    if density.data.shape == (size,) * 3 and same_voxel:
        return density.data
    return resample_map(density, pixel_size_angstrom=pixel_size_angstrom, size=size)


def evaluation_metrics(
    *,
    particles: int,
    orientations: Evaluation | None = None,
    half_maps: MapComparison | None = None,
    against_truth: MapComparison | None = None,
    limit: MapComparison | None = None,
) -> dict[str, Any]:
    """Gives the figures of `metrics.json` and `evaluate --json` by their names; unknown ones not.

    Returns:
        {"particles", "physical_error_rad" and "o4_error_rad": {"mean", "median"},
        "resolution_angstrom": {"half_maps_0143", "against_truth_05", "true_orientations_05",
        "mask"}}; the last but one is the limit that noise sets.
    """
    metrics: dict[str, Any] = {"particles": particles}
    if orientations is not None:
        metrics["physical_error_rad"] = _mean_and_median(orientations.physical)
        metrics["o4_error_rad"] = _mean_and_median(orientations.o4)
    resolution: dict[str, Any] = {}
    for name, comparison in (
        ("half_maps_0143", half_maps),
        ("against_truth_05", against_truth),
        ("true_orientations_05", limit),
    ):
        if comparison is not None:
            resolution[name] = comparison.resolution_angstrom
            resolution["mask"] = comparison.mask
    if resolution:
        metrics["resolution_angstrom"] = resolution
    return metrics


def _mean_and_median(alignment: Alignment) -> dict[str, float]:
    return {"mean": alignment.mean_error, "median": alignment.median_error}


def _compare(
    first: ArrayLike, second: ArrayLike, pixel_size_angstrom: float, threshold: float
) -> MapComparison:
    size = len(np.asarray(first))
    mask = soft_sphere_mask(size, _MASK_RADIUS * size, _MASK_EDGE * size)
    masked = fourier_shell_correlation(first, second, mask=mask)
    bare = fourier_shell_correlation(first, second)
    return MapComparison(
        fsc=masked,
        resolution_angstrom=resolution_at(masked, pixel_size_angstrom, threshold, size=size),
        fsc_no_mask=bare,
        resolution_no_mask_angstrom=resolution_at(bare, pixel_size_angstrom, threshold, size=size),
        threshold=threshold,
        mask=describe_mask(size, pixel_size_angstrom),
    )


def describe_mask(size: int, pixel_size_angstrom: float) -> str:
    """Says in words which mask the resolutions are taken within: a sphere, no tight mask."""
    box = size * pixel_size_angstrom
    return (
        f"soft sphere about the middle of the box, {2 * _MASK_RADIUS * box:.0f} A across, "
        f"falling to zero over {_MASK_EDGE * box:.0f} A"
    )
