"""The arguments of `cryotwin generate`, and what it prints."""

import argparse
import shlex
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cryotwin.datasets.quiet_imports import quiet_start
from cryotwin.imaging.errors import InputError
from cryotwin.imaging.orientations import ORIENTATIONS
from cryotwin.imaging.point_groups import KNOWN_GROUPS

if TYPE_CHECKING:
    from cryotwin.pipelines.subjects import Subject

DESCRIPTION = """\
Make a dataset of projections of known structures at known orientations: train, validation and
test splits as sharded TFRecords, which tensorflow-datasets opens. Images are scaled so that clean
projections have variance 1. The train split is stored clean, for noise and shifts to be drawn
afresh while training; validation and test are stored with noise and shifts."""

EPILOG = """\
example, 5,000 particles of the bundled structure at an SNR of -6 dB, shifted by up to 3 pixels:
  cryotwin generate 7cfn --out data/ --snr-db -6 --max-shift 3

Flags that cryotwin does not know go to Apache Beam. On all cores of this machine:
  cryotwin generate 7cfn --out data/ --direct_running_mode multi_processing --direct_num_workers 0
On a cluster: --runner FlinkRunner, SparkRunner, DataflowRunner, DaskRunner or PortableRunner, with
the flags of that runner; the workers must see --out under the same path.
The examples are the same, bit for bit, whatever the runner, the workers and the shards."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments of `cryotwin generate`."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.description, parser.epilog = DESCRIPTION, EPILOG
    add = parser.add_argument
    add(
        "structures",
        nargs="+",
        metavar="STRUCTURE",
        help="bundled name (7cfn), PDB id, or file (.cif, .pdb, .mrc, .map, each also .gz)",
    )
    add("--out", required=True, type=Path, metavar="DIR", help="folder to write the dataset to")
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
        help="edge of a pixel in angstrom (default: the largest diameter fills 75%% of the box)",
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
    noise = parser.add_mutually_exclusive_group()
    noise.add_argument(
        "--snr-db",
        type=float,
        metavar="X",
        help="signal over noise variance in decibels, over the whole image (default: no noise)",
    )
    noise.add_argument(
        "--noise-variance",
        type=float,
        metavar="V",
        help="variance of the noise instead; clean projections have 1",
    )
    add(
        "--max-shift",
        type=float,
        default=0.0,
        metavar="PX",
        help="shift images in x and in y by up to so many pixels, uniformly (default: 0)",
    )
    add("--ctf", action="store_true", help="contrast transfer function; not available yet")
    add("--perturb-train", action="store_true", help="store noise and shifts in train as well")
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
    _check_arguments(args)
    from cryotwin.pipelines.generate_settings import GenerateSettings
    from cryotwin.pipelines.staging import check_output
    from cryotwin.pipelines.subjects import check_grid, read_subjects

    start = time.monotonic()
    settings = GenerateSettings(
        count=args.count,
        seed=args.seed,
        orientations=args.orientations,
        snr_db=args.snr_db,
        noise_variance=args.noise_variance,
        max_shift_px=args.max_shift,
        perturb_train=args.perturb_train,
        symmetry=args.symmetry,
        align_symmetry=args.align_symmetry,
    )
    check_grid(args.size, args.pixel_size, args.resolution)
    check_output(args.out, overwrite=args.overwrite)
    with quiet_start():
        from cryotwin.pipelines.beam_options import beam_options
        from cryotwin.pipelines.generate import generate_dataset
    beam_options(args.runner, beam_args)
    subjects = read_subjects(
        args.structures,
        size=args.size,
        pixel_size_angstrom=args.pixel_size,
        resolution_angstrom=args.resolution,
    )
    for subject in subjects:
        print(_describe(subject, chosen=args.pixel_size is None))
    folder = generate_dataset(
        subjects,
        settings,
        args.out,
        runner=args.runner,
        beam_arguments=beam_args,
        overwrite=args.overwrite,
        particles_per_shard=args.particles_per_shard,
        command=command_text(args, beam_args),
    )
    sizes = ", ".join(f"{count:,} {split}" for split, count in folder.split_sizes.items())
    print(f"wrote {args.out}: {sizes} ({time.monotonic() - start:.0f} s)")
    return 0


def command_text(args: argparse.Namespace, beam_args: Sequence[str]) -> str:
    """Writes the command line that gives `args`, without the arguments left at their defaults."""
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    words = ["cryotwin", "generate", *args.structures]
    for name, value in vars(args).items():
        known = name != "structures" and any(action.dest == name for action in parser._actions)
        if not known or value == parser.get_default(name):
            continue
        words.append("--" + name.replace("_", "-"))
        if value is not True:
            words.append(str(value))
    return shlex.join([*words, *beam_args])


def _check_arguments(args: argparse.Namespace) -> None:
    """Raises InputError for what is not available yet, before anything is read."""
    if args.ctf:
        raise InputError("--ctf is not available yet: images are made without a CTF")


def _describe(subject: "Subject", *, chosen: bool) -> str:
    """Tells what is projected, and the pixel size when it was chosen here."""
    size = len(subject.volume)
    share = subject.diameter_angstrom / (size * subject.pixel_size_angstrom)
    parts = [f"{subject.name} ({subject.source})"]
    if subject.atoms is not None:
        parts.append(f"{subject.atoms:,} atoms at {subject.resolution_angstrom:.3g} A resolution")
    parts.append(
        f"box {size} px of {subject.pixel_size_angstrom:.4g} A"
        + (" (chosen)" if chosen else "")
        + f", diameter {subject.diameter_angstrom:.0f} A, {share:.0%} of the box"
    )
    return "; ".join(parts)
