"""One map brought onto another by rotation, hand and shift, without any orientations.

All is done on Fourier coefficients F(k), whose shells are scaled to the same power: turning a map
by B turns them, F'(k) = F(B^T k); its mirror image has their conjugates; a shift t multiplies them
by exp(-2 pi i k.t / N). At low resolution every rotation of a grid is tried in both hands, with all
shifts at once by FFT. The best few are refined by Gauss-Newton steps with exact derivatives at
growing resolution, each shell weighted by its correlation (FSC).
"""

from dataclasses import dataclass

import finufft
import numpy as np
import scipy.fft
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from cryotwin.imaging.errors import InputError
from cryotwin.imaging.fourier import resize_volume
from cryotwin.imaging.rotations import rotation_grid, rotation_vectors_to_matrices
from cryotwin.imaging.volume_rotation import rotate_volume

Array = NDArray[np.float64]
Coefficients = NDArray[np.complex128]

_COARSE_SHELLS = 6
_COARSE_SIZE = 16
_GRID_SPACING_RAD = 0.26
_COARSE_POSES = 12
_LEVELS = ((4, 12), (8, 4), (16, 2), (28, 1))
"""Shells that are compared, and how many candidates get that far."""

_STEPS = 6
_LEAST_GAIN = 1e-5
_LARGEST_DAMPING = 10.0
_LEAST_WEIGHT = 0.02
_TOLERANCE = 1e-5
_BATCH = 1024


@dataclass(frozen=True)
class MapAlignment:
    """How a map is brought onto another.

    Attributes:
        rotation: (3, 3), B in V'(x) = V(B^T x).
        inverted: whether the mirror image V(-B^T x) is what fits.
        shift_px: (3,) as x, y, z: how far the turned map is moved then.
        correlation: mean Fourier shell correlation over the shells compared last, in [-1, 1].
    """

    rotation: Array
    inverted: bool
    shift_px: Array
    correlation: float

    def apply(self, volume: ArrayLike) -> NDArray[np.float32]:
        """Brings a map (N, N, N) onto the other by trigonometric interpolation."""
        turned = rotate_volume(volume, self.rotation, inverted=self.inverted)
        moved = ndimage.fourier_shift(scipy.fft.fftn(turned), self.shift_px[::-1])
        return scipy.fft.ifftn(moved).real.astype(np.float32)


def align_maps(volume: ArrayLike, reference: ArrayLike, *, both_hands: bool = True) -> MapAlignment:
    """Finds the rotation, hand and shift that bring a map onto another.

    Args:
        volume: (N, N, N) as z, y, x, the map to move.
        reference: (N, N, N), with the same pixel size.
        both_hands: whether to try the mirror image as well.

    Raises:
        InputError: the maps are no cubes of one size, are not finite, or are empty.
    """
    moving, fixed = _cube(volume, "the map"), _cube(reference, "the reference")
    if moving.shape != fixed.shape:
        raise InputError(f"maps to align must have one size, not {moving.shape} and {fixed.shape}")
    poses = _coarse_poses(moving, fixed, both_hands)
    largest = max(2, (len(moving) - 1) // 2)
    for shells, kept in _LEVELS:
        level = _Level(moving, fixed, min(shells, largest))
        refined = [level.refine(pose) for pose in poses]
        best = np.argsort([-pose.correlation for pose in refined])[:kept]
        poses = [refined[index] for index in best]
    return poses[0]


class _Level:
    """Two maps at one resolution, as coefficients of all shells up to a limit."""

    def __init__(self, moving: Array, fixed: Array, shells: int) -> None:
        size = min(len(moving), 2 * shells + 4)
        self._pixels = len(moving) / size
        self._size = size
        self._k = _half_ball(shells)
        self._shell = np.rint(np.linalg.norm(self._k, axis=1)).astype(np.intp)
        axis = np.arange(size) - size // 2
        small = resize_volume(moving, size).astype(np.complex128)
        # The transform of -2 pi i x / N times the map is the gradient of its transform.
        ramp = -2j * np.pi / size * axis
        slopes = (ramp * small, ramp[:, None] * small, ramp[:, None, None] * small)
        self._sources = np.stack([small, *slopes])
        self._scale = 1 / self._power(self._read(np.eye(3), self._sources[:1])[0])
        target = self._read(np.eye(3), resize_volume(fixed, size).astype(np.complex128)[None])[0]
        self._target = target / self._power(target)[self._shell]

    def refine(self, pose: MapAlignment) -> MapAlignment:
        """Turns and shifts by Gauss-Newton steps, as long as the correlation rises."""
        rotation, shift = pose.rotation, pose.shift_px / self._pixels
        found, slopes = self._evaluate(rotation, pose.inverted, shift)
        fsc = self._shell_correlation(found)
        damping = 1e-3
        for _ in range(_STEPS):
            step = self._step(found, slopes, fsc, damping)
            turned = rotation_vectors_to_matrices(step[None, :3])[0] @ rotation
            moved = shift + step[3:]
            trial, trial_slopes = self._evaluate(turned, pose.inverted, moved)
            trial_fsc = self._shell_correlation(trial)
            if trial_fsc[1:].mean() <= fsc[1:].mean():
                damping *= 30
                if damping > _LARGEST_DAMPING:
                    break
                continue
            gain = trial_fsc[1:].mean() - fsc[1:].mean()
            rotation, shift, found, slopes, fsc = turned, moved, trial, trial_slopes, trial_fsc
            damping /= 10
            if gain < _LEAST_GAIN:
                break
        return MapAlignment(rotation, pose.inverted, shift * self._pixels, float(fsc[1:].mean()))

    def correlate(self, rotations: Array, inverted: bool, size: int) -> NDArray[np.floating]:
        """Gives the mean FSC for each of many rotations (P, 3, 3) and all shifts of a coarse grid.

        Args:
            rotations: (P, 3, 3).
            inverted: whether the mirror image is turned.
            size: points of the grid of shifts along an axis; it spans the box.

        Returns:
            (P, size, size, size) as z, y, x; shift zero comes first, as in an FFT.
        """
        k = np.rint(self._k).astype(np.intp)
        found = self._read(rotations, self._sources[:1], single=True).reshape(len(rotations), -1)
        found = (found if inverted else found.conj()) * self._scale[self._shell]
        per_shell = np.bincount(self._shell)[self._shell] * self._shell.max()
        products = self._target * found / per_shell
        spectrum = np.zeros((len(rotations), size, size, size // 2 + 1), dtype=np.complex64)
        # On the plane x = 0 both k and -k are listed.
        on_plane = k[:, 0] == 0
        for x, y, z, values in (
            (*k.T, products),
            (*-k[on_plane].T, products[:, on_plane].conj()),
        ):
            spectrum[:, z % size, y % size, x] = values
        both_halves = scipy.fft.irfftn(spectrum, s=(size,) * 3, norm="forward")
        return np.asarray(both_halves / 2)

    def _evaluate(
        self, rotation: Array, inverted: bool, shift: Array
    ) -> tuple[Coefficients, Coefficients]:
        """Gives the moved map's coefficients (M,), and their slopes (M, 6) by turn and shift."""
        values, *gradient = self._read(rotation, self._sources) * self._scale[self._shell]
        # A turn by the vector w moves the frequency B^T k by B^T (k x w).
        slopes = np.cross(np.stack(gradient, axis=1) @ rotation.T, self._k)
        if inverted:
            values, slopes = values.conj(), slopes.conj()
        phases = np.exp(-2j * np.pi / self._size * (self._k @ shift))
        found = values * phases
        by_shift = found[:, None] * (-2j * np.pi / self._size * self._k)
        return found, np.concatenate([slopes * phases[:, None], by_shift], axis=1)

    def _step(self, found: Coefficients, slopes: Coefficients, fsc: Array, damping: float) -> Array:
        """Solves for the turn and shift that bring the coefficients nearest to the target's."""
        weights = np.maximum(fsc, _LEAST_WEIGHT)[self._shell]
        amplitude = np.maximum(fsc, _LEAST_WEIGHT)[self._shell]
        left = self._target - amplitude * found
        slopes = amplitude[:, None] * slopes
        normal = np.real(slopes.conj().T @ (weights[:, None] * slopes))
        normal[np.diag_indices(6)] *= 1 + damping
        return np.linalg.solve(normal, np.real(slopes.conj().T @ (weights * left)))

    def _read(
        self, rotation: Array, volumes: Coefficients, *, single: bool = False
    ) -> Coefficients:
        """Evaluates transforms (C, N, N, N) at B^T k for B (3, 3) or (P, 3, 3): (C, M) or (C, P M).

        In single precision, to three digits, where that will do.
        """
        points = (self._k @ rotation).reshape(-1, 3).T * (2 * np.pi / self._size)
        real, tolerance = (np.float32, 1e-3) if single else (np.float64, _TOLERANCE)
        values = volumes.astype(np.complex64) if single else volumes
        x, y, z = np.ascontiguousarray(points, dtype=real)
        found = finufft.nufft3d2(z, y, x, values, isign=-1, eps=tolerance, nthreads=1)
        return np.asarray(found).reshape(len(volumes), -1)

    def _power(self, values: Coefficients) -> Array:
        """Gives the root mean square of each shell."""
        sums = np.bincount(self._shell, np.abs(values) ** 2)
        power = np.sqrt(sums / np.maximum(np.bincount(self._shell), 1))
        return np.maximum(power, 1e-12 * max(float(power.max()), np.finfo(np.float64).tiny))

    def _shell_correlation(self, found: Coefficients) -> Array:
        """Gives the FSC of the moved map with the target, shell by shell; 0 for shell zero."""
        cross = np.bincount(self._shell, np.real(self._target.conj() * found))
        power = np.bincount(self._shell, np.abs(found) ** 2)
        power *= np.bincount(self._shell, np.abs(self._target) ** 2)
        return cross / np.sqrt(np.maximum(power, np.finfo(np.float64).tiny))


def _coarse_poses(moving: Array, fixed: Array, both_hands: bool) -> list[MapAlignment]:
    """Tries all rotations of a grid, both hands and all shifts: the best poses of each hand."""
    level = _Level(moving, fixed, _COARSE_SHELLS)
    pixels = len(moving) / _COARSE_SIZE
    rotations = rotation_grid(_GRID_SPACING_RAD)
    poses = []
    for inverted in (False, True) if both_hands else (False,):
        scores, places = [], []
        for start in range(0, len(rotations), _BATCH):
            found = level.correlate(rotations[start : start + _BATCH], inverted, _COARSE_SIZE)
            found = found.reshape(len(found), -1)
            scores.append(found.max(axis=1))
            places.append(found.argmax(axis=1))
        score, place = np.concatenate(scores), np.concatenate(places)
        for index in np.argsort(-score)[:_COARSE_POSES]:
            zyx = np.array(np.unravel_index(place[index], (_COARSE_SIZE,) * 3))
            shift = (zyx + _COARSE_SIZE // 2) % _COARSE_SIZE - _COARSE_SIZE // 2
            poses.append(
                MapAlignment(rotations[index], inverted, shift[::-1] * pixels, float(score[index]))
            )
    return poses


def _half_ball(radius: int) -> Array:
    """Lists the frequencies (M, 3) as x, y, z with 0 < |k| < radius + 1/2, one of each k and -k."""
    axis = np.arange(-radius, radius + 1)
    z, y, x = (grid.ravel() for grid in np.meshgrid(axis, axis, axis, indexing="ij"))
    first = (x > 0) | ((x == 0) & ((y > 0) | ((y == 0) & (z > 0))))
    inside = x**2 + y**2 + z**2 < (radius + 0.5) ** 2
    return np.stack([x, y, z], axis=1)[first & inside].astype(np.float64)


def _cube(volume: ArrayLike, what: str) -> Array:
    array = np.asarray(volume, dtype=np.float64)
    if array.ndim != 3 or len(set(array.shape)) != 1:
        raise InputError(f"{what} must be a cube (N, N, N), not of shape {array.shape}")
    if not np.isfinite(array).all():
        raise InputError(f"{what} holds NaN or infinite values, finite ones were expected")
    if not np.ptp(array) > 0:
        raise InputError(f"{what} is {array.flat[0]:g} everywhere: there is nothing to align")
    return array
