"""Which particles make which batch: groups of one structure, several groups a batch."""

import numpy as np
from numpy.typing import NDArray

from cryotwin.imaging.errors import InputError
from cryotwin.imaging.randomness import keyed_generator


def groups_of(structure_of: NDArray[np.integer], particles: int) -> NDArray[np.int64]:
    """Gives the number of whole groups of `particles` that each structure (S,) has."""
    counts: NDArray[np.int64] = np.bincount(structure_of) // particles
    return counts


def batches_in_epoch(
    structure_of: NDArray[np.integer], *, structures_per_batch: int, particles: int
) -> int:
    """Gives the number of whole batches."""
    return int(groups_of(structure_of, particles).sum()) // structures_per_batch


def plan_epoch(
    structure_of: NDArray[np.integer],
    *,
    structures_per_batch: int,
    particles: int,
    seed: int,
    epoch: int,
) -> NDArray[np.int64]:
    """Deals all particles anew to the batches of an epoch.

    The particles of a structure are permuted and cut into groups; what is left over waits for
    another epoch. The groups of a structure are spread evenly over the epoch, at random within
    their parts of it, so that a batch holds different structures wherever there are as many.

    Args:
        structure_of: (P,) the structure of each particle, counted from 0.
        structures_per_batch: groups in a batch.
        particles: particles in a group.
        seed: where all randomness comes from, with `epoch`.
        epoch: counted from 0.

    Returns:
        (batches, structures_per_batch * particles) indices of particles; each appears at most
        once.
    """
    order, when = [], []
    for structure, groups in enumerate(groups_of(structure_of, particles)):
        rng = keyed_generator(seed, "order", epoch, structure)
        members = rng.permutation(np.flatnonzero(structure_of == structure))
        order.append(members[: groups * particles].reshape(groups, particles))
        when.append((np.arange(groups) + rng.random(groups)) / max(groups, 1))
    dealt = np.concatenate(order)[np.argsort(np.concatenate(when), kind="stable")]
    batches = len(dealt) // structures_per_batch
    planned: NDArray[np.int64] = dealt[: batches * structures_per_batch].reshape(batches, -1)
    return planned


def check_plan(
    structure_of: NDArray[np.integer],
    names: tuple[str, ...],
    *,
    structures_per_batch: int,
    particles: int,
) -> None:
    """Raises InputError when some structure would never be seen, or no batch is whole."""
    if structures_per_batch < 1:
        raise InputError(f"structures_per_batch must be at least 1, not {structures_per_batch}")
    if particles < 2:
        raise InputError(f"particles_per_structure must be at least 2, not {particles}")
    counts = np.bincount(structure_of)
    fewest = int(counts.argmin())
    if counts[fewest] < particles:
        raise InputError(
            f"particles_per_structure must be at most {counts[fewest]}, the particles of "
            f"{names[fewest]}, not {particles}"
        )
    groups = int((counts // particles).sum())
    if structures_per_batch > groups:
        raise InputError(
            f"structures_per_batch must be at most {groups}, the groups of {particles} particles "
            f"that there are, not {structures_per_batch}"
        )
