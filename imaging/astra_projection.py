"""ASTRA's projectors on a CUDA device (van Aarle et al. 2016), in the conventions of this package.

ASTRA samples rays in real space with linear interpolation: images are not limited to frequencies
below Nyquist, and agree with the other projectors where the volume is smooth. Its forward and its
back projection are not transposes of each other (see docs/projectors.md).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cryotwin.imaging.errors import InputError

_BATCH = 256
"""Images in one call, to bound the memory on the device."""


class AstraProjector:
    """Projects a volume (N, N, N) by ASTRA; see `cryotwin.imaging.projection.Projector`."""

    def __init__(self, volume: NDArray[np.float32], tolerance: float | None = None) -> None:
        _check_no_tolerance(tolerance)
        _astra_with_cuda()
        self.size = volume.shape[0]
        self.batch = _BATCH
        self._volume = volume

    def project(self, rotations: NDArray[np.floating]) -> NDArray[np.float32]:
        """Projects along `rotations` (P, 3, 3): images (P, N, N)."""
        images = np.empty((len(rotations), self.size, self.size), dtype=np.float32)
        for start in range(0, len(rotations), _BATCH):
            part = slice(start, start + _BATCH)
            # ASTRA can come back without having written: such places must not look like data.
            lines = np.full((self.size, len(images[part]), self.size), np.nan, dtype=np.float32)
            _run("FP3D_CUDA", self._volume, lines, rotations[part])
            if np.isnan(lines).any():
                raise RuntimeError(
                    "ASTRA's FP3D_CUDA left pixels unwritten: is the device's memory full?"
                )
            images[part] = lines.transpose(1, 0, 2)
        return images


def backproject(
    images: NDArray[np.floating],
    rotations: NDArray[np.floating],
    tolerance: float | None = None,
) -> NDArray[np.float32]:
    """Adds images (P, N, N) up in a volume by ASTRA: near the adjoint, not exactly it."""
    _check_no_tolerance(tolerance)
    _astra_with_cuda()
    size = images.shape[-1]
    total = np.zeros((size,) * 3, dtype=np.float32)
    for start in range(0, len(images), _BATCH):
        part = slice(start, start + _BATCH)
        volume = np.full((size,) * 3, np.nan, dtype=np.float32)
        lines = np.ascontiguousarray(images[part].transpose(1, 0, 2), dtype=np.float32)
        _run("BP3D_CUDA", volume, lines, rotations[part])
        if np.isnan(volume).any():
            raise RuntimeError(
                "ASTRA's BP3D_CUDA left voxels unwritten: is the device's memory full?"
            )
        total += volume
    return total


def geometry_vectors(rotations: NDArray[np.floating], size: int) -> NDArray[np.float64]:
    """Gives the rows (P, 12) of ASTRA's geometry `parallel3d_vec` for images of `size` pixels.

    A row is the direction of the rays, the centre of the detector, the step from column to column
    (u) and from row to row (v), each as x, y, z. ASTRA's origin is the middle of the grid, ours
    is voxel N // 2: for an even N that is half a voxel further, in the volume and on the detector.
    """
    x_axes, y_axes, views = rotations[:, 0], rotations[:, 1], rotations[:, 2]
    origin = size // 2 - (size - 1) / 2
    centres = origin * (1 - x_axes - y_axes)
    return np.concatenate([views, centres, x_axes, y_axes], axis=1)


def _run(
    algorithm: str,
    volume: NDArray[np.float32],
    lines: NDArray[np.float32],
    rotations: NDArray[np.floating],
) -> None:
    """Runs one of ASTRA's algorithms between a volume and lines (v, angle, u), both linked."""
    astra = _astra_with_cuda()
    size = volume.shape[0]
    vectors = geometry_vectors(rotations, size)
    geometry = astra.create_proj_geom("parallel3d_vec", size, size, vectors)
    with (
        _linked(astra, "-vol", astra.create_vol_geom(size, size, size), volume) as volume_id,
        _linked(astra, "-proj3d", geometry, lines) as lines_id,
    ):
        settings = astra.astra_dict(algorithm)
        settings["ProjectionDataId"] = lines_id
        settings["VolumeDataId" if algorithm == "FP3D_CUDA" else "ReconstructionDataId"] = volume_id
        algorithm_id = astra.algorithm.create(settings)
        try:
            astra.algorithm.run(algorithm_id)
        finally:
            astra.algorithm.delete(algorithm_id)


@contextmanager
def _linked(astra: Any, kind: str, geometry: Any, array: NDArray[np.float32]) -> Iterator[int]:
    """Lends an array to ASTRA, and frees what ASTRA holds of it."""
    data_id = astra.data3d.link(kind, geometry, array)
    try:
        yield data_id
    finally:
        astra.data3d.delete(data_id)


def _check_no_tolerance(tolerance: float | None) -> None:
    if tolerance is not None:
        raise InputError(f"backend 'astra' takes no tolerance, not {tolerance}: its error is fixed")


def _astra_with_cuda() -> Any:
    try:
        import astra
    except ImportError as error:
        raise InputError(
            "backend 'astra' needs the package astra-toolbox, which can't be imported here "
            f"({error}); backends 'nufft' and 'gridding' run without it"
        ) from error
    if not astra.use_cuda():
        raise InputError(
            "backend 'astra' needs a CUDA device and finds none; "
            "backends 'nufft' and 'gridding' run on the CPU"
        )
    return astra
