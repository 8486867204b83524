"""The networks of the zoo by name: one file each, to be listed here."""

from collections.abc import Callable

import keras

from cryotwin.imaging.errors import InputError
from cryotwin.models.resnet_small import resnet_small

Network = Callable[[keras.KerasTensor], keras.KerasTensor]
"""Standardised images (B, N, N, 1), any N, in; pooled features (B, C) out."""

ARCHITECTURES: dict[str, Network] = {
    "resnet_small": resnet_small,
}


def find_architecture(name: str) -> Network:
    """Gives the network of a name.

    Raises:
        InputError: no such network; the message lists those that there are.
    """
    if name not in ARCHITECTURES:
        raise InputError(f"model must be one of {', '.join(ARCHITECTURES)}, not {name!r}")
    return ARCHITECTURES[name]
