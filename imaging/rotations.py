"""Orientations: quaternions, matrices, RELION's angles, and the distance between two views.

Quaternions are scalar first (w, x, y, z). A rotation matrix R (3, 3) has as its rows the
detector's x axis, y axis and the viewing direction, each in the object's frame: the image is
p(y1, y2) = integral over y3 of V(R^T y).
"""

import warnings

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial.transform import Rotation

from cryotwin.imaging.point_groups import symmetry_quaternions

Array = NDArray[np.float64]

MIRROR = np.diag([-1.0, -1.0, 1.0])
"""The matrix A of the mirrored object: R and A R give the same distances and the same
images of an object and of its mirror image through the plane of view (docs/gauge.md)."""

_BLOCK_ENTRIES = 2**22
"""Entries of a matrix of distances that are worked on at a time: bounds the memory."""

FLIP_Y = np.diag([1.0, -1.0, -1.0])
"""An image flipped in y about its origin pixel has the orientation FLIP_Y R of the same object."""


def quaternions_to_matrices(quaternions: ArrayLike) -> Array:
    """Turns quaternions (..., 4) into rotation matrices (..., 3, 3) (the paper's 2.1)."""
    quaternions = np.asarray(quaternions, dtype=np.float64)
    flat = Rotation.from_quat(quaternions.reshape(-1, 4), scalar_first=True).as_matrix()
    return flat.reshape(*quaternions.shape[:-1], 3, 3)


def matrices_to_quaternions(matrices: ArrayLike) -> Array:
    """Turns rotation matrices (..., 3, 3) into unit quaternions (..., 4) with w >= 0."""
    matrices = np.asarray(matrices, dtype=np.float64)
    rotations = Rotation.from_matrix(matrices.reshape(-1, 3, 3))
    quaternions = rotations.as_quat(canonical=True, scalar_first=True)
    return quaternions.reshape(*matrices.shape[:-2], 4)


def relion_angles_to_matrices(angles_deg: ArrayLike) -> Array:
    """Turns RELION's (rot, tilt, psi) in degrees, (P, 3), into matrices (P, 3, 3)."""
    rotations = Rotation.from_euler("ZYZ", np.asarray(angles_deg, dtype=np.float64), degrees=True)
    return np.swapaxes(rotations.as_matrix(), -1, -2)


def matrices_to_relion_angles(matrices: ArrayLike) -> Array:
    """Turns matrices (P, 3, 3) into RELION's (rot, tilt, psi) in degrees, (P, 3)."""
    transposed = np.swapaxes(np.asarray(matrices, dtype=np.float64), -1, -2)
    rotations = Rotation.from_matrix(transposed)
    # At tilt 0 and 180 only rot +- psi matters: SciPy sets one of them to zero, which is RELION's
    # own way out, and warns.
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Gimbal lock")
        return rotations.as_euler("ZYZ", degrees=True)


def uniform_quaternions(count: int, rng: np.random.Generator) -> Array:
    """Draws orientations uniform on SO(3): (count, 4) with w >= 0."""
    quaternions = rng.standard_normal((count, 4))
    quaternions /= np.linalg.norm(quaternions, axis=1, keepdims=True)
    return canonical_quaternions(quaternions)


def canonical_quaternions(quaternions: ArrayLike) -> Array:
    """Picks of q and -q (..., 4), the same orientation, the one with w >= 0."""
    quaternions = np.asarray(quaternions, dtype=np.float64)
    return np.where(quaternions[..., :1] < 0, -quaternions, quaternions)


def multiply_quaternions(first: ArrayLike, second: ArrayLike) -> Array:
    """Gives the quaternions (..., 4) of R1 R2, from those of R1 and R2, broadcast.

    Each product is the same, bit for bit, whatever else is multiplied in the same call.
    """
    w1, x1, y1, z1 = np.moveaxis(np.asarray(first, dtype=np.float64), -1, 0)
    w2, x2, y2, z2 = np.moveaxis(np.asarray(second, dtype=np.float64), -1, 0)
    return np.stack(
        [
            w1 * w2 - x1 * x2 - y1 * y2 - z1 * z2,
            w1 * x2 + x1 * w2 + y1 * z2 - z1 * y2,
            w1 * y2 - x1 * z2 + y1 * w2 + z1 * x2,
            w1 * z2 + x1 * y2 - y1 * x2 + z1 * w2,
        ],
        axis=-1,
    )


def orientation_distances(first: ArrayLike, second: ArrayLike, *, symmetry: str = "C1") -> Array:
    """Gives the angle in [0, pi] between orientations, equation (2) of the paper.

    With a point group G it is the least over g of d(Ri, Rj g): R and R g look the same.

    Args:
        first: quaternions (..., 4).
        second: quaternions (..., 4), broadcast against `first`.
        symmetry: point group of the particle.

    Returns:
        Distances (...) in radians, exact also near 0, where the arccos is not.

    Raises:
        InputError: the point group is unknown.
    """
    first = np.asarray(first, dtype=np.float64)
    second = np.asarray(second, dtype=np.float64)
    return _angles(first, nearest_copies(first, second, symmetry=symmetry))


def nearest_copies(first: ArrayLike, second: ArrayLike, *, symmetry: str) -> Array:
    """Gives of the copies R g of `second` under a point group those nearest to `first`.

    Args:
        first: quaternions (..., 4).
        second: quaternions (..., 4), broadcast against `first`.
        symmetry: point group of the particle.

    Returns:
        Quaternions (..., 4).

    Raises:
        InputError: the point group is unknown.
    """
    first = np.asarray(first, dtype=np.float64)
    second = np.asarray(second, dtype=np.float64)
    group = symmetry_quaternions(symmetry)
    if len(group) == 1:
        return second
    conjugate = np.array([1.0, -1.0, -1.0, -1.0])
    relative = multiply_quaternions(first * conjugate, second)
    best = np.full(relative.shape[:-1], -1.0)
    nearest = np.zeros(relative.shape[:-1], dtype=np.intp)
    for index, g in enumerate(group):
        cosines = np.abs(relative @ (g * conjugate))  # The scalar part of Ri^T Rj g.
        closer = cosines > best
        best[closer], nearest[closer] = cosines[closer], index
    return multiply_quaternions(second, group[nearest])


def _angles(first: Array, second: Array) -> Array:
    difference = np.linalg.norm(first - second, axis=-1)
    total = np.linalg.norm(first + second, axis=-1)
    near, far = np.minimum(difference, total), np.maximum(difference, total)
    return 4 * np.arctan2(near, far)


def pairwise_distances(
    first: ArrayLike, second: ArrayLike | None = None, *, symmetry: str = "C1"
) -> Array:
    """Gives the distances between all of `first` and all of `second`, see `orientation_distances`.

    Args:
        first: quaternions (P, 4).
        second: quaternions (L, 4); `first` again when None.
        symmetry: point group of the particle.

    Returns:
        Distances (P, L) in radians, to 1e-7. Besides them it takes a fixed 64 MB or so.

    Raises:
        InputError: the point group is unknown.
    """
    first = np.asarray(first, dtype=np.float64)
    second = first if second is None else np.asarray(second, dtype=np.float64)
    copies = [multiply_quaternions(second, g).T for g in symmetry_quaternions(symmetry)]
    distances = np.empty((len(first), len(second)))
    rows = max(1, _BLOCK_ENTRIES // max(1, len(second)))
    for start in range(0, len(first), rows):
        part, cosines = first[start : start + rows], distances[start : start + rows]
        np.abs(part @ copies[0], out=cosines)
        for copy in copies[1:]:
            np.maximum(cosines, np.abs(part @ copy), out=cosines)
        np.arccos(np.minimum(cosines, 1, out=cosines), out=cosines)
        cosines *= 2
    return distances


def rotation_grid(spacing_rad: float) -> Array:
    """Covers SO(3) evenly with about 8 pi^2 / spacing^3 matrices (M, 3, 3).

    A super-Fibonacci spiral (Alexa 2022): a low-discrepancy set of any size, without the
    structure along axes that an Euler grid has.
    """
    count = max(1, round(8 * np.pi**2 / spacing_rad**3))
    phi, psi = np.sqrt(2.0), 1.533751168755204288118041
    index = np.arange(count) + 0.5
    radius, height = np.sqrt(index / count), np.sqrt(1 - index / count)
    alpha, beta = 2 * np.pi * index / phi, 2 * np.pi * index / psi
    quaternions = np.stack(
        [
            radius * np.sin(alpha),
            radius * np.cos(alpha),
            height * np.sin(beta),
            height * np.cos(beta),
        ],
        axis=1,
    )
    return quaternions_to_matrices(quaternions)


def rotation_vectors_to_matrices(vectors: ArrayLike) -> Array:
    """Gives the matrices (..., 3, 3) of rotations by |v| radians about v (..., 3)."""
    vectors = np.asarray(vectors, dtype=np.float64)
    matrices = Rotation.from_rotvec(vectors.reshape(-1, 3)).as_matrix()
    return matrices.reshape(*vectors.shape[:-1], 3, 3)


def nearest_rotations(matrices: ArrayLike) -> Array:
    """Projects matrices (..., n, n) on SO(n): the maximiser of tr(M^T R), by SVD."""
    u, _, vt = np.linalg.svd(np.asarray(matrices, dtype=np.float64))
    sign = np.sign(np.linalg.det(u @ vt))
    u = np.concatenate([u[..., :-1], u[..., -1:] * sign[..., None, None]], axis=-1)
    return u @ vt
