"""`resnet_antialiased`: a residual network whose features hardly move when the image is shifted.

A stride after a convolution, or after max pooling, samples feature maps below their Nyquist rate:
what the network sees then depends on where the image falls on the coarse grid. R. Zhang, "Making
convolutional networks shift-invariant again" (ICML 2019), puts a low-pass filter before each
stride.
"""

import keras
import numpy as np
from keras import layers, ops

from cryotwin.models.plain_heads import Head

_BINOMIAL = np.array([1.0, 4.0, 6.0, 4.0, 1.0]) / 16
"""Zhang's filter of five taps, along each axis; zero at the Nyquist frequency."""


def resnet_antialiased(
    images: keras.KerasTensor, feature_dim: int, head: Head
) -> keras.KerasTensor:
    """Turns standardised images (B, N, N, 1), any N, into features (B, feature_dim).

    The stages of `resnet_small`, less what tells position: no strided convolution, no pooling
    without a filter before it, no coordinate channels, and no zeros around the feature maps. Zeros
    mark the edge of the box, and coarse maps see it from everywhere; here the opposite edge
    stands beyond an edge. Particles lie in an empty surrounding, so the two fit.
    """
    x = layers.Conv2D(24, 5, use_bias=False, name="stem")(_wrap(images, 2))
    x = layers.BatchNormalization(momentum=0.95, name="stem_norm")(x)
    x = layers.Activation("relu", name="stem_relu")(x)
    x = blur_pool(blur_pool(x))
    for stage, channels in enumerate((64, 128, 256), start=1):
        x = _residual_block(x, channels, f"stage{stage}")
        if stage < 3:
            x = blur_pool(x)
    x = layers.Conv2D(512, 1, activation="relu", name="last")(x)
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    return layers.Dense(feature_dim, name="features")(x)


def blur_pool(x: keras.KerasTensor) -> keras.KerasTensor:
    """Filters feature maps (B, N, N, C) with a fixed low-pass and takes every second pixel."""
    channels = x.shape[-1]
    kernel = np.outer(_BINOMIAL, _BINOMIAL)[:, :, None, None].repeat(channels, axis=2)
    # The filter is float32 whatever precision the layers before it compute in.
    x = ops.cast(_wrap(x, 2), "float32")
    return ops.depthwise_conv(x, kernel.astype("float32"), strides=2, padding="valid")


def _residual_block(x: keras.KerasTensor, channels: int, name: str) -> keras.KerasTensor:
    shortcut = layers.Conv2D(channels, 1, use_bias=False, name=f"{name}_shortcut")(x)
    x = layers.Conv2D(channels, 3, use_bias=False, name=f"{name}_conv1")(_wrap(x, 1))
    x = layers.BatchNormalization(momentum=0.95, name=f"{name}_norm1")(x)
    x = layers.Activation("relu", name=f"{name}_relu1")(x)
    x = layers.Conv2D(channels, 3, use_bias=False, name=f"{name}_conv2")(_wrap(x, 1))
    x = layers.BatchNormalization(momentum=0.95, name=f"{name}_norm2")(x)
    return layers.Activation("relu", name=f"{name}_relu2")(x + shortcut)


def _wrap(x: keras.KerasTensor, margin: int) -> keras.KerasTensor:
    """Continues feature maps (B, N, N, C) periodically by a margin of at most N pixels."""
    x = ops.concatenate([x[:, -margin:], x, x[:, :margin]], axis=1)
    return ops.concatenate([x[:, :, -margin:], x, x[:, :, :margin]], axis=2)
