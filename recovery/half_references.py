"""What each half of the images is compared with: its own map, filtered by what is real in it.

The two halves never see each other's map where noise matters, so that the Fourier shell
correlation (FSC) of their maps measures what is real. At low resolution, where the two agree to a
few per cent, both take the mean of the two: there is no noise to be learned there, and it keeps the
two halves in one frame (RELION joins its halves below 40 angstrom for the same reason).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cryotwin.imaging.ctf import CtfParameters
from cryotwin.recovery.masking import soft_particle_mask
from cryotwin.recovery.reconstruction import filter_shells, reconstruct_halves
from cryotwin.recovery.resolution import fourier_shell_correlation

_JOINED_FSC = 0.95
_REAL_FSC = 0.143


@dataclass(frozen=True)
class HalfReferences:
    """Two filtered maps and how far they can be trusted.

    Attributes:
        volumes: one (n, n, n) for the images of each half.
        fsc: (n // 2 + 1,) of the half maps inside a soft mask, at least 0.
        limit: the last shell, in cycles per box, before the FSC falls below 0.143.
        joined: the last shell that both volumes have in common.
    """

    volumes: tuple[NDArray[np.float32], NDArray[np.float32]]
    fsc: NDArray[np.floating]
    limit: int
    joined: int


def make_half_references(
    images: NDArray[np.float32],
    rotations: NDArray[np.float64],
    shifts_px: NDArray[np.float64],
    halves: NDArray[np.integer],
    *,
    ctf: CtfParameters | None,
    pixel_size_angstrom: float,
    symmetry: str,
    joined: bool,
    least_limit: int,
    trusted_fsc: NDArray[np.floating] | None = None,
    threads: int,
) -> HalfReferences:
    """Reconstructs both halves and filters them.

    Args:
        images: (P, n, n).
        rotations: (P, 3, 3).
        shifts_px: (P, 2).
        halves: (P,) 0 or 1; images of neither, -1, are left out.
        ctf: of the images.
        pixel_size_angstrom: of the images.
        symmetry: point group.
        joined: whether both halves take the mean of the maps at all frequencies.
        least_limit: `limit` is at least this.
        trusted_fsc: (n // 2 + 1,) to filter by, of maps that were independent; None measures it.
        threads: how many to run.
    """
    maps = reconstruct_halves(
        images,
        rotations,
        halves,
        shifts_px=shifts_px,
        ctf=ctf,
        pixel_size_angstrom=pixel_size_angstrom,
        symmetry=symmetry,
        threads=threads,
    )
    mean = (maps[0] + maps[1]) / 2
    mask = soft_particle_mask(mean)
    fsc = np.clip(fourier_shell_correlation(maps[0], maps[1], mask=mask), 0, 1)
    if trusted_fsc is not None:
        fsc = trusted_fsc
    limit = min(max(least_limit, last_shell_above(fsc, _REAL_FSC)), len(fsc) - 1)
    shells = np.arange(len(fsc))
    last = len(fsc) - 1 if joined else last_shell_above(fsc, _JOINED_FSC)
    common = shells <= last
    shared = filter_shells(mean * mask, np.where(common, 2 * fsc / (1 + fsc), 0))
    own = [filter_shells(half * mask, np.where(common, 0, fsc)) for half in maps]
    return HalfReferences((shared + own[0], shared + own[1]), fsc, limit, last)


def last_shell_above(fsc: NDArray[np.floating], threshold: float) -> int:
    """Finds the last shell before an FSC first falls below a threshold."""
    below = np.flatnonzero(fsc[1:] < threshold)
    return int(below[0]) if len(below) else len(fsc) - 1
