"""Trying many orientations and displacements for each image, where there is none to start from."""

import numpy as np
from numpy.typing import NDArray

from cryotwin.imaging.fourier import FourierDisc, shift_phases
from cryotwin.imaging.nufft import volume_to_slices
from cryotwin.imaging.rotations import rotation_vectors_to_matrices
from cryotwin.recovery.compared_images import ComparedImages
from cryotwin.recovery.local_matching import frequency_weights
from cryotwin.recovery.reference import Reference

_BATCH = 256
_NODES, _IMAGES = 2048, 1024
"""Orientations and images at a time: bounds the memory."""


def search_nearby(
    reference: Reference,
    images: ComparedImages,
    ring_variance: NDArray[np.float64],
    rows: NDArray[np.int64],
    rotations: NDArray[np.float64],
    shifts_px: NDArray[np.float64],
    *,
    turns: NDArray[np.float64],
    moves_px: NDArray[np.float64],
    most_shift_px: float,
    threads: int = 1,
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Finds for each image the best of orientations and displacements near those it has.

    Args:
        reference: the map.
        images: all images.
        ring_variance: (rings,) variance of what image and slice differ by, in each ring.
        rows: (n,) which images.
        rotations: (n, 3, 3) where to start.
        shifts_px: (n, 2) where to start.
        turns: (M, 3) rotation vectors to try, see `turns_within`.
        moves_px: (S, 2) displacements to add, see `moves_within`.
        most_shift_px: bound of displacements in x and in y.
        threads: how many to run.

    Returns:
        Rotations (n, 3, 3), displacements (n, 2), and the log likelihood (n,) of them, but for a
        constant of each image.
    """
    weights = frequency_weights(images, ring_variance)
    found, moved = rotations.copy(), shifts_px.copy()
    scores = np.zeros(len(rows))
    offsets = rotation_vectors_to_matrices(turns)
    for start in range(0, len(rows), _BATCH):
        part = slice(start, start + _BATCH)
        candidates = offsets @ rotations[part, None]
        places = shifts_px[part, None] + moves_px
        allowed = (np.abs(places) <= most_shift_px).all(axis=2) | (moves_px == 0).all(axis=1)
        likelihoods, best_moves = reference.search(
            images, weights, rows[part], candidates, shifts_px[part], moves_px, allowed, threads
        )
        one = np.arange(len(likelihoods))
        winner = likelihoods.argmax(axis=1)
        found[part] = candidates[one, winner]
        moved[part] = places[one, best_moves[one, winner]]
        scores[part] = likelihoods[one, winner]
    return found, moved, scores


def turns_within(radius_rad: float, spacing_rad: float) -> NDArray[np.float64]:
    """Lists rotation vectors (M, 3) on a body-centred lattice in a ball, zero first."""
    reach = int(np.ceil(radius_rad / spacing_rad)) + 1
    # The lattice has the density of a simple one of that spacing, and smaller holes.
    axis = np.arange(-2 * reach, 2 * reach + 1)
    points = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), axis=-1).reshape(-1, 3)
    points = points[(points % 2 == points[:, :1] % 2).all(axis=1)] * (spacing_rad / 4 ** (1 / 3))
    lengths = np.linalg.norm(points, axis=1)
    return points[np.argsort(lengths, kind="stable")][: int((lengths <= radius_rad).sum())]


def moves_within(radius_px: float, spacing_px: float) -> NDArray[np.float64]:
    """Lists displacements (S, 2) on a square grid with zero in it."""
    reach = int(np.ceil(radius_px / spacing_px - 1e-9))
    axis = np.arange(-reach, reach + 1) * spacing_px
    return np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2)


def search_everywhere(
    volume: NDArray[np.float32],
    images: ComparedImages,
    ring_variance: NDArray[np.float64],
    rows: NDArray[np.int64],
    centres_px: NDArray[np.float64],
    *,
    grid: NDArray[np.float64],
    moves_px: NDArray[np.float64],
    threads: int = 1,
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Finds for each image the best of a grid of orientations and of displacements.

    All images are compared with the same slices, by products of matrices.

    Args:
        volume: (n, n, n), the map, on the scale of the images.
        images: all images.
        ring_variance: as for `search_nearby`.
        rows: (n,) which images.
        centres_px: (n, 2) displacements to search about.
        grid: (M, 3, 3).
        moves_px: (S, 2) what to add to them.
        threads: threads of the NUFFT.

    Returns:
        As `search_nearby`.
    """
    weights = frequency_weights(images, ring_variance)
    disc = FourierDisc(len(volume), images.disc.kx, images.disc.ky, images.disc.weights)
    scores = np.full(len(rows), -np.inf, dtype=np.float32)
    which, move = np.zeros((2, len(rows)), dtype=np.int64)
    for first in range(0, len(grid), _NODES):
        slices = volume_to_slices(
            volume, grid[first : first + _NODES], disc, tolerance=1e-3, threads=threads
        )
        for start in range(0, len(rows), _IMAGES):
            part = slice(start, start + _IMAGES)
            transfer = images.transfer[rows[part]] if len(images.transfer) > 1 else images.transfer
            centred = images.coefficients[rows[part]]
            centred = centred * shift_phases(images.disc, centres_px[part]).conj()
            weighted = centred * (transfer * weights)
            energy = (transfer**2 * weights) @ (np.abs(slices) ** 2).T / 2
            node, place, score = _best_node(slices, energy, weighted, images.disc, moves_px)
            better = start + np.flatnonzero(score > scores[part])
            which[better] = first + node[better - start]
            move[better], scores[better] = place[better - start], score[better - start]
    return grid[which], centres_px + moves_px[move], scores.astype(np.float64)


def _best_node(
    slices: NDArray[np.complex64],
    energy: NDArray[np.floating],
    weighted: NDArray[np.complex64],
    disc: FourierDisc,
    moves_px: NDArray[np.float64],
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
    """Gives of slices (M, K) the best for images (n, K), its displacement, and its score."""
    reals = _as_reals(slices).T
    best = np.full(len(weighted), -np.inf, dtype=np.float32)
    node, place = np.zeros((2, len(weighted)), dtype=np.int64)
    for index, phases in enumerate(shift_phases(disc, moves_px)):
        scores = _as_reals(weighted * phases.conj()) @ reals - energy
        winner = scores.argmax(axis=1)
        value = np.take_along_axis(scores, winner[:, None], 1)[:, 0]
        better = value > best
        best[better], node[better], place[better] = value[better], winner[better], index
    return node, place, best


def _as_reals(coefficients: NDArray[np.complexfloating]) -> NDArray[np.float32]:
    return np.concatenate([coefficients.real, coefficients.imag], axis=-1).astype(np.float32)
