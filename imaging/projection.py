"""Projections of a volume and their adjoint: P of equation (1) of the paper.

Geometry: the image of orientation R is p(y1, y2) = integral over y3 of V(R^T y), where the rows of
R are the detector's axes and the viewing direction in the object's (x, y, z).

There are three projectors behind one interface, chosen by `backend`:

- "nufft": finufft on the CPU, the reference (`cryotwin.imaging.nufft`).
- "gridding": loops of our own on the CPU, several times faster (`cryotwin.imaging.gridding`).
- "astra": ASTRA's on a CUDA device (`cryotwin.imaging.astra_projection`).
"""

from importlib import import_module
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cryotwin.imaging.errors import InputError

_BACKENDS = {
    "nufft": ("cryotwin.imaging.nufft", "NufftProjector"),
    "gridding": ("cryotwin.imaging.gridding", "GriddingProjector"),
    "astra": ("cryotwin.imaging.astra_projection", "AstraProjector"),
}
"""Module and class of each; imported when asked for, as not every machine can load all."""

BACKENDS = tuple(_BACKENDS)

TOLERANCES = (2e-6, 0.1)
"""The smallest and the largest relative error that can be asked for."""

_ORTHOGONAL = 1e-3
"""Largest entry of R R^T - I that is taken for rounding."""


class Projector(Protocol):
    """A volume, prepared once, that can be projected many times.

    Attributes:
        size: N, the edge of the volume and of the images in voxels.
        batch: images that are projected in one go; asking for fewer at a time takes longer.
    """

    size: int
    batch: int

    def project(self, rotations: ArrayLike) -> NDArray[np.float32]:
        """Projects along rotations (P, 3, 3): images (P, N, N) as y, x.

        An image does not depend on which others are asked for with it (with "gridding", bit for
        bit). Memory beyond that of the result does not grow with P.
        """
        ...


class _CheckedProjector:
    """Checks rotations before a projector of the table sees them."""

    def __init__(self, projector: Projector) -> None:
        self.size, self.batch = projector.size, projector.batch
        self._projector = projector

    def project(self, rotations: ArrayLike) -> NDArray[np.float32]:
        return self._projector.project(_as_rotations(rotations))


def make_projector(
    volume: NDArray[np.floating], *, backend: str = "nufft", tolerance: float | None = None
) -> Projector:
    """Prepares a volume for projections in many batches.

    Args:
        volume: (N, N, N) as z, y, x; its origin is voxel N // 2 on every axis.
        backend: "nufft", "gridding" or "astra", see the module's docstring.
        tolerance: relative error (2-norm, over the image set) for a volume that fills its box,
            from 2e-6 to 0.1. The default is the backend's: 2e-6 for "nufft", 1e-4 for "gridding".
            "astra" has none.

    Raises:
        InputError: the volume is no cube or not finite, the backend is unknown or can't run here,
            or the tolerance is out of range.
    """
    module = _backend_module(backend, tolerance)
    projector = getattr(module, _BACKENDS[backend][1])(_as_cube(volume), tolerance)
    return _CheckedProjector(projector)


def project_volume(
    volume: NDArray[np.floating],
    rotations: ArrayLike,
    *,
    backend: str = "nufft",
    tolerance: float | None = None,
) -> NDArray[np.float32]:
    """Projects a volume along many directions.

    Args:
        volume: (N, N, N) as z, y, x; its origin is voxel N // 2 on every axis.
        rotations: (P, 3, 3), see the module's docstring; reflections are taken as well.
        backend: "nufft", "gridding" or "astra".
        tolerance: see `make_projector`.

    Returns:
        Images (P, N, N) as y, x: line integrals in units of the volume times one voxel, limited
        to frequencies below the Nyquist frequency (except by "astra").

    Raises:
        InputError: as `make_projector`, or the rotations are no orthogonal matrices (P, 3, 3).
    """
    return make_projector(volume, backend=backend, tolerance=tolerance).project(rotations)


def backproject_images(
    images: NDArray[np.floating],
    rotations: ArrayLike,
    *,
    backend: str = "nufft",
    tolerance: float | None = None,
) -> NDArray[np.float32]:
    """Smears images back through the volume: the exact adjoint of `project_volume`.

    "nufft" and "gridding" are adjoint to their own forward projection to rounding, 1e-5 or
    better. ASTRA's projections are not a matched pair, see docs/projectors.md.

    Args:
        images: (P, N, N) as y, x.
        rotations: (P, 3, 3).
        backend: "nufft", "gridding" or "astra".
        tolerance: see `make_projector`.

    Returns:
        The volume (N, N, N) with <project(V), images> = <V, volume> for every V.

    Raises:
        InputError: images and rotations do not match or are not finite, the backend is unknown
            or can't run here, or the tolerance is out of range.
    """
    module = _backend_module(backend, tolerance)
    matrices = _as_rotations(rotations)
    if images.ndim != 3 or images.shape[1] != images.shape[2] or len(images) != len(matrices):
        raise InputError(
            "images and rotations must be (P, N, N) and (P, 3, 3), "
            f"not {images.shape} and {matrices.shape}"
        )
    _check_finite("images", images)
    return module.backproject(images, matrices, tolerance)


def check_backend(backend: str) -> None:
    """Raises InputError when `backend` is none of `BACKENDS`."""
    if backend not in BACKENDS:
        known = ", ".join(map(repr, BACKENDS))
        raise InputError(f"projector must be one of {known}, not {backend!r}")


def _backend_module(backend: str, tolerance: float | None) -> Any:
    check_backend(backend)
    low, high = TOLERANCES
    if tolerance is not None and not low <= tolerance <= high:
        raise InputError(f"tolerance must be from {low:g} to {high:g}, not {tolerance}")
    return import_module(_BACKENDS[backend][0])


def _as_cube(volume: NDArray[np.floating]) -> NDArray[np.float32]:
    if volume.ndim != 3 or len(set(volume.shape)) != 1 or not volume.size:
        raise InputError(f"volume must be a cube (N, N, N), not of shape {volume.shape}")
    _check_finite("volume", volume)
    return np.ascontiguousarray(volume, dtype=np.float32)


def _check_finite(what: str, array: NDArray[np.floating]) -> None:
    bad = array.size - np.count_nonzero(np.isfinite(array))
    if bad:
        raise InputError(f"{what} must be finite, but {bad} of {array.size} values are not")


def _as_rotations(rotations: ArrayLike) -> NDArray[np.float64]:
    """Checks that matrices are orthogonal: others would look outside the sphere that is sampled."""
    matrices = np.asarray(rotations, dtype=np.float64)
    if matrices.ndim != 3 or matrices.shape[1:] != (3, 3):
        raise InputError(f"rotations must be of shape (P, 3, 3), not {matrices.shape}")
    error = np.abs(matrices @ matrices.transpose(0, 2, 1) - np.eye(3)).max(axis=(1, 2))
    bad = np.flatnonzero(~(error < _ORTHOGONAL))
    if len(bad):
        raise InputError(
            f"rotations must be orthogonal matrices, but rotations[{bad[0]}] R has entries of "
            f"R R^T - I of up to {error[bad[0]]:.2g}"
        )
    return matrices
