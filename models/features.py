"""Features of many images, in one pass over them: P images cost P forward passes."""

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray

from cryotwin.models.inputs import check_images

_BATCH = 250


def extract_features(extractor: keras.Model, images: NDArray[np.floating]) -> NDArray[np.float32]:
    """Gives the features (P, D) of images (P, N, N).

    Args:
        extractor: the layer "extractor" of an estimator.
        images: as `cryotwin.models.inputs.fit_images` gives them.

    Raises:
        InputError: images of another rank, not finite, constant, or none at all.
    """
    check_images(images)
    images = images.astype(np.float32, copy=False)
    parts = [
        ops.convert_to_numpy(extractor(images[start : start + _BATCH, ..., None], training=False))
        for start in range(0, len(images), _BATCH)
    ]
    return np.concatenate(parts)
