"""Central slices with their slopes, and how well images agree with them: loops for matching.

What the gridding projector reads of a volume's transform (`gridding_loops`) has a derivative with
respect to where it is read: the same sum over the same points of the grid with the derivative of
the kernel in place of the kernel. So value and gradient take the memory of one slice, and the
residual of an image, its derivatives with respect to orientation and displacement, and their
products can be summed up sample by sample without being stored.
"""

from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic
from numpy.typing import NDArray

from cryotwin.imaging.gridding_loops import (
    AHEAD,
    Sample,
    compiled,
    gather,
    locate,
    prefetch,
)

FREE = 5
"""Degrees of freedom of an image: a turn about x, y and z, and a displacement along x and y."""


def differentiate(polynomials: NDArray[np.float32]) -> NDArray[np.float32]:
    """Differentiates the polynomials of a kernel's taps with respect to the sample's place.

    The polynomials are in u = 1 - 2 (place - whole number), so that du = -2 per grid point.
    """
    powers = np.arange(len(polynomials) - 1, 0, -1, dtype=np.float32)
    slopes = np.zeros_like(polynomials)
    slopes[1:] = -2 * powers[:, None] * polynomials[:-1]
    return slopes


def _generate_gather_slopes(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    sample = Sample(context, builder, signature, arguments)
    slopes = Sample(context, builder, signature, _with_table(arguments, arguments[7]))
    zero = ir.Constant(sample.double, [0.0] * sample.double.count)
    value = along_y = along_z = zero
    for z in range(sample.width):
        plane = plane_y = zero
        for y in range(sample.width):
            row = sample.load(sample.row(y, z))
            plane = sample.multiply_add(row, sample.tap(sample.weights_y, y), plane)
            plane_y = sample.multiply_add(row, sample.tap(slopes.weights_y, y), plane_y)
        weight = sample.tap(sample.weights_z, z)
        value = sample.multiply_add(plane, weight, value)
        along_y = sample.multiply_add(plane_y, weight, along_y)
        along_z = sample.multiply_add(plane, sample.tap(slopes.weights_z, z), along_z)
    vectors = [
        builder.fmul(value, sample.weights_x),
        builder.fmul(value, slopes.weights_x),
        builder.fmul(along_y, sample.weights_x),
        builder.fmul(along_z, sample.weights_x),
    ]
    sums = []
    for vector in vectors:
        for part in (0, 1):
            total = None
            for tap in range(sample.width):
                term = builder.extract_element(vector, ir.Constant(ir.IntType(32), 2 * tap + part))
                total = term if total is None else builder.fadd(total, term)
            sums.append(total)
    return context.make_tuple(builder, signature.return_type, sums)


def _with_table(arguments: Any, table: Any) -> list[Any]:
    return [*arguments[:5], table, *arguments[6:]]


@intrinsic
def _gather_slopes(typing, grid, base, stride_y, stride_z, offsets, polynomials, taps, slopes):
    """Sums the grid about a sample: value, d/dx, d/dy, d/dz, each (real, imaginary)."""
    result = types.UniTuple(types.float32, 8)
    signature = result(grid, base, stride_y, stride_z, offsets, polynomials, taps, slopes)
    return signature, _generate_gather_slopes


@numba.njit(inline="always")
def _fill_phases(shift, size, along_x, along_y):
    """Tables of exp(2 pi i k t / N) for kx >= 0 and for ky from -N / 2: they undo a shift."""
    turn_x, turn_y = 2 * np.pi * shift[0] / size, 2 * np.pi * shift[1] / size
    for k in range(len(along_x)):
        along_x[k] = complex(np.cos(turn_x * k), np.sin(turn_x * k))
    for index in range(len(along_y)):
        k = index - len(along_y) // 2
        along_y[index] = complex(np.cos(turn_y * k), np.sin(turn_y * k))


@compiled
def linearise_images(
    grid,
    layout,
    polynomials,
    slopes,
    taps,
    per_cycle,
    frame,
    kx,
    ky,
    rings,
    weights,
    images,
    transfer,
    chosen,
    rotations,
    shifts,
    ring_errors,
    gradients,
    normals,
    overlaps,
):
    """Compares images with slices, and sums up what a Gauss-Newton step needs.

    With y an image, C its CTF, t its displacement and S the slice at its orientation, the residual
    is y exp(2 pi i k t / N) - C S at each frequency k.

    Args:
        grid: flat float32, the real and imaginary parts of a (z, y, x) array.
        layout: floats from y to y + 1 and from z to z + 1, and the place of (0, 0, 0).
        polynomials: of the kernel, (degree + 1, row_floats).
        slopes: their derivatives, likewise.
        taps: a tuple as long as the kernel is wide.
        per_cycle: grid points per cycle per box.
        frame: N, pixels of the box of the images.
        kx: (K,), with `ky` the frequencies to compare, cycles per box.
        ky: (K,).
        rings: (K,) of each frequency, below R.
        weights: (K,) of each squared residual.
        images: (P, K) complex64.
        transfer: (P, K) or (1, K) float32, C.
        chosen: (n,) which images to compare.
        rotations: (n, 3, 3).
        shifts: (n, 2) in pixels.
        ring_errors: (n, R) filled with sums of |residual|^2 times the multiplicity of each
            frequency (2, or 1 at kx = 0).
        gradients: (n, 5) filled with the sums of weight Re(J* residual).
        normals: (n, 5, 5) filled with the sums of weight Re(J* J).
        overlaps: (n, 2) filled with the sums of weight Re(y* C S) and weight |C S|^2.
    """
    stride_y, stride_z, _ = layout
    count = len(kx)
    scale = np.float32(2 * np.pi / frame)
    along_x = np.empty(frame // 2 + 1, dtype=np.complex64)
    along_y = np.empty(2 * (frame // 2) + 1, dtype=np.complex64)
    half = frame // 2
    real, imaginary = np.empty(FREE, dtype=np.float32), np.empty(FREE, dtype=np.float32)
    sums = np.empty(2 * FREE + FREE * (FREE - 1) // 2, dtype=np.float64)
    for n in range(len(chosen)):
        p = chosen[n]
        c = p if len(transfer) > 1 else 0
        turn = rotations[n].astype(np.float32)
        axes = rotations[n, :2] * per_cycle
        _fill_phases(shifts[n], frame, along_x, along_y)
        sums[:] = 0
        ring_errors[n] = 0
        product = energy = 0.0
        for k in range(count):
            later = min(k + AHEAD, count - 1)
            base, _, _ = locate(kx[later], ky[later], axes, layout, len(taps))
            prefetch(grid, base, stride_y, stride_z, taps)
            base, offsets, side = locate(kx[k], ky[k], axes, layout, len(taps))
            v = _gather_slopes(grid, base, stride_y, stride_z, offsets, polynomials, taps, slopes)
            contrast = transfer[c, k]
            re, im = contrast * v[0], contrast * side * v[1]
            # The other half of the grid is the conjugate at the opposite place.
            to_re, to_im = contrast * side * np.float32(per_cycle), contrast * np.float32(per_cycle)
            hx_re = to_re * (turn[0, 0] * v[2] + turn[0, 1] * v[4] + turn[0, 2] * v[6])
            hx_im = to_im * (turn[0, 0] * v[3] + turn[0, 1] * v[5] + turn[0, 2] * v[7])
            hy_re = to_re * (turn[1, 0] * v[2] + turn[1, 1] * v[4] + turn[1, 2] * v[6])
            hy_im = to_im * (turn[1, 0] * v[3] + turn[1, 1] * v[5] + turn[1, 2] * v[7])
            hz_re = to_re * (turn[2, 0] * v[2] + turn[2, 1] * v[4] + turn[2, 2] * v[6])
            hz_im = to_im * (turn[2, 0] * v[3] + turn[2, 1] * v[5] + turn[2, 2] * v[7])
            fx, fy = np.float32(kx[k]), np.float32(ky[k])
            # A turn w of the detector moves the frequency k by k x w in its frame.
            real[0], imaginary[0] = -hz_re * fy, -hz_im * fy
            real[1], imaginary[1] = hz_re * fx, hz_im * fx
            real[2], imaginary[2] = hx_re * fy - hy_re * fx, hx_im * fy - hy_im * fx
            real[3], imaginary[3] = scale * fx * im, -scale * fx * re
            real[4], imaginary[4] = scale * fy * im, -scale * fy * re
            target = images[p, k] * along_x[kx[k]] * along_y[ky[k] + half]
            gap_re, gap_im = target.real - re, target.imag - im
            weight = weights[k]
            squared = gap_re * gap_re + gap_im * gap_im
            ring_errors[n, rings[k]] += squared if kx[k] == 0 else 2 * squared
            product += weight * (target.real * re + target.imag * im)
            energy += weight * (re * re + im * im)
            place = 0
            for a in range(FREE):
                w_re, w_im = weight * real[a], weight * imaginary[a]
                sums[place] += w_re * gap_re + w_im * gap_im
                place += 1
                for b in range(a, FREE):
                    sums[place] += w_re * real[b] + w_im * imaginary[b]
                    place += 1
        overlaps[n, 0], overlaps[n, 1] = product, energy
        place = 0
        for a in range(FREE):
            gradients[n, a] = sums[place]
            place += 1
            for b in range(a, FREE):
                normals[n, a, b] = normals[n, b, a] = sums[place]
                place += 1


@compiled
def search_images(
    grid,
    layout,
    polynomials,
    taps,
    per_cycle,
    kx,
    ky,
    weights,
    images,
    transfer,
    chosen,
    candidates,
    moves_re,
    moves_im,
    allowed,
    scores,
    best_moves,
):
    """Scores orientations for images, each at the best of a list of displacements.

    The score is the weighted sum of Re(y* C S) - |C S|^2 / 2: the log likelihood of the image but
    for a constant, where the weights are one over the variance of the noise.

    Args:
        grid: see `linearise_images`, as for all that is not listed here.
        layout: of the grid.
        polynomials: of the kernel.
        taps: of the kernel.
        per_cycle: grid points per cycle per box.
        kx: (K,).
        ky: (K,).
        weights: (K,).
        images: (n, K) complex64, displaced to where the search begins.
        transfer: (P, K) or (1, K) float32.
        chosen: (n,) row of `transfer` of each image.
        candidates: (n, M, 3, 3) orientations to try for each image.
        moves_re: (K, S), with `moves_im` the factors that undo each displacement.
        moves_im: (K, S).
        allowed: (n, S), which displacements each image may have.
        scores: (n, M) filled.
        best_moves: (n, M) filled with the index of the best displacement.
    """
    stride_y, stride_z, _ = layout
    count, moves = moves_re.shape
    totals = np.empty(moves, dtype=np.float32)
    for n in range(len(images)):
        c = chosen[n] if len(transfer) > 1 else 0
        for m in range(candidates.shape[1]):
            axes = candidates[n, m, :2] * per_cycle
            totals[:] = 0
            energy = np.float32(0)
            for k in range(count):
                base, offsets, side = locate(kx[k], ky[k], axes, layout, len(taps))
                re, im = gather(grid, base, stride_y, stride_z, offsets, polynomials, taps)
                contrast = transfer[c, k]
                re, im = contrast * re, contrast * side * im
                weight = weights[k]
                energy += weight * (re * re + im * im)
                y = images[n, k]
                cross_re = weight * (y.real * re + y.imag * im)
                cross_im = weight * (y.imag * re - y.real * im)
                for s in range(moves):
                    totals[s] += cross_re * moves_re[k, s] - cross_im * moves_im[k, s]
            best, where = np.float32(-np.inf), 0
            for s in range(moves):
                if allowed[n, s] and totals[s] > best:
                    best, where = totals[s], s
            scores[n, m] = best - energy / 2
            best_moves[n, m] = where
