"""The arguments of `cryotwin generate`, and what it prints."""

import argparse
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from cryotwin.datasets.quiet_imports import quiet_start
from cryotwin.imaging.orientations import ORIENTATIONS
from cryotwin.imaging.point_groups import KNOWN_GROUPS
from cryotwin.pipelines.command_text import command_text
from cryotwin.pipelines.microscope_arguments import (
    add_microscope_arguments,
    ctf_distribution,
    noise_spectrum,
    spread_note,
)
from cryotwin.pipelines.output_paths import output_path

if TYPE_CHECKING:
    from cryotwin.imaging.ctf import CtfDistribution
    from cryotwin.pipelines.generate import GeneratedDataset
    from cryotwin.pipelines.subjects import Grid, Subject

DESCRIPTION = """\
Make a dataset of projections of known structures at known orientations: train, validation and
test splits as sharded TFRecords, which tensorflow-datasets opens. Images are scaled so that clean
projections have variance 1. The train split is stored clean, for shifts, CTF and noise to be
drawn afresh while training; validation and test are stored with them."""

EPILOG = """\
example, 5,000 particles of the bundled structure at an SNR of -6 dB, shifted by up to 3 pixels:
  cryotwin generate 7cfn --out data/ --snr-db -6 --max-shift 3

Many structures at once, as a list with a header and a column 'structure', 'file', 'path' or 'id',
or as a .txt with one a line; no cluster of similar ones in two splits:
  cryotwin generate structures.csv --out data/ --count 100 --split-by cluster

Flags that cryotwin does not know go to Apache Beam. On all cores of this machine:
  cryotwin generate 7cfn --out data/ --direct_running_mode multi_processing --direct_num_workers 0
On a cluster: --runner FlinkRunner, SparkRunner, DataflowRunner, DaskRunner or PortableRunner, with
the flags of that runner; the workers must see --out and the structures under the same paths.
docs/clusters.md has the commands. A run that was killed goes on where it stopped when it is started
again. The examples are the same, bit for bit, whatever the runner, the workers and the shards."""

_TOLD_ONE_BY_ONE = 5
"""More structures than this are told by their number."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments of `cryotwin generate`."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.description, parser.epilog = DESCRIPTION, EPILOG
    add = parser.add_argument
    add(
        "structures",
        nargs="+",
        metavar="STRUCTURE",
        help="bundled name (7cfn), PDB or EMDB id, file (.cif, .pdb, .mrc, .map, each also .gz, "
        ".npz), or a list: .csv with a column structure, file, path or id (and cluster, name), or "
        ".txt",
    )
    add(
        "--out",
        required=True,
        type=output_path,
        metavar="DIR",
        help="folder to write the dataset to",
    )
    add(
        "--count",
        type=int,
        default=5000,
        metavar="N",
        help="particles per structure over all splits: 50%% train, 17%% validation, 33%% test "
        "(default: %(default)s)",
    )
    add(
        "--size",
        type=int,
        default=64,
        metavar="PX",
        help="edge of the box in pixels, even, at least 16 (default: %(default)s)",
    )
    add(
        "--pixel-size",
        type=float,
        metavar="A",
        help="edge of a pixel in angstrom (default: a structure's largest diameter fills 75%% of "
        "the box)",
    )
    add(
        "--resolution",
        type=float,
        metavar="A",
        help="resolution in angstrom of the density of an atomic model (default: 3 pixels)",
    )
    add("--seed", type=int, default=0, metavar="N", help="seed of all randomness (default: 0)")
    add(
        "--orientations",
        default="so3",
        metavar="NAME|FILE.star",
        help="; ".join(f"{name}: {meaning}" for name, meaning in ORIENTATIONS.items())
        + "; or a .star file: particle i of a structure takes row i (default: so3)",
    )
    add(
        "--symmetry",
        default="C1",
        metavar="GROUP",
        help="point group that the structures have, about RELION's axes: "
        f"{KNOWN_GROUPS}; orientations are drawn in its fundamental domain (default: C1)",
    )
    add(
        "--align-symmetry",
        action="store_true",
        help="turn a structure whose symmetry axes are not where RELION has them",
    )
    add(
        "--projector",
        default="gridding",
        metavar="NAME",
        help="gridding (fast, on the CPU), nufft (the reference), or astra (a CUDA device) "
        "(default: %(default)s)",
    )
    add_microscope_arguments(parser)
    add("--perturb-train", action="store_true", help="store train perturbed as well")
    add(
        "--split-by",
        default="particle",
        metavar="WHAT",
        help="deal each particle to a split (particle), or whole clusters of structures (cluster: "
        "column of a .csv, else each structure is its own) (default: particle)",
    )
    add(
        "--fail-fast",
        action="store_true",
        help="end when a structure cannot be used (default: leave it out and tell why in "
        "failures.jsonl)",
    )
    add("--overwrite", action="store_true", help="replace a dataset that is in --out already")
    add(
        "--particles-per-shard",
        type=int,
        metavar="N",
        help="at most so many particles in a file (default: 32 MiB of them)",
    )
    add(
        "--runner",
        metavar="NAME",
        help="Apache Beam runner, by name or full class name (default: in this process)",
    )


def run(args: argparse.Namespace, beam_args: list[str]) -> int:
    """Runs `cryotwin generate`.

    Args:
        args: what `add_arguments` declares.
        beam_args: arguments left over, for Beam.

    Returns:
        The exit status, 0.

    Raises:
        InputError: an argument or a file is bad.
        OSError: the dataset could not be written.
    """
    from cryotwin.pipelines.generate_settings import GenerateSettings
    from cryotwin.pipelines.staging import check_output
    from cryotwin.pipelines.structure_lists import list_structures
    from cryotwin.pipelines.subjects import Grid

    start = time.monotonic()
    settings = GenerateSettings(
        count=args.count,
        seed=args.seed,
        orientations=args.orientations,
        snr_db=args.snr_db,
        noise_variance=args.noise_variance,
        max_shift_px=args.max_shift,
        shift_distribution=args.shift_distribution,
        ctf=ctf_distribution(args),
        noise_spectrum=noise_spectrum(args),
        perturb_train=args.perturb_train,
        split_by=args.split_by,
        projector=args.projector,
        symmetry=args.symmetry,
        align_symmetry=args.align_symmetry,
    )
    grid = Grid(args.size, args.pixel_size, args.resolution)
    check_output(args.out, overwrite=args.overwrite)
    entries = list_structures(args.structures)
    with quiet_start():
        from cryotwin.pipelines.generate import generate_dataset
    made = generate_dataset(
        entries,
        grid,
        settings,
        args.out,
        runner=args.runner,
        beam_arguments=beam_args,
        overwrite=args.overwrite,
        fail_fast=args.fail_fast,
        particles_per_shard=args.particles_per_shard,
        command=command_text("generate", add_arguments, args, beam_args),
        announce=_announcer(grid, settings.ctf),
    )
    if summary := made.metrics.summary():
        print(f"all workers: {summary}")
    print(f"wrote {args.out}: {_contents(made)} ({time.monotonic() - start:.0f} s)")
    return 0


def _announcer(grid: "Grid", ctf: "CtfDistribution | None") -> "Callable[[list[Subject]], None]":
    """Gives a function that tells what is projected: each structure, or how many."""

    def announce(subjects: "list[Subject]") -> None:
        smallest = min(subject.pixel_size_angstrom for subject in subjects)
        if note := spread_note(ctf, grid.size, smallest):
            print(note, flush=True)
        if len(subjects) > _TOLD_ONE_BY_ONE:
            sizes = [subject.pixel_size_angstrom for subject in subjects]
            span = f"{min(sizes):.4g} to {max(sizes):.4g} A"
            print(f"{len(subjects):,} structures; box {grid.size} px of {span}", flush=True)
            return
        for subject in subjects:
            print(_describe(subject, grid), flush=True)

    return announce


def _contents(made: "GeneratedDataset") -> str:
    """Tells what a dataset holds, and what was left out."""
    parts = [f"{count:,} {split}" for split, count in made.folder.split_sizes.items()]
    structures = len(made.subjects)
    if structures > 1 or made.failures:
        parts.insert(0, f"{structures:,} structure{'s' if structures > 1 else ''}")
    if made.failures:
        parts.insert(1, f"{len(made.failures):,} failed, see failures.jsonl")
    return ", ".join(parts)


def _describe(subject: "Subject", grid: "Grid") -> str:
    """Tells what is projected, what was left out, and the pixel size when chosen here."""
    from cryotwin.imaging.structure_reports import summarise_report

    share = subject.diameter_angstrom / (grid.size * subject.pixel_size_angstrom)
    parts = [f"{subject.name} ({subject.source})"]
    if subject.atoms is not None:
        what = "residues" if "residues" in subject.report.get("kept", {}) else "atoms"
        parts.append(f"{subject.atoms:,} {what} at {subject.resolution_angstrom:.3g} A resolution")
    if subject.report:
        parts.append(summarise_report(subject.report))
    parts.append(
        f"box {grid.size} px of {subject.pixel_size_angstrom:.4g} A"
        + (" (chosen)" if grid.pixel_size_angstrom is None else "")
        + f", diameter {subject.diameter_angstrom:.0f} A, {share:.0%} of the box"
    )
    return "; ".join(parts)
