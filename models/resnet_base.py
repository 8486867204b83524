"""`resnet_base`: a deeper residual network, about four times the work of `resnet_small`."""

import keras
from keras import layers

from cryotwin.models.resnet_small import residual_block, with_coordinates


def resnet_base(images: keras.KerasTensor, feature_dim: int, head: str) -> keras.KerasTensor:
    """Turns standardised images (B, N, N, 1), any N, into features (B, feature_dim).

    As `resnet_small`, with two blocks at half the size of the image, where that one only pools,
    and two at each further stage but the last: fine detail is seen by more layers before it is
    averaged. Below 2 million parameters, so that a file stays below 8 MB.
    """
    x = layers.Conv2D(48, 5, strides=2, padding="same", use_bias=False, name="stem")(images)
    x = layers.BatchNormalization(momentum=0.95, name="stem_norm")(x)
    x = layers.Activation("relu", name="stem_relu")(x)
    for stage, (channels, blocks) in enumerate(((48, 2), (80, 2), (128, 2), (192, 1))):
        x = with_coordinates(x)
        for block in range(1, blocks + 1):
            x = residual_block(x, channels, f"stage{stage}_block{block}")
        if stage < 3:
            x = layers.AveragePooling2D(2, padding="same", name=f"stage{stage}_pool")(x)
    x = with_coordinates(x)
    x = layers.Conv2D(512, 1, activation="relu", name="last")(x)
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    return layers.Dense(feature_dim, name="features")(x)
