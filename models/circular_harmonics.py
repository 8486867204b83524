"""Pieces of networks that treat a turn of the image in its plane by construction.

A map over the angle, (B, A, C), has the Fourier coefficients X_m = sum_a x_a exp(-i m phi_a),
m = 0 ... M - 1. When the image turns by alpha, X_m is multiplied by exp(-i m alpha). Linear maps
that mix the channels of one m with complex weights, and anything that acts on each angle alone,
keep that: what comes out turns with the image as well. Complex numbers are pairs of real tensors,
(B, M, C) each, so that stock layers and `keras.ops` do on every backend.
"""

from collections.abc import Sequence
from typing import NamedTuple

import keras
import numpy as np
from keras import layers, ops
from numpy.typing import NDArray

_TINY = 1e-12


class Coefficients(NamedTuple):
    """Fourier coefficients over the angle: real and imaginary parts (B, M, C)."""

    real: keras.KerasTensor
    imaginary: keras.KerasTensor


def sample_polar(
    images: keras.KerasTensor,
    *,
    grid_px: int,
    rings: int,
    angles: int,
    centres_px: Sequence[tuple[float, float]] = ((0.0, 0.0),),
) -> keras.KerasTensor:
    """Samples images on rings about their origin, or about several points near it.

    Args:
        images: (B, N, N, K), any N, with K channels; resampled to `grid_px` first, which changes
            nothing at N = `grid_px`.
        grid_px: S, edge of the grid that is sampled, bilinearly.
        rings: R, evenly spaced up to 0.475 S.
        angles: A, evenly spaced, from x towards y.
        centres_px: C points (x, y), in pixels of the grid from the origin.

    Returns:
        (B C, A, R K), the C samplings of an image in a row, weighted by the square root of the
        radius: each ring stands for its area.
    """
    pixels = ops.image.resize(images, (grid_px, grid_px), interpolation="bilinear", antialias=True)
    channels = images.shape[-1]
    flat = ops.reshape(pixels, (-1, grid_px * grid_px, channels))
    size = ops.sum(ops.ones_like(images[0, :, 0, 0]))
    # Pixel N // 2 of the image, between pixels of the grid unless N = S.
    origin = (ops.floor(size / 2.0) + 0.5) * (grid_px / size) - 0.5
    radii = 0.475 * grid_px * (np.arange(rings) + 0.5) / rings
    turns = 2 * np.pi * np.arange(angles) / angles
    x, y = (
        (centre[:, None, None] + radii[:, None] * direction).astype(np.float32).reshape(-1)
        for centre, direction in zip(
            np.asarray(centres_px).T, (np.cos(turns), np.sin(turns)), strict=True
        )
    )
    # What lies beyond the edge repeats it.
    x, y = (ops.clip(origin + offset, 0.0, grid_px - 1.001) for offset in (x, y))
    left, low = ops.floor(x), ops.floor(y)
    right_part, high_part = (x - left)[:, None], (y - low)[:, None]
    corner = ops.cast(low * grid_px + left, "int32")
    samples = (1.0 - high_part) * (
        (1.0 - right_part) * ops.take(flat, corner, axis=1)
        + right_part * ops.take(flat, corner + 1, axis=1)
    ) + high_part * (
        (1.0 - right_part) * ops.take(flat, corner + grid_px, axis=1)
        + right_part * ops.take(flat, corner + grid_px + 1, axis=1)
    )
    weights = np.sqrt(radii / radii[-1]).astype(np.float32)
    rings_first = ops.reshape(samples, (-1, rings, angles, channels)) * weights[:, None, None]
    return ops.reshape(ops.transpose(rings_first, (0, 2, 1, 3)), (-1, angles, rings * channels))


def to_harmonics(maps: keras.KerasTensor, orders: int) -> Coefficients:
    """Gives the first `orders` Fourier coefficients of maps (B, A, C) over the angle."""
    cosine, sine = _waves(maps.shape[1], orders)
    channels_first = ops.transpose(maps, (0, 2, 1))
    return Coefficients(
        ops.transpose(ops.matmul(channels_first, cosine), (0, 2, 1)),
        ops.transpose(ops.matmul(channels_first, -sine), (0, 2, 1)),
    )


def to_angles(coefficients: Coefficients, angles: int) -> keras.KerasTensor:
    """Gives the real maps (B, A, C) of Fourier coefficients, at any number of angles > 2 (M - 1).

    `to_harmonics` of them gives the coefficients back.
    """
    orders = coefficients.real.shape[1]
    cosine, sine = _waves(angles, orders)
    # A real map has the conjugates of orders 1, 2, ... as well.
    twice = np.where(np.arange(orders) == 0, 1, 2).astype(np.float32)
    real, imaginary = (ops.transpose(part, (0, 2, 1)) for part in coefficients)
    maps = ops.matmul(real, (cosine * twice).T) - ops.matmul(imaginary, (sine * twice).T)
    return ops.transpose(maps, (0, 2, 1))


def mix_channels(coefficients: Coefficients, channels: int, name: str) -> Coefficients:
    """Maps the channels of each order linearly, with complex weights (M, C, channels).

    In the space of angles this is a circular correlation with filters as wide as the circle.
    """
    orders = coefficients.real.shape[1]
    real, imaginary = (
        layers.EinsumDense("bmc,mcd->bmd", output_shape=(orders, channels), name=f"{name}_{part}")
        for part in ("real", "imaginary")
    )
    return Coefficients(
        real(coefficients.real) - imaginary(coefficients.imaginary),
        real(coefficients.imaginary) + imaginary(coefficients.real),
    )


def _waves(angles: int, orders: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Gives cos(m phi) and sin(m phi), (A, M) each, scaled so that the transform is unitary."""
    phases = 2 * np.pi * np.outer(np.arange(angles), np.arange(orders)) / angles
    scale = 1 / np.sqrt(angles)
    return (scale * np.cos(phases)).astype(np.float32), (scale * np.sin(phases)).astype(np.float32)
