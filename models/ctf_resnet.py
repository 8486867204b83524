"""`ctf_resnet`: the small residual network on an image and what its CTF makes of it."""

import keras

from cryotwin.models.plain_heads import Head
from cryotwin.models.resnet_small import resnet_small


def ctf_resnet(channels: keras.KerasTensor, feature_dim: int, head: Head) -> keras.KerasTensor:
    """Turns the channels of an image and its CTF (B, N, N, 3) into features (B, feature_dim).

    Args:
        channels: as `cryotwin.models.ctf_channels` gives them: as it is, with its phases flipped,
            multiplied by the CTF.
        feature_dim: length of the features.
        head: of the model; does not matter to this network.
    """
    return resnet_small(channels, feature_dim, head)
