"""Images that do not belong among those of a particle: noise, false picks, another particle."""

import numpy as np
from numpy.typing import NDArray
from target_views import SIZE, target_views

KINDS = ("noise", "false picks", "another particle", "mixed")


def clean_junk(
    kind: str, count: int, views: NDArray[np.float32], pixel_size_angstrom: float, seed: int = 0
) -> NDArray[np.float32]:
    """Makes junk (P, N, N) without noise, of variance 1 where there is anything.

    Args:
        kind: one of `KINDS`. False picks are, one after the other, blobs as of ice, edges as of
            carbon, and particles that lie 40 pixels off the centre.
        count: P.
        views: clean views of the particle, to take pieces from.
        pixel_size_angstrom: of the views.
        seed: of what is random.
    """
    rng = np.random.default_rng(seed)
    if kind == "noise":
        return np.zeros((count, SIZE, SIZE), np.float32)
    if kind == "another particle":
        return target_views("7cfn", count, pixel_size_angstrom=pixel_size_angstrom, seed=seed + 1)[
            0
        ]
    if kind == "false picks":
        return np.stack([_false_pick(place % 3, views, rng) for place in range(count)])
    parts = [count - 2 * (count // 3), count // 3, count // 3]
    return np.concatenate(
        [
            clean_junk(each, part, views, pixel_size_angstrom, seed)
            for each, part in zip(KINDS, parts, strict=False)
        ]
    )


def _false_pick(
    sort: int, views: NDArray[np.float32], rng: np.random.Generator
) -> NDArray[np.float32]:
    axis = np.arange(SIZE) - SIZE // 2
    y, x = axis[:, None], axis[None, :]
    angle = rng.uniform(0, 2 * np.pi)
    direction = np.cos(angle), np.sin(angle)
    if sort == 0:
        centre, width = rng.uniform(-25, 25, 2), rng.uniform(6, 14)
        image = np.exp(-((x - centre[0]) ** 2 + (y - centre[1]) ** 2) / (2 * width**2))
    elif sort == 1:
        along = x * direction[0] + y * direction[1] - rng.uniform(-20, 20)
        image = 1 / (1 + np.exp(-along / 3))
    else:
        moves = tuple(int(40 * part) for part in direction)
        image = np.roll(views[rng.integers(len(views))], moves, axis=(0, 1))
    return ((image - image.mean()) / image.std()).astype(np.float32)
