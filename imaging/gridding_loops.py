"""The inner loops of the gridding projector: central slices read off, and added to, a fine grid.

A sample between the points of the grid is the weighted sum of w x w x w points about it (w is the
kernel's width), with weights that are a product over the axes and polynomials in the sample's
offset. Real and imaginary parts of the w points of a row lie next to each other, so one row is one
or two vectors of the processor: `gather` and `_scatter` are written as vector instructions of
LLVM (numba's own code generator does not find them), w x w multiply-adds for a whole sample.

The grid is larger than the processor's caches and a slice crosses its rows at any angle, so the
rows of a sample are asked for several samples ahead (`prefetch`); at 128 px that takes a third off
the time.

The width travels as the length of a tuple: numba compiles the loops once for each.
"""

from collections.abc import Callable
from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

_FLOAT = ir.FloatType()
_INT = ir.IntType(32)
_BYTES = ir.IntType(8).as_pointer()

AHEAD = 8
"""Samples between asking for a row of the grid and its use."""


def row_floats(width: int) -> int:
    """Floats that are read of a row: two for each tap, in whole vectors of four."""
    return -(-2 * width // 4) * 4


def degree(width: int) -> int:
    """Degree of the polynomials that stand for a kernel of `width`, near float32's precision."""
    return width + 3


def compiled(
    function: Callable[..., Any], *, fastmath: frozenset[str] | set[str] = frozenset({"contract"})
) -> Callable[..., Any]:
    """Compiles a loop, and keeps the result on disk where a folder for it can be written."""
    options: dict[str, Any] = {"nogil": True, "fastmath": set(fastmath), "boundscheck": False}
    try:
        return numba.njit(cache=True, **options)(function)
    except RuntimeError:  # numba found no folder that it may write to.
        return numba.njit(**options)(function)


def _row(builder: Any, start: Any, strides: tuple[Any, Any], y: int, z: int) -> Any:
    """Points to the first tap of the row (y, z) of a sample."""
    steps = [builder.mul(s, ir.Constant(s.type, n)) for s, n in zip(strides, (y, z), strict=True)]
    return builder.gep(start, [builder.add(*steps)])


class Sample:
    """Writes the instructions that gathering and scattering share."""

    def __init__(self, context: Any, builder: Any, signature: Any, arguments: Any) -> None:
        grid, base, *self.strides, offsets, polynomials, _ = arguments[:7]
        self.builder, self.width = builder, signature.args[6].count
        self.double = ir.VectorType(_FLOAT, row_floats(self.width))
        grid = context.make_array(signature.args[0])(context, builder, grid)
        table = context.make_array(signature.args[5])(context, builder, polynomials)
        self.grid = builder.gep(grid.data, [base])
        self.table = builder.bitcast(table.data, _FLOAT.as_pointer())
        u = [builder.extract_value(offsets, axis) for axis in range(3)]
        self.weights_x = self._weights(u[0])
        self.weights_y, self.weights_z = self._weights(u[1]), self._weights(u[2])

    def _weights(self, offset: Any) -> Any:
        """Evaluates the polynomials of all taps at an offset (Horner): each weight twice."""
        u, size = self.splat(offset), row_floats(self.width)
        result = None
        for power in range(degree(self.width) + 1):
            row = self.load(self.builder.gep(self.table, [ir.Constant(_INT, power * size)]))
            result = row if result is None else self.multiply_add(result, u, row)
        return result

    def row(self, y: int, z: int) -> Any:
        """Points to the first tap of the row (y, z)."""
        return _row(self.builder, self.grid, self.strides, y, z)

    def splat(self, scalar: Any) -> Any:
        """Spreads a number over a vector."""
        undefined = ir.Constant(self.double, ir.Undefined)
        first = self.builder.insert_element(undefined, scalar, ir.Constant(_INT, 0))
        zeros = ir.Constant(ir.VectorType(_INT, self.double.count), [0] * self.double.count)
        return self.builder.shuffle_vector(first, undefined, zeros)

    def tap(self, weights: Any, index: int) -> Any:
        """Spreads the weight of one tap over a vector."""
        undefined = ir.Constant(self.double, ir.Undefined)
        chosen = [2 * index] * self.double.count
        mask = ir.Constant(ir.VectorType(_INT, self.double.count), chosen)
        return self.builder.shuffle_vector(weights, undefined, mask)

    def multiply_add(self, a: Any, b: Any, c: Any) -> Any:
        """Gives a b + c."""
        kind = ir.FunctionType(self.double, [self.double] * 3)
        name = f"llvm.fmuladd.v{self.double.count}f32"
        function = cgutils.get_or_insert_function(self.builder.module, kind, name)
        return self.builder.call(function, [a, b, c])

    def load(self, pointer: Any) -> Any:
        """Reads a vector."""
        vector = self.builder.bitcast(pointer, self.double.as_pointer())
        return self.builder.load(vector, align=4)

    def store(self, value: Any, pointer: Any) -> None:
        """Writes a vector."""
        vector = self.builder.bitcast(pointer, self.double.as_pointer())
        self.builder.store(value, vector, align=4)


def _generate_gather(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    sample = Sample(context, builder, signature, arguments)
    zero = ir.Constant(sample.double, [0.0] * sample.double.count)
    total = zero
    for z in range(sample.width):
        plane = zero
        for y in range(sample.width):
            row = sample.load(sample.row(y, z))
            plane = sample.multiply_add(row, sample.tap(sample.weights_y, y), plane)
        total = sample.multiply_add(plane, sample.tap(sample.weights_z, z), total)
    total = builder.fmul(total, sample.weights_x)
    sums = []
    for part in (0, 1):
        value = None
        for tap in range(sample.width):
            term = builder.extract_element(total, ir.Constant(_INT, 2 * tap + part))
            value = term if value is None else builder.fadd(value, term)
        sums.append(value)
    return context.make_tuple(builder, signature.return_type, sums)


def _generate_scatter(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    sample = Sample(context, builder, signature, arguments)
    value = ir.Constant(sample.double, ir.Undefined)
    for part in range(sample.double.count):
        scalar = builder.extract_value(arguments[7], part % 2)
        value = builder.insert_element(value, scalar, ir.Constant(_INT, part))
    value = builder.fmul(value, sample.weights_x)
    for z in range(sample.width):
        plane = builder.fmul(value, sample.tap(sample.weights_z, z))
        for y in range(sample.width):
            pointer = sample.row(y, z)
            weight = sample.tap(sample.weights_y, y)
            sample.store(sample.multiply_add(plane, weight, sample.load(pointer)), pointer)
    return context.get_dummy_value()


def _generate_prefetch(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    grid, base, *strides, _ = arguments
    width = signature.args[4].count
    data = context.make_array(signature.args[0])(context, builder, grid).data
    middle = builder.gep(data, [builder.add(base, ir.Constant(base.type, width))])
    kind = ir.FunctionType(ir.VoidType(), [_BYTES, _INT, _INT, _INT])
    function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0i8")
    read_keep_data = [ir.Constant(_INT, flag) for flag in (0, 3, 1)]
    for z in range(width):
        for y in range(width):
            row = builder.bitcast(_row(builder, middle, strides, y, z), _BYTES)
            builder.call(function, [row, *read_keep_data])
    return context.get_dummy_value()


@intrinsic
def gather(typing, grid, base, stride_y, stride_z, offsets, polynomials, taps):
    """Sums the grid about a sample; (real, imaginary)."""
    result = types.UniTuple(types.float32, 2)
    return result(grid, base, stride_y, stride_z, offsets, polynomials, taps), _generate_gather


@intrinsic
def _scatter(typing, grid, base, stride_y, stride_z, offsets, polynomials, taps, value):
    """Adds a value (real, imaginary) to the grid about a sample: the transpose of `gather`."""
    signature = types.void(grid, base, stride_y, stride_z, offsets, polynomials, taps, value)
    return signature, _generate_scatter


@intrinsic
def prefetch(typing, grid, base, stride_y, stride_z, taps):
    """Asks for the rows about a sample."""
    return types.void(grid, base, stride_y, stride_z, taps), _generate_prefetch


@numba.njit(inline="always")
def _tap_and_offset(position, width):
    """First grid point that a sample touches, and where the sample lies, in [-1, 1]."""
    edge = position - 0.5 * width
    first = np.int64(np.ceil(edge))
    return first, np.float32(2 * (first - edge) - 1)


@numba.njit(inline="always")
def locate(kx, ky, axes, layout, width):
    """Where in memory the taps of a sample begin, its offsets, and the sign of its x.

    A sample at x < 0 is the conjugate of the one across the origin.
    """
    x = kx * axes[0, 0] + ky * axes[1, 0]
    side = -1.0 if x < 0 else 1.0
    ix, ux = _tap_and_offset(side * x, width)
    iy, uy = _tap_and_offset(side * (kx * axes[0, 1] + ky * axes[1, 1]), width)
    iz, uz = _tap_and_offset(side * (kx * axes[0, 2] + ky * axes[1, 2]), width)
    stride_y, stride_z, origin = layout
    return origin + 2 * ix + stride_y * iy + stride_z * iz, (ux, uy, uz), np.float32(side)


@compiled
def read_slices(grid, rows, layout, kx, ky, phases, polynomials, taps, spectra):
    """Fills the spectra of images from the grid.

    Args:
        grid: flat float32, the real and imaginary parts of a (z, y, x) array.
        rows: (P, 2, 3), the detector's axes in grid points per cycle per box.
        layout: floats from y to y + 1 and from z to z + 1, and the place of (0, 0, 0).
        kx: (K,), with `ky` the frequencies of a slice in cycles per box.
        ky: (K,).
        phases: (K,) complex64, put on the coefficients.
        polynomials: (degree + 1, row_floats), the highest power first.
        taps: a tuple as long as the kernel is wide.
        spectra: (P, N, N // 2 + 1) complex64, filled inside the disc.
    """
    stride_y, stride_z, _ = layout
    size, last = spectra.shape[1], len(kx) - 1
    for p in range(len(rows)):
        axes = rows[p]
        for k in range(len(kx)):
            later = min(k + AHEAD, last)
            base, _, _ = locate(kx[later], ky[later], axes, layout, len(taps))
            prefetch(grid, base, stride_y, stride_z, taps)
            base, offsets, side = locate(kx[k], ky[k], axes, layout, len(taps))
            re, im = gather(grid, base, stride_y, stride_z, offsets, polynomials, taps)
            row = ky[k] if ky[k] >= 0 else ky[k] + size
            spectra[p, row, kx[k]] = np.complex64(complex(re, side * im)) * phases[k]


@compiled
def add_slices(grid, rows, layout, kx, ky, polynomials, taps, slices):
    """Adds coefficients `slices` (P, K) to the grid: the transpose of `read_slices`."""
    stride_y, stride_z, _ = layout
    last = len(kx) - 1
    for p in range(len(rows)):
        axes = rows[p]
        for k in range(len(kx)):
            later = min(k + AHEAD, last)
            base, _, _ = locate(kx[later], ky[later], axes, layout, len(taps))
            prefetch(grid, base, stride_y, stride_z, taps)
            base, offsets, side = locate(kx[k], ky[k], axes, layout, len(taps))
            value = (slices[p, k].real, side * slices[p, k].imag)
            _scatter(grid, base, stride_y, stride_z, offsets, polynomials, taps, value)
