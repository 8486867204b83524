"""Whether particles are seen from enough sides to make a map, as their distances tell."""

import numpy as np
from numpy.typing import NDArray

from cryotwin.imaging.errors import InputError
from cryotwin.imaging.point_groups import parse_point_group
from cryotwin.imaging.randomness import keyed_generator
from cryotwin.imaging.rotations import pairwise_distances, uniform_quaternions

_SAMPLE = 400
_NARROW = 0.25
"""Share of the median distance of views from all sides, below which nine of ten must be."""

_BLIND = 0.5
"""Share of that median, above which the error of an estimator leaves nothing to judge by."""

_ONE_AXIS = 0.95
"""Share of what sets views apart that one turn of the image explains."""


def check_views(
    distances: NDArray[np.floating], *, symmetry: str = "C1", error_rad: float = 0.0
) -> None:
    """Checks that particles are not all seen from one side.

    Identical views have small distances. Views that differ by a turn in the plane do not, but
    s = (1 + 2 cos d) / 3, which is the inner product of vec(R) / sqrt(3), then has rank 3: after
    its centre is taken off, two directions hold what all nine do for views from all sides. The
    second is looked at for C1 alone.

    Args:
        distances: (P, P) rad, of all particles or a sample of them.
        symmetry: point group G, if the distances are d_G.
        error_rad: what the estimator is known to err by. If it does not tell views apart at all,
            nothing is said.

    Raises:
        InputError: they are.
    """
    sample = np.asarray(distances)[:_SAMPLE, :_SAMPLE]
    pairs = sample[np.triu_indices(len(sample), 1)]
    wide = _median_of_all_views(symmetry)
    if error_rad > _BLIND * wide:
        return
    most = float(np.quantile(pairs, 0.9))
    if most < _NARROW * wide:
        raise InputError(
            "all particles seem to be seen from one side: nine of ten estimated distances are "
            f"below {most:.2f} rad, where views from all sides have a median of {wide:.2f}; one "
            "view makes no map (or the estimator is not for these particles)"
        )
    share = turned_share(sample) if parse_point_group(symmetry) == "C1" else 0.0
    if share > _ONE_AXIS:
        raise InputError(
            "all particles seem to be seen from one side: their estimated distances are those of "
            f"turns in the plane of the image ({share:.0%} of what sets them apart); one view "
            "makes no map"
        )


def turned_share(distances: NDArray[np.floating]) -> float:
    """Gives the share of what sets views apart that two of nine directions hold.

    Args:
        distances: (P, P) rad, without symmetry.

    Returns:
        1 for views along one axis, 2/9 for views from all sides evenly.
    """
    kernel = (1 + 2 * np.cos(distances)) / 3
    centred = kernel - kernel.mean(axis=0) - kernel.mean(axis=1)[:, None] + kernel.mean()
    spectrum = np.sort(np.linalg.eigvalsh(centred))[::-1]
    # Errors of the distances lift all of them: the tenth, which is 0 without, tells by how much.
    spectrum = np.maximum(spectrum[:9] - max(spectrum[9:10].sum(), 0), 0)
    return float(spectrum[:2].sum() / max(spectrum.sum(), np.finfo(np.float64).tiny))


def _median_of_all_views(symmetry: str) -> float:
    quaternions = uniform_quaternions(_SAMPLE, keyed_generator(0, "views from all sides"))
    distances = pairwise_distances(quaternions, symmetry=symmetry)
    return float(np.median(distances[np.triu_indices(_SAMPLE, 1)]))
