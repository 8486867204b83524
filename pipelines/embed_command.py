"""The arguments of `cryotwin embed`, and what it prints."""

import argparse
import time

from cryotwin.datasets.quiet_imports import import_keras, quiet_start
from cryotwin.pipelines.command_text import command_text
from cryotwin.pipelines.output_paths import output_path

DESCRIPTION = """\
Pass particles through an estimator, and find orientations that fit the distances between them:
any number of particles, on any Apache Beam runner.

--out becomes a dataset of (key, feature), and its folder 'orientations' one of (key, quaternion,
residual_rad); tensorflow-datasets opens both. Some particles, the landmarks, are embedded on all
pairs, the others are placed by their distances to these. Orientations from distances are known up
to a gauge, the same for all: no map can be made from them before 'cryotwin recover' or
cryotwin.recovery.gauge has found it from images."""

EPILOG = """\
examples:
  cryotwin embed data/7cfn --estimator 7cfn --out features
  cryotwin embed particles.star --estimator est.keras --out features

Flags that cryotwin does not know go to Apache Beam. On all cores of this machine:
  cryotwin embed data/7cfn --estimator 7cfn --out features \\
    --direct_running_mode multi_processing --direct_num_workers 0
On a cluster as 'cryotwin generate' (docs/clusters.md). A run that was killed goes on where it
stopped. The numbers are the same whatever the runner and the workers."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments of `cryotwin embed`."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.description, parser.epilog = DESCRIPTION, EPILOG
    add = parser.add_argument
    add(
        "particles",
        metavar="PARTICLES",
        help="dataset folder, or a .star, .mrcs or .cs file; particles brighter than background",
    )
    add(
        "--estimator",
        required=True,
        metavar="FILE.keras|NAME",
        help="estimator written by cryotwin train, or the name of a published one",
    )
    add("--out", required=True, type=output_path, metavar="DIR", help="folder for the datasets")
    add("--split", default="test", metavar="NAME", help="split of a dataset folder (default: test)")
    add("--limit", type=int, metavar="N", help="use the first N particles only")
    add("--features-only", action="store_true", help="leave the orientations out")
    add(
        "--landmarks",
        type=int,
        metavar="N",
        help="embed N particles on all pairs (default: 1000, or all of up to 2000)",
    )
    add(
        "--invert-contrast",
        action=argparse.BooleanOptionalAction,
        help="particles are dark: invert them (default: refuse files with clearly dark particles)",
    )
    add("--seed", type=int, default=0, metavar="N", help="of landmarks and starts (default: 0)")
    add("--overwrite", action="store_true", help="replace a dataset that is in --out already")
    add(
        "--particles-per-shard",
        type=int,
        metavar="N",
        help="at most so many particles in a file (default: a multiple of 250, as many as a worker "
        "takes in 64 MiB of images)",
    )
    add(
        "--runner",
        metavar="NAME",
        help="Apache Beam runner, by name or full class name (default: in this process)",
    )


def run(args: argparse.Namespace, beam_args: list[str]) -> int:
    """Runs `cryotwin embed`.

    Args:
        args: what `add_arguments` declares.
        beam_args: arguments left over, for Beam.

    Raises:
        InputError: an argument or a file is bad.
        OSError: the datasets could not be written.
    """
    from cryotwin.imaging.errors import InputError

    start = time.monotonic()
    if args.seed < 0:
        raise InputError(f"--seed must be at least 0, not {args.seed}")
    import_keras()
    with quiet_start():
        from cryotwin.pipelines.embed import EmbedSettings, embed_particles
    made = embed_particles(
        args.particles,
        args.estimator,
        args.out,
        EmbedSettings(args.landmarks, args.seed, args.features_only),
        split=args.split,
        limit=args.limit,
        invert_contrast=args.invert_contrast,
        runner=args.runner,
        beam_arguments=beam_args,
        overwrite=args.overwrite,
        particles_per_shard=args.particles_per_shard,
        command=command_text("embed", add_arguments, args, beam_args),
    )
    if summary := made.metrics.summary():
        print(f"all workers: {summary}")
    if made.landmarks is not None:
        embedding = made.landmarks.embedding
        trusted = "trusted" if embedding.trusted else "NOT trusted"
        print(f"{len(made.landmarks.rows):,} landmarks: {trusted}, {embedding.reason}")
    print(
        f"wrote {args.out}: {made.count:,} features of length {made.feature_dim} "
        f"({time.monotonic() - start:.0f} s)"
    )
    return 0
