"""An image beside what its CTF makes of it: the channels of a network that takes the CTF.

Three channels: the image as it is; its phases flipped, which turns back what the CTF has inverted
and leaves white noise white; and the image multiplied by the CTF, which is the filter that brings
out the particle best where noise is strong.

Keras' Fourier transforms want to know the size of an image when a model is built, and a model file
takes any size. So this is a Hartley transform written as matrix products, T(k) = sum over n of
x(n) cas(2 pi k.n / N) with cas = cos + sin. A real and even function of frequency, as the CTF is,
multiplies T as it multiplies the Fourier transform; and T is its own inverse, up to 1 / N^2.
"""

import math

import keras
from keras import ops

_POWER_FLOOR = 1e-6
"""Far below the mean square of any CTF: one of zeros gives zeros."""


def ctf_channels(images: keras.KerasTensor, ctf: keras.KerasTensor) -> keras.KerasTensor:
    """Gives the image, the image with its phases flipped, and the image multiplied by the CTF.

    Args:
        images: standardised, (B, N, N, 1), any N.
        ctf: (B, N, N, 1) as ky, kx in the order of `fft2`, as
            `cryotwin.imaging.ctf.full_contrast_transfer` gives it.

    Returns:
        (B, N, N, 3). White noise has the same variance in all three: the last is divided by the
        root of the CTF's mean square.
    """
    cosine, sine = _waves(images)
    spectrum = _hartley(images[..., 0], cosine, sine)
    transfer = ctf[..., 0]
    power = ops.mean(ops.square(transfer), axis=(1, 2), keepdims=True)
    filters = (
        ops.where(transfer < 0.0, -1.0, 1.0),
        transfer / ops.sqrt(power + _POWER_FLOOR),
    )
    filtered = [_hartley(spectrum * one, cosine, sine)[..., None] for one in filters]
    return ops.concatenate([images, *filtered], axis=-1)


def _waves(images: keras.KerasTensor) -> tuple[keras.KerasTensor, keras.KerasTensor]:
    """Gives cos and sin of 2 pi k n / N, each (N, N) divided by sqrt(N), of images (B, N, N, 1)."""
    ones = ops.ones_like(images[0, :, 0, 0])
    places, size = ops.cumsum(ones) - 1.0, ops.sum(ones)
    turns = ops.outer(places, places) / size
    angles = 2.0 * math.pi * (turns - ops.floor(turns))
    scale = 1.0 / ops.sqrt(size)
    return scale * ops.cos(angles), scale * ops.sin(angles)


def _hartley(
    images: keras.KerasTensor, cosine: keras.KerasTensor, sine: keras.KerasTensor
) -> keras.KerasTensor:
    """Transforms (B, N, N) in both axes: cas(a + b) = cos a cas b + sin a cas(-b)."""
    rows, mirrored = ops.matmul(images, cosine + sine), ops.matmul(images, cosine - sine)
    return ops.matmul(cosine, rows) + ops.matmul(sine, mirrored)
