"""Where two images share a line of Fourier space, by their orientations (central-slice theorem).

Under a point group G every pair of images has |G| common lines, one for each g: the object looks
the same under R_j and under R_j g.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cryotwin.imaging.point_groups import symmetry_matrices
from cryotwin.recovery.central_lines import LINES, WeightedLines


@dataclass(frozen=True)
class LinePairs:
    """Common lines of pairs of images.

    Attributes:
        first: (n,) index of image i.
        second: (n,) index of image j.
        relative: (n, |G|, 3, 3), R_i g R_j^T for every element of the group.
    """

    first: NDArray[np.intp]
    second: NDArray[np.intp]
    relative: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.first)


def pair_up(
    matrices: NDArray[np.float64], *, symmetry: str = "C1", most_lines: int, seed: int = 0
) -> LinePairs:
    """Pairs orientations (M, 3, 3), i < j: all of them, or as many as have `most_lines` lines."""
    group = symmetry_matrices(symmetry)
    first, second = np.triu_indices(len(matrices), 1)
    most = max(1, most_lines // len(group))
    if len(first) > most:
        chosen = np.sort(np.random.default_rng(seed).permutation(len(first))[:most])
        first, second = first[chosen], second[chosen]
    copies = matrices[first][:, None] @ group
    back = np.swapaxes(matrices[second], -1, -2)[:, None]
    return LinePairs(first, second, copies @ back)


def line_places(
    relative: NDArray[np.float64], left: NDArray[np.float64], lines: int = LINES
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Places the common lines of pairs in both images: nearest of 2 `lines` over a full turn.

    The line lies along e3 x M e3 in image i and along (M^T e3) x e3 in image j, M = A Ri Rj^T A^T.

    Args:
        relative: (..., 3, 3), Ri Rj^T.
        left: A, (3, 3).
        lines: L, lines over half a turn.
    """
    axis = left[2]
    there, back = relative @ axis, np.swapaxes(relative, -1, -2) @ axis
    first = np.arctan2(there @ left[0], -(there @ left[1]))
    second = np.arctan2(-(back @ left[0]), back @ left[1])
    scale = lines / np.pi
    return (
        np.rint(first * scale).astype(np.intp) % (2 * lines),
        np.rint(second * scale).astype(np.intp) % (2 * lines),
    )


def line_agreements(
    lines: WeightedLines, pairs: LinePairs, left: NDArray[np.float64]
) -> NDArray[np.float32]:
    """Tells how well the common lines of each pair agree, in the mean over the group: (n,)."""
    first, second = line_places(pairs.relative, left)
    in_first, in_second = (pairs.first[:, None], first), (pairs.second[:, None], second)
    products = lines.products(lines.values[in_first], lines.values[in_second])
    agreements = products - lines.costs[in_first] - lines.costs[in_second]
    return np.asarray(agreements.mean(axis=1))


def mean_agreement(
    lines: WeightedLines, pairs: LinePairs, left: NDArray[np.float64] | None = None
) -> float:
    """Averages over the pairs how well their predicted common lines agree."""
    return float(line_agreements(lines, pairs, np.eye(3) if left is None else left).mean())
