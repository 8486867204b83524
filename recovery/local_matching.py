"""Gauss-Newton: orientations and displacements at a maximum of the likelihood, image by image."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cryotwin.imaging.rotations import rotation_vectors_to_matrices
from cryotwin.recovery.compared_images import ComparedImages
from cryotwin.recovery.reference import Comparison, Reference

_LONGEST_TURN_RAD = 0.2
_FIRST_DAMPING = 1e-3
_SETTLED = 1e-3
"""An image whose next step promises less log likelihood is done: the step is then below a
twentieth of its standard error."""


@dataclass(frozen=True)
class LocalMatch:
    """Where n images ended.

    Attributes:
        rotations: (n, 3, 3).
        shifts_px: (n, 2) as x, y.
        comparison: of image and slice there.
    """

    rotations: NDArray[np.float64]
    shifts_px: NDArray[np.float64]
    comparison: Comparison


def match_images(
    reference: Reference,
    images: ComparedImages,
    ring_variance: NDArray[np.float64],
    rows: NDArray[np.int64],
    rotations: NDArray[np.float64],
    shifts_px: NDArray[np.float64],
    *,
    most_shift_px: float,
    steps: int,
    threads: int = 1,
) -> LocalMatch:
    """Improves orientations and displacements by damped steps (Levenberg and Marquardt).

    An image stops where its next step would change nothing that its noise lets one see.

    Args:
        reference: the map.
        images: all images.
        ring_variance: (rings,) variance of what image and slice differ by, in each ring.
        rows: (n,) which images.
        rotations: (n, 3, 3) where to start.
        shifts_px: (n, 2) where to start.
        most_shift_px: bound of displacements in x and in y; 0 leaves them as they are.
        steps: at most so many.
        threads: how many to run.
    """
    weights = frequency_weights(images, ring_variance)
    rotations, shifts_px = rotations.copy(), shifts_px.copy()
    free = 5 if most_shift_px > 0 else 3
    here = reference.compare(images, weights, rows, rotations, shifts_px, threads)
    damping = np.full(len(rows), _FIRST_DAMPING)
    active = np.arange(len(rows))
    for _ in range(steps):
        step, gain = _damped_steps(here, active, damping[active], free)
        moving = gain > _SETTLED
        active, step = active[moving], step[moving]
        if not len(active):
            break
        turned = rotation_vectors_to_matrices(step[:, :3]) @ rotations[active]
        moved = shifts_px[active]
        if free == 5:
            moved = np.clip(moved + step[:, 3:], -most_shift_px, most_shift_px)
        there = reference.compare(images, weights, rows[active], turned, moved, threads)
        error = here.ring_errors[active] @ (1 / ring_variance)
        better = there.ring_errors @ (1 / ring_variance) < error
        damping[active] *= np.where(better, 0.25, 8)
        chosen = active[better]
        rotations[chosen], shifts_px[chosen] = turned[better], moved[better]
        _replace(here, chosen, there, better)
    return LocalMatch(rotations, shifts_px, here)


def frequency_weights(
    images: ComparedImages, ring_variance: NDArray[np.float64]
) -> NDArray[np.float32]:
    """Gives the weight (K,) of the squared residual at each frequency in the log likelihood."""
    weights = images.disc.weights / ring_variance[images.disc.shells]
    return np.asarray(weights, dtype=np.float32)


def standard_errors(comparison: Comparison) -> NDArray[np.float64]:
    """Gives the error of each orientation that the noise alone would cause, (n,) rad.

    Root mean square of the angle, displacements unknown, where the log likelihood is parabolic.
    """
    normals = comparison.normals
    diagonal = np.einsum("nff->nf", normals)
    scale = 1 / np.sqrt(np.maximum(diagonal, 1e-30))
    scaled = normals * scale[:, :, None] * scale[:, None, :] + 1e-9 * np.eye(normals.shape[1])
    variances = np.einsum("nff->nf", np.linalg.inv(scaled)) * scale**2
    return np.sqrt(np.maximum(variances[:, :3], 0).sum(axis=1))


def _damped_steps(
    here: Comparison, active: NDArray[np.int64], damping: NDArray[np.float64], free: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Solves the damped normal equations; gives steps (n, free) and the log likelihood gained."""
    normals = here.normals[active, :free, :free]
    gradients = here.gradients[active, :free]
    diagonal = np.einsum("nff->nf", normals)
    damped = normals + np.eye(free) * (damping[:, None] * diagonal + 1e-30)[:, None, :]
    steps = np.linalg.solve(damped, gradients[..., None])[..., 0]
    gain = np.einsum("nf,nf->n", gradients, steps) / 2
    length = np.linalg.norm(steps[:, :3], axis=1, keepdims=True)
    return steps / np.maximum(1, length / _LONGEST_TURN_RAD), gain


def _replace(
    here: Comparison, chosen: NDArray[np.int64], there: Comparison, better: NDArray[np.bool_]
) -> None:
    here.ring_errors[chosen] = there.ring_errors[better]
    here.gradients[chosen] = there.gradients[better]
    here.normals[chosen] = there.normals[better]
    here.overlaps[chosen] = there.overlaps[better]
