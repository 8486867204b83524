"""Distance heads that are exact for a point group G: d_G(Ri, Rj) = min over g of d(Ri, Rj g).

With M = Ri^T Rj and c_k the columns of R, the largest trace of M g is no inner product of features
(docs/distance-head.md). Here it is read off several that are: kernels that G leaves as they are, a
block of features for each, or, where there is no such form, compared over all g.

The formulas have square roots and quotients whose derivatives grow without bound where a kernel
vanishes. Their values are exact; their slopes are bounded, so that one such pair does not
outweigh a batch.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from keras import ops

from cryotwin.imaging.point_groups import symmetry_matrices
from cryotwin.models.plain_heads import Calculus, Head, So3Head, squares_of_table

MOST_TURNS = 4
"""The largest n for which the form of `CyclicHead` is used: its kernel of degree n fades as
cos(tilt / 2)^(2 n), and with it, beyond single precision, what tells the angle about the axis."""

_LEAST = 1e-30
"""In place of a divisor that is zero."""

_LEAST_ROOT = 0.1
"""The slope of a root or a quotient grows down to this size of the divisor, and then no more."""


class DihedralTwoHead(Head):
    """D2, from the kernels M_kk^2 (features c_k (x) c_k) and M11 M22 M33 (c1 (x) c2 (x) c3).

    The signs of two of M11, M22, M33 can be changed at a time, so the largest trace is
    |Ma| + |Mb| + |Mc|, or where their product is negative |Ma| + |Mb| - |Mc|, Mc the smallest.
    """

    name = "so3"
    quotas = (1, 1, 1, 2)
    angular_order = 3

    def distance(self, squares: Sequence[Any], calculus: Calculus) -> Any:
        """See `Head.distance`."""
        f = calculus.functions
        kernels = [1.0 - square / 2.0 for square in squares]
        m1, m2, m3 = (_safe_root(kernel, calculus) for kernel in kernels[:3])
        least = f.minimum(f.minimum(m1, m2), m3)
        larger = f.maximum(f.maximum(m1 * m2, m1 * m3), m2 * m3)
        sign = kernels[3] / f.maximum(larger * least, _LEAST)
        sign = f.minimum(f.maximum(sign, -1.0), 1.0)
        last = calculus.with_slopes(
            sign * least,
            (least, sign),
            (kernels[3], 1.0 / f.maximum(larger, _LEAST_ROOT)),
        )
        # 3 less the trace, without the digits that 3 - t would lose.
        lost = sum(
            f.minimum(square / 2.0, 1.0) / (1.0 + m)
            for square, m in zip(squares[:3], (m1, m2, m3), strict=True)
        )
        return 2.0 * calculus.half_angle((lost + least - last) / 4.0)


class CyclicHead(Head):
    """C_n, from M33 (features c3) and Re[((M11 + M22) + i (M12 - M21))^n] (c1 + i c2, n times).

    With M33 = 2 h - 1 the second is, up to scale, h^n cos(n delta), delta being the turn about the
    axis that remains; then cos(d_G / 2) = sqrt(h) cos(delta / 2) with delta in [0, pi / n].
    """

    name = "so3"
    quotas = (1, 3)

    def __init__(self, symmetry: str) -> None:
        super().__init__(symmetry)
        self.order = int(symmetry[1:])
        self.angular_order = self.order

    def distance(self, squares: Sequence[Any], calculus: Calculus) -> Any:
        """See `Head.distance`."""
        f, n = calculus.functions, self.order
        h = f.maximum(1.0 - squares[0] / 4.0, 0.0)
        power = h**n
        kernel = 1.0 - squares[1] / 2.0
        cosine = f.minimum(f.maximum(kernel / f.maximum(power, _LEAST), -1.0), 1.0)
        delta = f.arccos(cosine) / n
        half_turn = f.square(f.sin(delta / 2.0))
        # d half_turn / d cosine = -sin(delta) / (2 n sin(n delta)), the quotient bounded.
        ratio = _sine_ratio(f.cos(delta), n)
        slope = -0.5 / (n * f.maximum(ratio, _LEAST_ROOT)) / f.maximum(power, _LEAST_ROOT)
        half_turn = calculus.with_slopes(
            half_turn, (kernel, slope), (h, -slope * cosine * n * h ** (n - 1))
        )
        return 2.0 * calculus.half_angle(squares[0] / 4.0 + h * half_turn)


class NearestCopyHead(So3Head):
    """Any G: the least of |f - rho(g) f'|^2 over g, features laid out as (3, D / 3).

    Exact for the columns of R one after the other. The network has to choose one of the
    orientations that look the same, and no choice is continuous. Features that are left over when
    D is divided by three are zero.
    """

    quotas = (1, 1, 1)

    def __init__(self, symmetry: str) -> None:
        super().__init__(symmetry)
        self._group = symmetry_matrices(symmetry)

    def block_sizes(self, feature_dim: int) -> tuple[int, ...]:
        """Gives one block of all features: they are normalised together."""
        super().block_sizes(feature_dim)
        return (feature_dim,)

    def turning_sizes(self, feature_dim: int) -> tuple[int, ...]:
        """Gives the three columns: a turn of the image acts on each of them alike."""
        return (feature_dim // 3,) * 3

    def normalise(self, features: Any) -> Any:
        """Puts features (B, D) on the unit sphere, those left over at zero."""
        used = np.arange(features.shape[-1]) < features.shape[-1] // 3 * 3
        return super().normalise(features * used.astype(np.float32))

    def _squares_of_rows(self, first: Any, second: Any) -> list[Any]:
        squares = [
            ops.sum(ops.square(first - copy), axis=-1, keepdims=True)
            for copy in self._copies(second, ops)
        ]
        return [ops.min(ops.stack(squares), axis=0)]

    def _squares_of_table(self, first: Any, second: Any, functions: Any) -> list[Any]:
        least = None
        for copy in self._copies(second, functions):
            squares = squares_of_table(first, copy, functions)
            least = squares if least is None else functions.minimum(least, squares)
        return [least]

    def _copies(self, features: Any, functions: Any) -> list[Any]:
        """Gives the features (B, D) of R g for each g: column b becomes sum over a of c_a g_ab."""
        third = features.shape[-1] // 3
        columns = [features[..., third * a : third * (a + 1)] for a in range(3)]
        rest = features[..., 3 * third :]
        return [
            functions.concatenate(
                [*(sum(float(g[a, b]) * columns[a] for a in range(3)) for b in range(3)), rest],
                axis=-1,
            )
            for g in self._group
        ]


def symmetric_so3_head(symmetry: str) -> Head:
    """Gives the so3 head of a point group other than C1, a name as `parse_point_group` gives it."""
    if symmetry == "D2":
        return DihedralTwoHead(symmetry)
    if symmetry[0] == "C" and int(symmetry[1:]) <= MOST_TURNS:
        return CyclicHead(symmetry)
    return NearestCopyHead(symmetry)


def _safe_root(kernel: Any, calculus: Calculus) -> Any:
    """Gives sqrt(max(x, 0)), with a slope that is bounded, and not zero where x < 0."""
    f = calculus.functions
    root = f.sqrt(f.maximum(kernel, 0.0))
    return calculus.with_slopes(root, (kernel, 0.5 / f.maximum(root, _LEAST_ROOT)))


def _sine_ratio(cosine: Any, order: int) -> Any:
    """Gives sin(n x) / sin(x) from cos(x): the Chebyshev polynomial U_{n-1}."""
    previous, current = 0.0 * cosine, 1.0 + 0.0 * cosine
    for _ in range(order - 1):
        previous, current = current, 2.0 * cosine * current - previous
    return current
