"""Assembly of a Siamese estimator: one extractor, applied to two images, and a distance head."""

import keras
from keras import ops

from cryotwin.imaging.errors import InputError
from cryotwin.models.architectures import find_architecture
from cryotwin.models.heads import check_head, head_model, normalise_features

_VARIANCE_FLOOR = 1e-12
"""Far below the variance of any image that is not constant, whatever its units."""


def build(name: str, *, head: str = "so3", feature_dim: int = 512) -> keras.Model:
    """Builds an untrained estimator of the distance between two views (the paper's 2.2).

    Args:
        name: an architecture, one of `cryotwin.models.architectures.ARCHITECTURES`.
        head: "so3", "cosine" or "euclidean", see `cryotwin.models.heads`.
        feature_dim: D, the length of the feature of an image.

    Returns:
        A functional model: two float32 images (B, N, N, 1), any N and any scale of grey, to
        distances (B, 1) in rad. `model.get_layer("extractor")` gives the features (B, D), of unit
        length but for the Euclidean head.

    Raises:
        InputError: an unknown architecture or head, or a feature_dim below 1.
    """
    check_head(head)
    if feature_dim < 1:
        raise InputError(f"feature_dim must be at least 1, not {feature_dim}")
    extractor = build_extractor(name, head=head, feature_dim=feature_dim)
    first = keras.Input((None, None, 1), name="first_image")
    second = keras.Input((None, None, 1), name="second_image")
    distance = head_model(head, feature_dim)([extractor(first), extractor(second)])
    return keras.Model([first, second], distance, name=name)


def build_extractor(name: str, *, head: str, feature_dim: int) -> keras.Model:
    """Builds the extractor alone: images (B, N, N, 1) to features (B, D)."""
    architecture = find_architecture(name)
    images = keras.Input((None, None, 1), name="image")
    mean = ops.mean(images, axis=(1, 2), keepdims=True)
    variance = ops.mean(ops.square(images - mean), axis=(1, 2), keepdims=True)
    standardised = (images - mean) / ops.sqrt(variance + _VARIANCE_FLOOR)
    features = architecture.network(standardised, feature_dim, head)
    return keras.Model(images, normalise_features(features, head), name="extractor")


def head_of(model: keras.Model) -> str:
    """Reads from a Siamese model which head it has.

    Raises:
        InputError: the model is no Siamese estimator of this zoo.
    """
    names = [layer.name for layer in model.layers]
    heads = [name.removesuffix("_head") for name in names if name.endswith("_head")]
    if "extractor" not in names or len(heads) != 1:
        raise InputError(
            f"model {model.name!r} is not an estimator: "
            "expected the layers 'extractor' and '<head>_head'"
        )
    return heads[0]
