"""How far an estimator's distances are off: over all pairs, and at which noise and shifts.

Clean views that were never trained on are perturbed here, with one seed: the same shifts and the
same noise, only stronger or weaker, for every condition and every estimator. So rows and models
can be compared.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cryotwin.datasets.perturbation import Perturbation
from cryotwin.imaging.errors import InputError
from cryotwin.imaging.microscope import snr_from_db
from cryotwin.imaging.randomness import keyed_generator
from cryotwin.imaging.rotations import pairwise_distances
from cryotwin.models.features import extract_features
from cryotwin.models.inputs import estimator_inputs
from cryotwin.models.presets import ConditionAccuracy, DistanceAccuracy
from cryotwin.models.siamese import head_of

if TYPE_CHECKING:
    import keras

SNRS_DB = (None, -3.0, -6.0, -9.0, -12.0)
"""Of the images before they are resampled; None is no noise."""

_SHIFT_OF_BOX = 1 / 32
"""Shifts, as a part of the box, that an estimator is tried with that was trained without any."""


def distance_errors(
    model: keras.Model,
    images: NDArray[np.floating],
    quaternions: NDArray[np.floating],
    *,
    ctf: NDArray[np.floating] | None = None,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Gives estimated and true distances in rad of all pairs i < j of views, each (pairs,).

    Args:
        model: a Siamese estimator.
        images: (P, N, N), as `cryotwin.models.inputs.fit_images` gives them.
        quaternions: (P, 4), their true orientations.
        ctf: (P, N, N), as `cryotwin.models.inputs.fit_ctf` gives it, if the model takes it.

    Returns:
        Under the point group that the model's head is for.

    Raises:
        InputError: fewer than two images, or images that cannot be used.
    """
    if len(images) < 2:
        raise InputError(f"pairs need at least 2 images, not {len(images)}")
    features = extract_features(model.get_layer("extractor"), images, ctf)
    pairs = np.triu_indices(len(features), 1)
    head = head_of(model)
    estimated = head.distances_in_numpy(features, features)[pairs]
    return estimated, pairwise_distances(quaternions, symmetry=head.symmetry)[pairs]


def distance_accuracy(
    estimated: NDArray[np.floating], true: NDArray[np.floating]
) -> DistanceAccuracy:
    """Sums up estimated against true distances (pairs,) in rad."""
    error = estimated - true
    mse = float(np.mean(error**2))
    return {
        "distance_mse_rad2": mse,
        "distance_rmse_rad": mse**0.5,
        "distance_bias_rad": float(np.mean(error)),
    }


def accuracy_table(
    model: keras.Model,
    metadata: Mapping[str, Any],
    images: NDArray[np.floating],
    quaternions: NDArray[np.floating],
    *,
    snrs_db: Sequence[float | None] = SNRS_DB,
    max_shifts_px: Sequence[float] | None = None,
    seed: int = 0,
) -> list[ConditionAccuracy]:
    """Measures an estimator at several signal-to-noise ratios, with and without shifts.

    Args:
        model: a Siamese estimator.
        metadata: of the estimator. Its CTF, its shift distribution and its noise spectrum are
            applied in every condition.
        images: (P, N, N) clean views of variance 1, never trained on, of the pixel size and box
            that the noise and the shifts of the estimator refer to (`source_...`).
        quaternions: (P, 4) of the views.
        snrs_db: signal-to-noise ratios over the whole image; None is no noise.
        max_shifts_px: shifts, in pixels of `images`; by default none, and those trained for (or
            1/32 of the box where none were).
        seed: of shifts, CTF and noise.

    Returns:
        One row for each shift and ratio.

    Raises:
        InputError: images that cannot be used, or fewer than two.
    """
    pixel_size = float(metadata.get("source_pixel_size_angstrom", metadata["pixel_size_angstrom"]))
    trained = Perturbation.from_metadata(metadata)
    if max_shifts_px is None:
        max_shifts_px = (0.0, trained.max_shift_px or images.shape[-1] * _SHIFT_OF_BOX)
    rows: list[ConditionAccuracy] = []
    for shift in max_shifts_px:
        for snr_db in snrs_db:
            condition = replace(
                trained,
                noise_variance=0.0 if snr_db is None else 1 / snr_from_db(snr_db),
                max_shift_px=float(shift),
            )
            perturbed = condition.perturb_and_tell(
                images, keyed_generator(seed, "accuracy"), pixel_size_angstrom=pixel_size
            )
            fitted, ctf = estimator_inputs(perturbed.images, pixel_size, metadata, perturbed.ctf)
            errors = distance_errors(model, fitted, quaternions, ctf=ctf)
            rows.append(
                {
                    "snr_db": snr_db,
                    "max_shift_px": float(shift),
                    **distance_accuracy(*errors),
                }
            )
    return rows
