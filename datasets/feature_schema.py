"""What one example of a dataset of features holds, and one of the orientations found from them."""

from typing import Any

import numpy as np

from cryotwin.datasets.quiet_imports import import_tfds

FEATURES_DESCRIPTION = """\
Features of single-particle cryo-EM images, by the extractor of an estimator of cryotwin: the \
distance between the orientations of two particles follows from their two features. Written by \
`cryotwin embed`; cryotwin.json says of which particles, and by which estimator."""

ORIENTATIONS_DESCRIPTION = """\
Orientations that fit the distances between the features of single-particle cryo-EM images. \
Distances determine them up to R -> A R B with two rotations A and B, and up to R -> R^T: the same \
for all particles, but not known. No map can be made before A and the transpose are found from the \
images, as `cryotwin recover` does. Written by `cryotwin embed`."""


def feature_fields(feature_dim: int) -> Any:
    """Gives the tfds features of an example (key, feature), with documentation."""
    features = import_tfds().features
    return features.FeaturesDict(
        {
            "key": _key(),
            "feature": features.Tensor(
                shape=(feature_dim,),
                dtype=np.float32,
                doc="Output of the extractor; each block of the head of unit length",
            ),
        }
    )


def orientation_fields() -> Any:
    """Gives the tfds features of an example (key, quaternion, residual_rad)."""
    features = import_tfds().features
    return features.FeaturesDict(
        {
            "key": _key(),
            "quaternion": features.Tensor(
                shape=(4,),
                dtype=np.float32,
                doc=features.Documentation(
                    desc="Orientation (w, x, y, z) up to the gauge, see the description",
                    value_range="w >= 0",
                ),
            ),
            "residual_rad": features.Tensor(
                shape=(),
                dtype=np.float32,
                doc="Root mean square of what the particle's distances to the landmarks leave",
            ),
        }
    )


def _key() -> Any:
    features = import_tfds().features
    return features.Text(doc=features.Documentation(desc="Unique name of the particle"))
