"""`cryotwin convert`: a dataset folder to RELION's files and back."""

import argparse
import shlex
import shutil
import time
from pathlib import Path

from cryotwin.datasets.folder import DatasetFolder, open_folder
from cryotwin.imaging.atomic import output_folder
from cryotwin.imaging.errors import InputError
from cryotwin.pipelines.output_paths import check_place, output_path
from cryotwin.pipelines.staging import check_output, check_room, prepare_staging, publish

DESCRIPTION = """\
Turn a dataset folder into a RELION 3.1 .star file with .mrcs stacks, or the particles of a .star
(RELION 3.0, 3.1 and later), .mrcs or cryoSPARC .cs file into a dataset folder. A dataset that goes
to RELION's files and back is the same: images bit for bit, keys, splits, structures, CTF and
noise, and orientations to 1e-6 radians."""

EPILOG = """\
examples:
  cryotwin convert data/7cfn --out relion/7cfn.star
  cryotwin convert relion/7cfn.star --out data/again
  cryotwin convert J12_particles.cs --out data/mine --split test"""

_PER_FILE_HELP = "at most so many particles in a stack (default: 64 MiB of them) or shard (32 MiB)"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments of `cryotwin convert`."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.description, parser.epilog = DESCRIPTION, EPILOG
    add = parser.add_argument
    add("source", metavar="SOURCE", help="a dataset folder, or a .star, .mrcs or .cs file")
    add(
        "--out",
        required=True,
        type=output_path,
        metavar="DEST",
        help="what to write: a .star file, or a dataset folder",
    )
    add(
        "--split",
        metavar="NAME",
        help="of a dataset folder, or a file that names splits: write this one alone (default: "
        "all); of a file that names none: the split of its particles (default: test)",
    )
    add("--particles-per-file", type=int, metavar="N", help=_PER_FILE_HELP)
    add("--overwrite", action="store_true", help="replace DEST if it exists")


def run(args: argparse.Namespace) -> int:
    """Runs `cryotwin convert`.

    Returns:
        The exit status, 0.

    Raises:
        InputError: an argument or a file is bad, or DEST exists.
        OSError: DEST could not be written.
    """
    if args.particles_per_file is not None and args.particles_per_file < 1:
        raise InputError(f"--particles-per-file must be at least 1, not {args.particles_per_file}")
    _check_source(args.source)
    check_place(args.out)
    start = time.monotonic()
    suffix = args.out.suffix.lower()
    if Path(args.source).is_dir():
        if suffix != ".star":
            raise InputError(
                f"{args.source} is a folder: --out must be a .star file, not '{args.out}'"
            )
        counts = _export(args)
    else:
        if suffix in (".star", ".mrcs", ".mrc", ".cs"):
            raise InputError(
                f"{args.source} is not a dataset folder: --out must be a folder, not '{args.out}'"
            )
        counts = _import(args)
    told = ", ".join(f"{count:,} {split}" for split, count in counts.items())
    print(f"wrote {args.out}: {told} ({time.monotonic() - start:.0f} s)")
    return 0


def _check_source(source: str) -> None:
    expected = "a dataset folder or a .star, .mrcs or .cs file of particles was expected"
    if not source:
        raise InputError(f"SOURCE is empty: {expected}")
    if not Path(source).exists():
        raise InputError(f"{source}: no such file or folder, {expected}")


def _export(args: argparse.Namespace) -> dict[str, int]:
    folder = open_folder(args.source)
    if args.out.is_dir():
        raise InputError(f"{args.out} is a folder; a name for a .star file was expected")
    if args.out.exists() and not args.overwrite:
        raise InputError(f"{args.out} exists already; give another --out, or --overwrite")
    splits = list(folder.split_sizes) if args.split is None else [args.split]
    check_room(args.out.parent, _shard_bytes(folder))
    from cryotwin.datasets.star_export import export_star

    export_star(folder, args.out, splits=splits, particles_per_stack=args.particles_per_file)
    return {split: folder.split_sizes[split] for split in splits}


def _import(args: argparse.Namespace) -> dict[str, int]:
    check_output(args.out, overwrite=args.overwrite)
    from cryotwin.datasets.folder_writing import write_particles
    from cryotwin.datasets.particles import read_particle_file

    particles = read_particle_file(args.source, mixed_pixel_sizes=True)
    check_room(args.out, particles.images.nbytes)
    with output_folder(args.out):
        # Nothing of an earlier run is gone on with: the time makes each run another.
        staging = prepare_staging(args.out, {"convert": args.source, "started": time.time_ns()})
        try:
            counts = write_particles(
                staging,
                particles,
                split=args.split,
                particles_per_shard=args.particles_per_file,
                command=command_text(args),
            )
            publish(staging, args.out)
        except BaseException:
            shutil.rmtree(staging, ignore_errors=True)
            raise
    return counts


def command_text(args: argparse.Namespace) -> str:
    """Writes the command line, with the names of files alone."""
    words = ["cryotwin", "convert", Path(args.source).name, "--out", args.out.name]
    if args.split is not None:
        words += ["--split", args.split]
    if args.particles_per_file is not None:
        words += ["--particles-per-file", str(args.particles_per_file)]
    return shlex.join(words)


def _shard_bytes(folder: DatasetFolder) -> int:
    return sum(path.stat().st_size for path in folder.path.glob("*.tfrecord-*"))
