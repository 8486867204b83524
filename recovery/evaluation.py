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

from cryotwin.imaging.ctf import CtfParameters
from cryotwin.imaging.errors import InputError
from cryotwin.imaging.maps import read_map, resample_map
from cryotwin.imaging.rotations import quaternions_to_matrices
from cryotwin.imaging.volume_rotation import rotate_volume
from cryotwin.recovery.alignment import Alignment, align_orientations
from cryotwin.recovery.map_alignment import MapAlignment, align_maps
from cryotwin.recovery.masking import soft_particle_mask
from cryotwin.recovery.normalisers import nearest_in_normaliser
from cryotwin.recovery.phase_randomisation import MaskedCorrelation, masked_correlation
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
    """Agreement of two maps by shells in Fourier space, all curves (N // 2 + 1,).

    Attributes:
        fsc: Fourier shell correlation within a soft sphere, the same for every map.
        resolution_angstrom: where `fsc` falls below the threshold.
        fsc_no_mask: the same over the whole box.
        resolution_no_mask_angstrom: where `fsc_no_mask` falls below the threshold.
        fsc_masked: within a soft mask about the particle.
        resolution_masked_angstrom: where `fsc_corrected` falls below the threshold, or
            `fsc_masked` against the truth, whose noise the mask cannot make agree.
        fsc_randomised: of half maps with random phases within that mask; None against the truth.
        fsc_corrected: of half maps, `fsc_masked` less what the mask makes of random phases.
        threshold: 0.143 between half maps, 0.5 against the truth.
        mask: the mask of `fsc` in words.
        particle_mask: that of `fsc_masked` in words.
    """

    fsc: NDArray[np.floating]
    resolution_angstrom: float
    fsc_no_mask: NDArray[np.floating]
    resolution_no_mask_angstrom: float
    fsc_masked: NDArray[np.floating]
    resolution_masked_angstrom: float
    fsc_randomised: NDArray[np.floating] | None
    fsc_corrected: NDArray[np.floating] | None
    threshold: float
    mask: str
    particle_mask: str


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
    first: ArrayLike,
    second: ArrayLike,
    pixel_size_angstrom: float,
    *,
    mask: NDArray[np.floating] | None = None,
) -> MapComparison:
    """Reads the resolution off two maps (N, N, N) of independent halves of the particles.

    Args:
        first: half map (N, N, N).
        second: the other.
        pixel_size_angstrom: of both.
        mask: soft mask of the particle (N, N, N); None finds it in the mean of the two.

    Raises:
        InputError: the maps are no cubes of one size, or hold NaN.
    """
    maps = np.asarray(first, np.float32), np.asarray(second, np.float32)
    bare = fourier_shell_correlation(*maps)
    if mask is None:
        mask = soft_particle_mask((maps[0] + maps[1]) / 2)
    behind = masked_correlation(*maps, mask)
    return _comparison(
        *maps, bare, behind.masked, mask, pixel_size_angstrom, HALF_MAPS_THRESHOLD, behind
    )


def compare_maps(
    volume: ArrayLike,
    true_volume: ArrayLike,
    alignment: Alignment,
    pixel_size_angstrom: float,
    *,
    symmetry: str = "C1",
    mask: NDArray[np.floating] | None = None,
) -> MapComparison:
    """Compares a map with the true one, brought into the map's frame.

    Args:
        volume: (N, N, N), reconstructed with the estimated orientations.
        true_volume: (N, N, N), in the frame of the true orientations.
        alignment: of the estimated with the true orientations, ambiguity "object".
        pixel_size_angstrom: of both maps; `read_true_map` puts another one on this grid.
        symmetry: point group that the map was given, about RELION's axes; "C1" for one without.
        mask: soft mask of the particle (N, N, N); None finds it in `volume`.

    Raises:
        InputError: the maps are no cubes of one size, or hold NaN.
    """
    estimated, true = np.asarray(volume, np.float32), np.asarray(true_volume, np.float32)
    if estimated.shape != true.shape:
        raise InputError(
            f"map and true map must have one size, not {estimated.shape} and {true.shape}"
        )
    true = to_estimated_frame(true, alignment, symmetry=symmetry)
    return compare_aligned_maps(
        estimated, match_position(true, estimated), pixel_size_angstrom, mask=mask
    )


def compare_aligned_maps(
    volume: ArrayLike,
    true_volume: ArrayLike,
    pixel_size_angstrom: float,
    *,
    mask: NDArray[np.floating] | None = None,
) -> MapComparison:
    """Compares a map (N, N, N) with the true one in the same frame, at FSC 0.5.

    Args:
        volume: the map.
        true_volume: the true one.
        pixel_size_angstrom: of both.
        mask: soft mask of the particle (N, N, N); None finds it in `volume`.

    Raises:
        InputError: the maps are no cubes of one size, or hold NaN.
    """
    maps = np.asarray(volume, np.float32), np.asarray(true_volume, np.float32)
    bare = fourier_shell_correlation(*maps)
    mask = soft_particle_mask(maps[0]) if mask is None else mask
    masked = fourier_shell_correlation(*maps, mask=mask)
    return _comparison(*maps, bare, masked, mask, pixel_size_angstrom, TRUTH_THRESHOLD)


def compare_unaligned_maps(
    volume: ArrayLike,
    true_volume: ArrayLike,
    pixel_size_angstrom: float,
    *,
    mask: NDArray[np.floating] | None = None,
) -> tuple[MapComparison, MapAlignment]:
    """Compares a map (N, N, N) with one in any other frame, when no orientations are known.

    The rotation, hand and shift are those of the best agreement (`map_alignment`).

    Args:
        volume: the map.
        true_volume: the true one, (N, N, N), anywhere in its box.
        pixel_size_angstrom: of both.
        mask: soft mask of the particle (N, N, N); None finds it in `volume`.

    Returns:
        The comparison, and how the true map was moved; it was mirrored if the hands differ.

    Raises:
        InputError: the maps are no cubes of one size, hold NaN, or are empty.
    """
    alignment = align_maps(true_volume, volume)
    moved = alignment.apply(true_volume)
    return compare_aligned_maps(volume, moved, pixel_size_angstrom, mask=mask), alignment


def compare_limit(
    images: NDArray[np.floating],
    true_quaternions: ArrayLike,
    true_volume: ArrayLike,
    pixel_size_angstrom: float,
    *,
    true_shifts_px: ArrayLike,
    ctf: CtfParameters | None = None,
    symmetry: str = "C1",
    alignment: Alignment | None = None,
    mask: NDArray[np.floating] | None = None,
) -> MapComparison:
    """Compares the map that the true orientations give with the true map: the limit set by noise.

    Args:
        images: (P, N, N).
        true_quaternions: (P, 4).
        true_volume: (N, N, N).
        pixel_size_angstrom: of the images and the map.
        true_shifts_px: (P, 2) as x, y, how far the particles lie off the centre.
        ctf: of the P images; None for images without.
        symmetry: point group of the particle.
        alignment: of estimated with the true orientations, to compare in the estimated frame;
            None compares in the true one.
        mask: soft mask of the particle (N, N, N), of the recovered map and in its frame, so that
            both are measured alike; None finds it in the map that the true orientations give.
    """
    rotations = quaternions_to_matrices(true_quaternions)
    true = np.asarray(true_volume, np.float32)
    if alignment is not None:
        left, right = alignment.left, _imposed(alignment, symmetry)
        rotations = left.T @ rotations @ right.T
        true = to_estimated_frame(true, alignment, symmetry=symmetry)
    half_maps = reconstruct_halves(
        images,
        rotations,
        np.arange(len(images)) % 2,
        shifts_px=np.asarray(true_shifts_px),
        ctf=ctf,
        pixel_size_angstrom=pixel_size_angstrom,
        symmetry=symmetry,
    )
    volume = combine_half_maps(half_maps, fourier_shell_correlation(*half_maps))
    return compare_aligned_maps(
        volume, match_position(true, volume), pixel_size_angstrom, mask=mask
    )


def to_estimated_frame(
    true_volume: ArrayLike, alignment: Alignment, *, symmetry: str = "C1"
) -> NDArray[np.float32]:
    """Turns the true map (N, N, N) into the frame of the estimated orientations.

    With R_true = A R_est B (A = `alignment.left`, B = `alignment.right`), the map that gives the
    same images under R_est is V(B^T x) for A = 1, and its mirror image V(-B^T x) for
    A = diag(-1, -1, 1).

    A map that was given a point group has its axes where RELION has them, and so has the true one:
    B is then the nearest rotation that leaves the axes in place.
    """
    inverted = not np.allclose(alignment.left, np.eye(3))
    return rotate_volume(true_volume, _imposed(alignment, symmetry), inverted=inverted)


def _imposed(alignment: Alignment, symmetry: str) -> NDArray[np.float64]:
    return nearest_in_normaliser(alignment.right, symmetry)


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
        "mask", "particle_mask"}}; "true_orientations_05" is the limit that noise sets. Each has a
        "..._no_mask" beside it, over the whole box, and a "..._masked", within "particle_mask"
        (of half maps corrected by phase randomisation).
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
            resolution[f"{name}_no_mask"] = comparison.resolution_no_mask_angstrom
            resolution[f"{name}_masked"] = comparison.resolution_masked_angstrom
            resolution["mask"] = comparison.mask
            resolution["particle_mask"] = comparison.particle_mask
    if resolution:
        metrics["resolution_angstrom"] = resolution
    return metrics


def _mean_and_median(alignment: Alignment) -> dict[str, float]:
    return {"mean": alignment.mean_error, "median": alignment.median_error}


def _comparison(
    first: NDArray[np.float32],
    second: NDArray[np.float32],
    bare: NDArray[np.floating],
    masked: NDArray[np.floating],
    particle_mask: NDArray[np.floating],
    pixel_size_angstrom: float,
    threshold: float,
    behind: MaskedCorrelation | None = None,
) -> MapComparison:
    size = len(first)
    sphere = soft_sphere_mask(size, _MASK_RADIUS * size, _MASK_EDGE * size)
    within_sphere = fourier_shell_correlation(first, second, mask=sphere)
    corrected = None if behind is None else behind.corrected

    def resolution(curve: NDArray[np.floating]) -> float:
        return resolution_at(curve, pixel_size_angstrom, threshold, size=size)

    return MapComparison(
        fsc=within_sphere,
        resolution_angstrom=resolution(within_sphere),
        fsc_no_mask=bare,
        resolution_no_mask_angstrom=resolution(bare),
        fsc_masked=masked,
        resolution_masked_angstrom=resolution(masked if corrected is None else corrected),
        fsc_randomised=None if behind is None else behind.randomised,
        fsc_corrected=corrected,
        threshold=threshold,
        mask=describe_mask(size, pixel_size_angstrom),
        particle_mask=describe_particle_mask(particle_mask, pixel_size_angstrom),
    )


def describe_mask(size: int, pixel_size_angstrom: float) -> str:
    """Says in words which mask the resolutions are taken within: a sphere, no tight mask."""
    box = size * pixel_size_angstrom
    return (
        f"soft sphere about the middle of the box, {2 * _MASK_RADIUS * box:.0f} A across, "
        f"falling to zero over {_MASK_EDGE * box:.0f} A"
    )


def describe_particle_mask(mask: NDArray[np.floating], pixel_size_angstrom: float) -> str:
    """Says in words which mask of the particle (N, N, N) a resolution is taken within."""
    volume_nm3 = float(np.sum(mask)) * (pixel_size_angstrom / 10) ** 3
    return f"soft mask about the particle, {np.mean(mask):.0%} of the box ({volume_nm3:,.0f} nm3)"
