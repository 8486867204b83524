"""Distance heads without a symmetry of their own, and what every head can do.

A head reads the distance of two orientations off the squared lengths |f - g|^2 between the blocks
of two features. Its formula stands once, in `distance`, and is used three ways: for rows of two
batches and for all pairs of one batch as Keras operations, and for all pairs in NumPy.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray

from cryotwin.imaging.errors import InputError


@dataclass(frozen=True)
class Calculus:
    """The functions that a formula is computed with.

    Attributes:
        functions: `keras.ops` or `numpy`.
        tiny: under the square root of a squared length: keeps the gradient finite where two
            features agree; the distance of identical images becomes about 1e-6 instead of 0.
        near_pi: under the square root of 1 - u^2: keeps the gradient of arcsin u finite at u = 1.
    """

    functions: Any
    tiny: float
    near_pi: float

    def half_angle(self, squared_sine: Any) -> Any:
        """Gives arcsin(sqrt(x)) for x clipped to [0, 1]."""
        f = self.functions
        # arcsin u as an arctan2: its gradient is finite at u = 1.
        sine = f.minimum(f.maximum(squared_sine, 0.0), 1.0)
        return f.arctan2(f.sqrt(sine + self.tiny), f.sqrt((1.0 - sine) + self.near_pi))

    def with_slopes(self, value: Any, *slopes: tuple[Any, Any]) -> Any:
        """Gives `value` with the derivative `slope` for each (argument, slope)."""
        if self.functions is np:
            return value
        result = ops.stop_gradient(value)
        for argument, slope in slopes:
            change = argument - ops.stop_gradient(argument)
            result = result + ops.stop_gradient(slope) * change
        return result


KERAS = Calculus(ops, tiny=1e-12, near_pi=1e-7)
NUMPY = Calculus(np, tiny=0.0, near_pi=0.0)

_TINY_LENGTH = 1e-12


class Head(ABC):
    """From the features of two images to the distance between their orientations.

    Attributes:
        name: one of `cryotwin.models.heads.HEADS`.
        symmetry: the point group whose distance it is trained for.
        quotas: the share of each block in the features.
        angular_order: features that make the head exact turn with an image in its plane by parts
            up to exp(i m angle), m being this.
    """

    name: str
    quotas: tuple[int, ...] = (1,)
    angular_order: int = 1

    def __init__(self, symmetry: str = "C1") -> None:
        self.symmetry = symmetry

    @property
    def layer_name(self) -> str:
        """The name of the layer of a model that is this head."""
        group = "" if self.symmetry == "C1" else f"_{self.symmetry}"
        return f"{self.name}{group}_head"

    def block_sizes(self, feature_dim: int) -> tuple[int, ...]:
        """Splits features (B, D) in contiguous blocks, each normalised by itself.

        Raises:
            InputError: D is too small for the blocks.
        """
        least = sum(self.quotas)
        if feature_dim < least:
            with_group = "" if self.symmetry == "C1" else f" for the {self.name} head of this group"
            raise InputError(f"feature_dim must be at least {least}{with_group}, not {feature_dim}")
        sizes = [feature_dim * quota // least for quota in self.quotas[:-1]]
        return (*sizes, feature_dim - sum(sizes))

    def turning_sizes(self, feature_dim: int) -> tuple[int, ...]:
        """Splits features (B, D) in parts that turn with the image, each with all its orders.

        They are contiguous; features that are left over after them do not turn.
        """
        return self.block_sizes(feature_dim)

    def normalise(self, features: keras.KerasTensor) -> keras.KerasTensor:
        """Puts every block of features (B, D) on the unit sphere."""
        return _join([_unit(block) for block in self.split(features)])

    @abstractmethod
    def distance(self, squares: Sequence[Any], calculus: Calculus) -> Any:
        """Gives distances in rad from |f - g|^2 of each block, all of one shape."""

    def distances_of_rows(
        self, first: keras.KerasTensor, second: keras.KerasTensor
    ) -> keras.KerasTensor:
        """Gives the distance between each row of two features (B, D): (B, 1) rad."""
        return self.distance(self._squares_of_rows(first, second), KERAS)

    def distances_of_pairs(self, features: keras.KerasTensor) -> keras.KerasTensor:
        """Gives the distances between all features (B, D) of a batch: (B, B) rad."""
        return self.distance(self._squares_of_table(features, features, ops), KERAS)

    def distances_in_numpy(
        self, first: NDArray[np.floating], second: NDArray[np.floating]
    ) -> NDArray[np.float64]:
        """Gives the distances between features (P, D) and (L, D) as products: (P, L) rad."""
        first, second = first.astype(np.float64), second.astype(np.float64)
        table: NDArray[np.float64] = self.distance(self._squares_of_table(first, second, np), NUMPY)
        return table

    def split(self, features: Any) -> list[Any]:
        """Gives the blocks of features (B, D) or (D,)."""
        ends = np.cumsum(self.block_sizes(features.shape[-1]))
        return [features[..., start:end] for start, end in zip([0, *ends], ends, strict=False)]

    def _squares_of_rows(self, first: Any, second: Any) -> list[Any]:
        return [
            ops.sum(ops.square(f - g), axis=-1, keepdims=True)
            for f, g in zip(self.split(first), self.split(second), strict=True)
        ]

    def _squares_of_table(self, first: Any, second: Any, functions: Any) -> list[Any]:
        return [
            squares_of_table(f, g, functions)
            for f, g in zip(self.split(first), self.split(second), strict=True)
        ]


def squares_of_table(first: Any, second: Any, functions: Any) -> Any:
    """Gives |f - g|^2 between all of (P, D) and (L, D), as a product: (P, L)."""
    lengths = [functions.sum(functions.square(part), axis=1) for part in (first, second)]
    products = functions.matmul(first, functions.transpose(second))
    return functions.maximum(lengths[0][:, None] + lengths[1][None, :] - 2.0 * products, 0.0)


class So3Head(Head):
    """d = 2 arcsin(min(1, sqrt(3/8) |f - g|)): <f, g> stands for tr(Ri^T Rj) / 3."""

    name = "so3"

    def distance(self, squares: Sequence[Any], calculus: Calculus) -> Any:
        """See `Head.distance`."""
        return 2.0 * calculus.half_angle(squares[0] * (3.0 / 8.0))


class CosineHead(Head):
    """d = 2 arccos <f, g>, the paper's 2.2; the same formula for any symmetry."""

    name = "cosine"
    angular_order = 3

    def distance(self, squares: Sequence[Any], calculus: Calculus) -> Any:
        """See `Head.distance`."""
        # Half the angle between the features has the sine |f - g| / 2; d is four times that.
        return calculus.functions.minimum(4.0 * calculus.half_angle(squares[0] / 4.0), float(np.pi))


class EuclideanHead(Head):
    """d = |f - g|, the paper's Appendix D, not bounded by pi; the same for any symmetry."""

    name = "euclidean"
    angular_order = 3

    def normalise(self, features: keras.KerasTensor) -> keras.KerasTensor:
        """Leaves features (B, D) as they are."""
        return features

    def distance(self, squares: Sequence[Any], calculus: Calculus) -> Any:
        """See `Head.distance`."""
        return calculus.functions.sqrt(squares[0] + calculus.tiny)


def _unit(block: Any) -> Any:
    return block / ops.sqrt(ops.sum(ops.square(block), axis=-1, keepdims=True) + _TINY_LENGTH)


def _join(blocks: list[Any]) -> Any:
    return blocks[0] if len(blocks) == 1 else ops.concatenate(blocks, axis=-1)
