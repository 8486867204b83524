"""`polar_harmonic`: templates compared at all angles at once; features turn with the image.

Turning an image in its plane turns R into Rz R: the viewing direction (row 3 of R) stays, rows 1
and 2 turn as a vector. Other networks learn that; in this one it holds by construction. The image
is sampled on rings, each channel of the first layer is a template on the whole disc that is
correlated at all angles, and further layers mix channels in the same way (Cohen and Welling, 2017,
arXiv:1612.08498, on steerable filters; here without pooling or small kernels, so that weak signals
are averaged over the whole particle as in projection matching). What is learnt for one angle is
known for all.
"""

import keras
from keras import layers, ops

from cryotwin.models.circular_harmonics import (
    Coefficients,
    mix_channels,
    sample_polar,
    to_angles,
    to_harmonics,
)
from cryotwin.models.plain_heads import Head

_GRID_PX = 40
_RINGS = 16
_SAMPLED_ANGLES = 64
_ANGLES = 48
_TEMPLATE_ORDERS = 20
_ORDERS = 14
_CHANNELS = 160
_LAYERS = 2


def polar_harmonic(images: keras.KerasTensor, feature_dim: int, head: Head) -> keras.KerasTensor:
    """Turns standardised images (B, N, N, K), any N and K, into features (B, feature_dim).

    When the image turns by alpha about its origin, features of order m are multiplied by
    exp(-i m alpha). Each part of the features that the head turns has all orders that its exact
    feature map has.
    """
    x = sample_polar(images, grid_px=_GRID_PX, rings=_RINGS, angles=_SAMPLED_ANGLES)
    x = circular_layer(to_harmonics(x, _TEMPLATE_ORDERS), _CHANNELS, _ANGLES, "templates")
    for layer in range(_LAYERS):
        x = circular_layer(to_harmonics(x, _ORDERS), _CHANNELS, _ANGLES, f"layer{layer + 1}")
    return turning_features(to_harmonics(x, _ORDERS), feature_dim, head)


def circular_layer(
    coefficients: Coefficients, channels: int, angles: int, name: str
) -> keras.KerasTensor:
    """Mixes channels, normalises and rectifies: (B, M, C) to maps (B, angles, channels)."""
    x = to_angles(mix_channels(coefficients, channels, name), angles)
    x = layers.BatchNormalization(momentum=0.95, name=f"{name}_norm")(x)
    return layers.Activation("relu", name=f"{name}_relu")(x)


def turning_features(coefficients: Coefficients, feature_dim: int, head: Head) -> keras.KerasTensor:
    """Reads the features (B, feature_dim) of a head off Fourier coefficients (B, M, C).

    Each part that `Head.turning_sizes` gives has real features of order 0 first, then the real
    and the imaginary ones of order 1, 2, ..., as many of each; its other features are of order 0.
    """
    sizes = head.turning_sizes(feature_dim)
    order = min(head.angular_order, coefficients.real.shape[1] - 1, (min(sizes) - 1) // 2)
    widths = [size // (2 * order + 1) for size in sizes]
    invariant = layers.Dense(feature_dim - 2 * order * sum(widths), name="features_0")(
        coefficients.real[:, 0]
    )
    turning = [
        _complex_dense(coefficients.real[:, m], coefficients.imaginary[:, m], sum(widths), m)
        for m in range(1, order + 1)
    ]
    parts, first, first_invariant = [], 0, 0
    for size, width in zip(sizes, widths, strict=True):
        invariants = size - 2 * order * width
        parts.append(invariant[:, first_invariant : first_invariant + invariants])
        parts.extend(part[:, first : first + width] for pair in turning for part in pair)
        first, first_invariant = first + width, first_invariant + invariants
    if sum(sizes) < feature_dim:
        parts.append(invariant[:, first_invariant:])
    return ops.concatenate(parts, axis=-1)


def _complex_dense(
    real: keras.KerasTensor, imaginary: keras.KerasTensor, width: int, order: int
) -> tuple[keras.KerasTensor, keras.KerasTensor]:
    """Maps complex channels (B, C) linearly to `width` others; a bias would not turn."""
    by_real = layers.Dense(width, use_bias=False, name=f"features_{order}_real")
    by_imaginary = layers.Dense(width, use_bias=False, name=f"features_{order}_imaginary")
    return by_real(real) - by_imaginary(imaginary), by_real(imaginary) + by_imaginary(real)
