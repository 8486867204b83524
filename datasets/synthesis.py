"""Particles of a structure, made from its volume: equation (1) of the paper, and its truth.

A particle depends on (seed, structure, index) alone, never on the shard, the worker or the
runner that makes it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cryotwin.datasets.perturbation import Perturbation
from cryotwin.datasets.schema import no_ctf, particle_key
from cryotwin.imaging.ctf import CtfParameters
from cryotwin.imaging.fundamental_domain import to_fundamental_domain
from cryotwin.imaging.orientations import parse_orientations
from cryotwin.imaging.projection import Projector, make_projector
from cryotwin.imaging.randomness import keyed_generator
from cryotwin.imaging.rotations import quaternions_to_matrices
from cryotwin.imaging.stopwatch import Stopwatch

PROJECTOR = "gridding"
"""The backend that datasets are made with, unless told otherwise."""

_GRIDDING_TOLERANCE = 1e-5
"""Relative error of the images: gridding is hardly faster at ten times as much."""


@dataclass(frozen=True)
class ParticleSettings:
    """How the particles of a structure are made.

    Attributes:
        structure: its name, part of every key.
        pixel_size_angstrom: edge of a pixel.
        seed: where all randomness comes from.
        orientations: a distribution of `cryotwin.imaging.orientations`; not looked at for
            particles whose orientations are given.
        perturbation: shift, CTF and noise.
        symmetry: point group of the structure. Drawn orientations are taken to its fundamental
            domain, which changes none of the images.
    """

    structure: str
    pixel_size_angstrom: float
    seed: int
    orientations: str
    perturbation: Perturbation
    symmetry: str = "C1"


@dataclass(frozen=True)
class Particles:
    """Images with their truth.

    Attributes:
        images: (P, N, N).
        quaternions: (P, 4), scalar first.
        shifts_px: (P, 2) as (x, y).
        ctf: the CTF of the P images; None when none was applied.
    """

    images: NDArray[np.float32]
    quaternions: NDArray[np.float32]
    shifts_px: NDArray[np.float32]
    ctf: CtfParameters | None


def particle_projector(volume: NDArray[np.floating], backend: str = PROJECTOR) -> Projector:
    """Prepares a volume (N, N, N) to be projected as datasets are.

    Raises:
        InputError: as `make_projector`.
    """
    tolerance = _GRIDDING_TOLERANCE if backend == "gridding" else None
    return make_projector(volume, backend=backend, tolerance=tolerance)


def make_particles(
    projector: Projector,
    indices: Sequence[int],
    settings: ParticleSettings,
    *,
    given: NDArray[np.floating] | None = None,
    stopwatch: Stopwatch | None = None,
) -> Particles:
    """Makes the particles `indices` of a structure: equation (1) of the paper.

    Args:
        projector: of a volume that is scaled to projections of variance 1.
        indices: which particles.
        settings: how.
        given: their orientations (P, 4), where these are not drawn.
        stopwatch: is told how long "project" and "perturb" took.
    """
    watch = stopwatch or Stopwatch()
    key = settings.seed, settings.structure
    quaternions = draw_orientations(indices, settings) if given is None else given
    with watch.stage("project"):
        clean = projector.project(quaternions_to_matrices(quaternions))
    with watch.stage("perturb"):
        generators = [keyed_generator(*key, i, "perturbation") for i in indices]
        perturbed = settings.perturbation.perturb_and_tell(
            clean, generators, pixel_size_angstrom=settings.pixel_size_angstrom
        )
    return Particles(
        images=perturbed.images,
        quaternions=quaternions.astype(np.float32),
        shifts_px=perturbed.shifts_px,
        ctf=perturbed.ctf,
    )


def draw_orientations(indices: Sequence[int], settings: ParticleSettings) -> NDArray[np.float64]:
    """Draws the orientations (P, 4) of the particles `indices`, in the fundamental domain."""
    key = settings.seed, settings.structure
    distribution = parse_orientations(settings.orientations).of_structure(*key)
    generators = [keyed_generator(*key, i, "orientation") for i in indices]
    drawn = distribution.draw(len(indices), generators)
    if settings.symmetry == "C1":  # Drawn ones have w >= 0 already.
        return drawn
    return to_fundamental_domain(drawn, settings.symmetry)


def particle_example(
    particles: Particles, place: int, index: int, settings: ParticleSettings
) -> dict[str, Any]:
    """Lays out one particle in the fields of the schema."""
    pixel_size = np.float32(settings.pixel_size_angstrom)
    return {
        "image": particles.images[place],
        "quaternion": particles.quaternions[place],
        "shift_angstrom": particles.shifts_px[place] * pixel_size,
        "structure": settings.structure,
        "pixel_size_angstrom": pixel_size,
        "key": particle_key(settings.structure, index),
        "noise_variance": np.float32(settings.perturbation.noise_variance),
        "ctf": _ctf_fields(particles.ctf, place),
    }


def _ctf_fields(ctf: CtfParameters | None, place: int) -> Mapping[str, np.float32]:
    if ctf is None:
        return no_ctf()
    return {name: np.float32(values[place]) for name, values in ctf.columns().items()}
