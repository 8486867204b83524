"""With which commands others go on from a run, for its report."""

from cryotwin.datasets.particle_set import ParticleSet
from cryotwin.pipelines.run_files import HALF_MAP_FILES, MAP_FILE, MASK_FILE, ORIENTATIONS_FILE
from cryotwin.recovery.doubtful_particles import DOUBTFUL_BELOW

_COARSE_START_ANGSTROM = 15.0
_DIAMETER = 0.85
"""Of the mask that RELION is told to take, in boxes."""


def next_steps(
    particles: ParticleSet,
    *,
    folder: str,
    symmetry: str,
    with_ctf: bool,
    resolution_angstrom: float,
) -> list[tuple[str, str]]:
    """Says with which commands RELION and ChimeraX go on from the files of a run.

    Args:
        particles: that were recovered.
        folder: of the run, as it was named.
        symmetry: point group.
        with_ctf: whether the CTF of the particles is known.
        resolution_angstrom: of the map; RELION starts at a coarser one.

    Returns:
        Purpose and command of each. Files are named from where the particles' stacks are found:
        the run's folder if it holds the images, else the folder that `folder` is relative to.
    """
    star, model, mask, *halves = (
        f"{folder}/{name}" if particles.as_stored else name
        for name in (ORIENTATIONS_FILE, MAP_FILE, MASK_FILE, *HALF_MAP_FILES)
    )
    width = particles.images.shape[-1] * particles.pixel_size_angstrom
    start = max(1.5 * resolution_angstrom, _COARSE_START_ANGSTROM)
    words = [
        "mkdir -p refined && mpirun -n 3 relion_refine_mpi --auto_refine --split_random_halves",
        f"--i {star} --ref {model} --firstiter_cc --ini_high {start:.0f} --o refined/run",
        f"--solvent_mask {mask} --particle_diameter {_DIAMETER * width:.0f}",
        f"--sym {symmetry} --flatten_solvent --zero_mask --norm --scale",
        "--healpix_order 2 --auto_local_healpix_order 4",
        "--oversampling 1 --offset_range 5 --offset_step 2 --low_resol_join_halves 40",
    ]
    words += ["--ctf"] if with_ctf else []
    return [
        ("Look at the map and its halves (ChimeraX)", f"chimerax {model} {' '.join(halves)}"),
        (
            "Take out doubtful particles (RELION)",
            f"relion_star_handler --i {star} --o clean.star --select rlnParticleFigureOfMerit "
            f"--minval {DOUBTFUL_BELOW:g}",
        ),
        ("Refine from this map (RELION)", " ".join(words)),
    ]
