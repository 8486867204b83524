"""The networks of the zoo by name: one file each, to be listed here."""

from collections.abc import Callable
from dataclasses import dataclass

import keras

from cryotwin.imaging.errors import InputError
from cryotwin.models.banjac2021 import banjac2021
from cryotwin.models.ctf_polar import ctf_polar
from cryotwin.models.plain_heads import Head
from cryotwin.models.polar_harmonic import polar_harmonic
from cryotwin.models.polar_search import polar_search
from cryotwin.models.resnet_antialiased import resnet_antialiased
from cryotwin.models.resnet_base import resnet_base
from cryotwin.models.resnet_small import resnet_small

Network = Callable[[keras.KerasTensor, int, Head], keras.KerasTensor]
"""Standardised images (B, N, N, 1), any N, a feature_dim D and a head in; features
(B, D), not yet normalised, out. Most networks do not care for the head; one whose features are
never negative, or in blocks of fixed length, has to."""


@dataclass(frozen=True)
class Architecture:
    """A network of the zoo.

    Attributes:
        network: builds it; named as its module and as its key in `ARCHITECTURES`.
        summary: one line for tables: what it is and what it is for.
        own_head: the head that it was designed or published with. `build` does not look at it:
            the default is "so3" for every architecture.
        takes_ctf: whether the model has the CTF of each image as a further input; the network then
            gets the three channels of `cryotwin.models.ctf_channels` as its image.
    """

    network: Network
    summary: str
    own_head: str = "so3"
    takes_ctf: bool = False


ARCHITECTURES: dict[str, Architecture] = {
    "banjac2021": Architecture(
        banjac2021, "the paper's seven convolutions, the baseline", own_head="cosine"
    ),
    "resnet_small": Architecture(
        resnet_small, "small residual network, trained in minutes on two CPU cores"
    ),
    "resnet_base": Architecture(resnet_base, "deeper residual network, for more time or a GPU"),
    "resnet_antialiased": Architecture(
        resnet_antialiased, "residual network with blur pooling, for images that are off-centre"
    ),
    "polar_harmonic": Architecture(
        polar_harmonic, "templates at all angles at once: in-plane rotation by construction"
    ),
    "polar_search": Architecture(
        polar_search, "polar_harmonic that looks about nine centres, for images that are off-centre"
    ),
    "ctf_polar": Architecture(
        ctf_polar, "polar_search that takes the CTF of each image as well", takes_ctf=True
    ),
}


def find_architecture(name: str) -> Architecture:
    """Gives the architecture of a name.

    Raises:
        InputError: no such network; the message lists those that there are.
    """
    if name not in ARCHITECTURES:
        raise InputError(f"model must be one of {', '.join(ARCHITECTURES)}, not {name!r}")
    return ARCHITECTURES[name]
