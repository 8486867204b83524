"""Features of many images, in one pass over them: P images cost P forward passes."""

from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray

from cryotwin.imaging.ctf import CtfParameters
from cryotwin.imaging.errors import InputError
from cryotwin.imaging.interrupts import interrupts_held
from cryotwin.models.inputs import check_images, estimator_inputs
from cryotwin.models.siamese import takes_ctf

BATCH = 250
"""Images, and later features, that are worked on at a time: a fixed number, so that results do not
depend on who does the work."""


def particle_features(
    extractor: keras.Model,
    images: NDArray[np.floating],
    pixel_size_angstrom: float,
    metadata: Mapping[str, Any],
    ctf: CtfParameters | None = None,
    *,
    progress: Callable[[int], None] = lambda count: None,
) -> NDArray[np.float32]:
    """Gives the features (P, D) of particle images, brought to the form that an estimator takes.

    A batch at a time, so that besides the images and the features little is held.

    Args:
        extractor: the layer "extractor" of an estimator.
        images: (P, N, N).
        pixel_size_angstrom: of the images.
        metadata: of the estimator, as `cryotwin.models.inputs.estimator_inputs` takes it.
        ctf: of the P images; None if they have none or it is not known.
        progress: called with the number of images that are done more.

    Raises:
        InputError: as `estimator_inputs` and `extract_features`.
    """
    if len(images) == 0:
        raise InputError("there are no images, at least one was expected")
    wants = {**metadata, "takes_ctf": takes_ctf(extractor)}
    features: list[NDArray[np.float32]] = []
    for start in range(0, len(images), BATCH):
        part = slice(start, start + BATCH)
        own_ctf = None if ctf is None else ctf.part(part)
        inputs = estimator_inputs(images[part], pixel_size_angstrom, wants, own_ctf)
        features.append(extract_features(extractor, *inputs))
        progress(len(features[-1]))
    return np.concatenate(features)


def extract_features(
    extractor: keras.Model,
    images: NDArray[np.floating],
    ctf: NDArray[np.floating] | None = None,
) -> NDArray[np.float32]:
    """Gives the features (P, D) of images (P, N, N).

    Args:
        extractor: the layer "extractor" of an estimator.
        images: as `cryotwin.models.inputs.fit_images` gives them.
        ctf: (P, N, N), as `cryotwin.models.inputs.fit_ctf` gives it, for an extractor that takes
            it; None for any other.

    Raises:
        InputError: images of another rank, not finite, constant, or none at all; or a CTF that is
            missing, not wanted, or of another shape.
    """
    check_images(images)
    inputs = [images.astype(np.float32, copy=False)]
    if takes_ctf(extractor) != (ctf is not None):
        raise InputError(
            "the estimator takes the CTF of each image, but none is given"
            if ctf is None
            else "the estimator takes images alone, but a CTF is given"
        )
    if ctf is not None:
        if ctf.shape != images.shape:
            raise InputError(f"ctf must have the images' shape {images.shape}, not {ctf.shape}")
        inputs.append(ctf.astype(np.float32, copy=False))
    parts = [
        _features(extractor, inputs, slice(start, start + BATCH))
        for start in range(0, len(images), BATCH)
    ]
    return np.concatenate(parts)


def _features(
    extractor: keras.Model, inputs: list[NDArray[np.float32]], part: slice
) -> NDArray[np.float32]:
    tensors = [array[part, ..., None] for array in inputs]
    with interrupts_held():
        features = extractor(tensors if len(tensors) > 1 else tensors[0], training=False)
        return np.asarray(ops.convert_to_numpy(features))
