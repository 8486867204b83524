"""`resnet_small`: a small residual network, made to be trained in minutes on two CPU cores."""

import keras
from keras import layers, ops


def resnet_small(images: keras.KerasTensor, feature_dim: int, head: str) -> keras.KerasTensor:
    """Turns standardised images (B, N, N, 1), any N, into features (B, feature_dim).

    A strided stem, then residual stages that halve the image and double the channels. Feature
    maps are averaged at the end, so any image size works; two coordinate channels, in units of
    the box, let the average depend on where things are.
    """
    x = layers.Conv2D(24, 5, strides=2, padding="same", use_bias=False, name="stem")(images)
    x = layers.BatchNormalization(momentum=0.95, name="stem_norm")(x)
    x = layers.Activation("relu", name="stem_relu")(x)
    x = layers.AveragePooling2D(2, padding="same", name="stem_pool")(x)
    for stage, channels in enumerate((64, 128, 256), start=1):
        x = with_coordinates(x)
        x = residual_block(x, channels, f"stage{stage}")
        if stage < 3:
            x = layers.AveragePooling2D(2, padding="same", name=f"stage{stage}_pool")(x)
    x = with_coordinates(x)
    x = layers.Conv2D(512, 1, activation="relu", name="last")(x)
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    return layers.Dense(feature_dim, name="features")(x)


def residual_block(x: keras.KerasTensor, channels: int, name: str) -> keras.KerasTensor:
    """Adds two normalised 3 x 3 convolutions to a 1 x 1 convolution of the same maps."""
    shortcut = layers.Conv2D(channels, 1, use_bias=False, name=f"{name}_shortcut")(x)
    x = layers.Conv2D(channels, 3, padding="same", use_bias=False, name=f"{name}_conv1")(x)
    x = layers.BatchNormalization(momentum=0.95, name=f"{name}_norm1")(x)
    x = layers.Activation("relu", name=f"{name}_relu1")(x)
    x = layers.Conv2D(channels, 3, padding="same", use_bias=False, name=f"{name}_conv2")(x)
    x = layers.BatchNormalization(momentum=0.95, name=f"{name}_norm2")(x)
    return layers.Activation("relu", name=f"{name}_relu2")(x + shortcut)


def with_coordinates(x: keras.KerasTensor) -> keras.KerasTensor:
    """Appends the position (y, x) of each pixel in the box, from -1 to 1, as two channels."""
    ones = ops.ones_like(x[..., :1])
    positions = [
        (2.0 * ops.cumsum(ones, axis=axis) - 1.0) / ops.sum(ones, axis=axis, keepdims=True) - 1.0
        for axis in (1, 2)
    ]
    return ops.concatenate([x, *positions], axis=-1)
