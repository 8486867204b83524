"""`ctf_polar`: `polar_search` on an image and what its CTF makes of it.

Without astigmatism a CTF is the same at all angles, so what it makes of an image turns with it, and
so do the features. With astigmatism they turn if the CTF is turned along.
"""

import keras

from cryotwin.models.plain_heads import Head
from cryotwin.models.polar_search import polar_search


def ctf_polar(channels: keras.KerasTensor, feature_dim: int, head: Head) -> keras.KerasTensor:
    """Turns the channels of an image and its CTF (B, N, N, 3) into features (B, feature_dim).

    Args:
        channels: as `cryotwin.models.ctf_channels` gives them: as it is, with its phases flipped,
            multiplied by the CTF.
        feature_dim: length of the features.
        head: whose blocks the features have.
    """
    return polar_search(channels, feature_dim, head)
