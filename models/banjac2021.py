"""`banjac2021`: the network of Banjac, Donati and Defferrard (2021), their Appendix E.

The baseline of the zoo. As published: `build("banjac2021", head="cosine", feature_dim=512)`.
"""

import keras
from keras import layers

_FILTERS = (32, 64, 128, 256, 256, 512)
_KERNELS = (7, 5, 3, 3, 3, 3, 3)


def banjac2021(images: keras.KerasTensor, feature_dim: int, head: str) -> keras.KerasTensor:
    """Turns standardised images (B, N, N, 1), any N, into features (B, feature_dim).

    Seven times convolution, ReLU and 2 x 2 max pooling, then the average over what is left of
    the image. No layer follows: the filters of the last convolution are the features, 512 in
    the paper; another feature_dim (its Figure 17b) changes their number.

    Two things are ours. Images come standardised, which the paper does not mention. And for the
    head "so3" the last ReLU is left out: features that are never negative have an inner product
    s >= 0, and d = arccos((3 s - 1) / 2) would end at 120 degrees. The parameters stay the same.
    """
    x = images
    for number, (filters, kernel) in enumerate(
        zip((*_FILTERS, feature_dim), _KERNELS, strict=True), start=1
    ):
        x = layers.Conv2D(filters, kernel, padding="same", name=f"conv{number}")(x)
        if number < len(_KERNELS) or head != "so3":
            x = layers.Activation("relu", name=f"relu{number}")(x)
        x = layers.MaxPooling2D(2, padding="same", name=f"pool{number}")(x)
    return layers.GlobalAveragePooling2D(name="features")(x)
