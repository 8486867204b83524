"""Assembly of a Siamese estimator: one extractor, applied to two images, and a distance head."""

import keras
from keras import ops

from cryotwin.imaging.errors import InputError
from cryotwin.models.architectures import find_architecture
from cryotwin.models.ctf_channels import ctf_channels
from cryotwin.models.heads import find_head, head_model, head_of_layers
from cryotwin.models.plain_heads import Head

_VARIANCE_FLOOR = 1e-12
"""Far below the variance of any image that is not constant, whatever its units."""


def build(
    name: str, *, head: str = "so3", feature_dim: int = 512, symmetry: str = "C1"
) -> keras.Model:
    """Builds an untrained estimator of the distance between two views (the paper's 2.2).

    Args:
        name: an architecture, one of `cryotwin.models.architectures.ARCHITECTURES`.
        head: "so3", "cosine" or "euclidean", see `cryotwin.models.heads`.
        feature_dim: D, the length of the feature of an image; heads of a point group split it.
        symmetry: point group G of the particle; the distance is then the least over G.

    Returns:
        A functional model: two float32 images (B, N, N, 1), any N and any scale of grey, to
        distances (B, 1) in rad. `model.get_layer("extractor")` gives the features (B, D), each
        block of them of unit length but for the Euclidean head. An architecture that takes the CTF
        has two more inputs after these, the CTF of the first and of the second image, as
        `build_extractor` says.

    Raises:
        InputError: an unknown architecture, head or group, or a feature_dim too small for the head.
    """
    distance_head = find_head(head, symmetry)
    extractor = build_extractor(name, head=distance_head, feature_dim=feature_dim)
    kinds = [tensor.name for tensor in extractor.inputs]
    first, second = (
        [keras.Input((None, None, 1), name=f"{which}_{kind}") for kind in kinds]
        for which in ("first", "second")
    )
    # A list of one tensor is not what a model of one input was built for, and Keras warns of it.
    features = [extractor(one if len(one) > 1 else one[0]) for one in (first, second)]
    distance = head_model(distance_head, feature_dim)(features)
    inputs = [tensor for pair in zip(first, second, strict=True) for tensor in pair]
    return keras.Model(inputs, distance, name=name)


def build_extractor(name: str, *, head: Head, feature_dim: int) -> keras.Model:
    """Builds the extractor alone: images (B, N, N, 1) to features (B, D).

    An architecture that takes the CTF has it as a second input (B, N, N, 1), in the layout of
    `cryotwin.imaging.ctf.full_contrast_transfer`, and gets the channels of `ctf_channels`.

    Raises:
        InputError: an unknown architecture, or a feature_dim too small for the head.
    """
    head.block_sizes(feature_dim)
    architecture = find_architecture(name)
    images = keras.Input((None, None, 1), name="image")
    mean = ops.mean(images, axis=(1, 2), keepdims=True)
    variance = ops.mean(ops.square(images - mean), axis=(1, 2), keepdims=True)
    standardised = (images - mean) / ops.sqrt(variance + _VARIANCE_FLOOR)
    inputs = images
    if architecture.takes_ctf:
        ctf = keras.Input((None, None, 1), name="ctf")
        inputs = [images, ctf]
        standardised = ctf_channels(standardised, ctf)
    features = architecture.network(standardised, feature_dim, head)
    return keras.Model(inputs, head.normalise(features), name="extractor")


def takes_ctf(extractor: keras.Model) -> bool:
    """Tells whether an extractor has the CTF as a second input."""
    return len(extractor.inputs) == 2


def head_of(model: keras.Model) -> Head:
    """Reads from a Siamese model which head it has, and for which point group.

    Raises:
        InputError: the model is no Siamese estimator of this zoo.
    """
    names = [layer.name for layer in model.layers]
    head = head_of_layers(names)
    if "extractor" not in names or head is None:
        raise InputError(
            f"model {model.name!r} is not an estimator: "
            "expected the layers 'extractor' and '<head>_head'"
        )
    return head
