"""`cryotwin recover`: from particle images to orientations, a map and a report."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cryotwin.imaging.errors import InputError
from cryotwin.pipelines.output_paths import output_path
from cryotwin.pipelines.progress import stages
from cryotwin.pipelines.run_files import REPORT_FILE

if TYPE_CHECKING:
    from cryotwin.datasets.particle_set import ParticleSet

_STEPS = 16
"""Steps of the progress bar: stages and rounds of refinement, about."""

DESCRIPTION = """\
Find the orientations of particle images and a first map of the particle, with an
estimator trained on its structure or one like it. Nothing but the images, their
pixel size and the estimator is used; where the truth is known (a dataset folder),
the report compares with it afterwards.

Writes orientations.star (for RELION, with every column that came in; for a .cs file
orientations.cs as well), initial_model.mrc, half_map_1.mrc, half_map_2.mrc,
mask.mrc, metrics.json and report.html. The hand of the map is unknown: images
cannot tell a particle from its mirror image. --flip-hand gives the other one."""

EPILOG = """\
examples:
  cryotwin recover data/7cfn --estimator 7cfn --out run
  cryotwin recover particles.star --estimator est.keras --out run --max-shift 3
  cryotwin recover dark.mrcs --estimator est.keras --out run --invert-contrast"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments of `cryotwin recover`."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.description, parser.epilog = DESCRIPTION, EPILOG
    add = parser.add_argument
    add(
        "particles",
        metavar="PARTICLES",
        help="dataset folder, or a .star, .mrcs or .cs file; particles brighter than background, "
        "or see --invert-contrast",
    )
    add("--out", required=True, type=output_path, metavar="DIR", help="folder for the results")
    known = parser.add_mutually_exclusive_group()
    known.add_argument(
        "--estimator",
        metavar="FILE.keras|NAME",
        help="estimator written by cryotwin train, or the name of a published one",
    )
    known.add_argument(
        "--structure", metavar="STRUCTURE", help="a known structure instead; not available yet"
    )
    add("--split", default="test", metavar="NAME", help="split of a dataset folder (default: test)")
    add("--limit", type=int, metavar="N", help="use the first N particles only")
    add(
        "--symmetry",
        default="C1",
        metavar="GROUP",
        help="point group of the particle, with RELION's names and axes, such as C7, D2, O or I1; "
        "that of the estimator (default: C1)",
    )
    add(
        "--invert-contrast",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="particles are darker than their surroundings (default: those of a file that does "
        "not say so must be bright; --no-invert-contrast takes them as they are)",
    )
    add(
        "--flip-hand",
        action="store_true",
        help="give the mirror image of the map, with its orientations: images do not tell the hand",
    )
    add("--no-refine", action="store_true", help="stop at the orientations from the distances")
    add(
        "--max-shift",
        type=float,
        default=0.0,
        metavar="PX",
        help="particles lie up to PX pixels off the centre of their images (default: 0)",
    )
    add("--seed", type=int, default=0, metavar="N", help="of random starts and halves (default: 0)")
    add("--overwrite", action="store_true", help="replace a run that is in --out already")


def run(args: argparse.Namespace) -> int:
    """Runs `cryotwin recover`.

    Raises:
        InputError: an argument or a file is bad.
    """
    from cryotwin.imaging.point_groups import parse_point_group
    from cryotwin.models.inputs import check_estimator_symmetry
    from cryotwin.models.model_files import list_models, read_metadata
    from cryotwin.pipelines.run_folder import RunFolder

    if args.estimator is None:
        names = ", ".join(entry["name"] for entry in list_models())
        raise InputError(
            "recovery needs --estimator: a file that cryotwin train wrote, or a published name "
            f"({names}); recovery without one is not available yet"
        )
    if not 0 <= args.max_shift < float("inf"):
        raise InputError(f"--max-shift must be zero or a positive number, not {args.max_shift}")
    args.symmetry = parse_point_group(args.symmetry)
    metadata = read_metadata(args.estimator)
    check_estimator_symmetry(args.symmetry, metadata)
    folder = RunFolder(args.out)
    folder.begin(overwrite=args.overwrite)
    try:
        metrics, notes = _recover_into(folder, args, _read(args), metadata)
    except BaseException:
        folder.discard()
        raise
    _print_summary(args.out, metrics, notes)
    return 0


def _read(args: argparse.Namespace) -> ParticleSet:
    from cryotwin.datasets.particles import read_particles
    from cryotwin.imaging.point_groups import parse_point_group
    from cryotwin.models.inputs import check_images

    particles = read_particles(args.particles, split=args.split)
    symmetry = parse_point_group(str(particles.metadata.get("symmetry", args.symmetry)))
    if symmetry != args.symmetry:
        raise InputError(
            f"--symmetry must be {symmetry!r}, with which {args.particles} was generated, "
            f"not {args.symmetry!r}"
        )
    if args.limit is not None:
        if args.limit < 1:
            raise InputError(f"--limit must be at least 1, not {args.limit}")
        particles = particles.first(args.limit)
    check_images(particles.images, source=str(args.particles), keys=particles.keys)
    return _with_bright_particles(args, particles)


def _with_bright_particles(args: argparse.Namespace, particles: ParticleSet) -> ParticleSet:
    """Inverts the contrast if that is asked for; checks it where nothing says what it is."""
    from cryotwin.datasets.contrast import check_contrast

    if args.invert_contrast:
        return particles.inverted()
    sign_is_known = bool(particles.metadata) or particles.signs is not None
    if args.invert_contrast is None and not sign_is_known:
        check_contrast(particles.images, str(args.particles))
    return particles


def _recover_into(
    folder: Any, args: argparse.Namespace, particles: ParticleSet, metadata: dict[str, Any]
) -> tuple[dict[str, Any], list[str]]:
    """Recovers, writes all files, and gives the metrics with what the user should know."""
    from cryotwin.datasets.particle_ctf import particle_ctf
    from cryotwin.datasets.quiet_imports import import_keras, quiet_start
    from cryotwin.models.inputs import describe_fit

    size, pixel_size = particles.images.shape[-1], particles.pixel_size_angstrom
    ctf = particle_ctf(particles)
    notes = [note for note in [describe_fit(size, pixel_size, metadata)] if note]
    with stages(_STEPS) as progress:
        progress("starting")
        import_keras()
        with quiet_start():
            from cryotwin.models.model_files import load
            from cryotwin.pipelines.run_report import (
                RunDescription,
                evaluate_recovery,
                report_content,
            )
            from cryotwin.recovery.from_images import recover
            from cryotwin.recovery.report import write_report
        estimator = load(args.estimator)
        recovery = recover(
            particles.images,
            estimator,
            pixel_size_angstrom=pixel_size,
            ctf=ctf,
            symmetry=args.symmetry,
            refine=not args.no_refine,
            seed=args.seed,
            estimator_metadata=metadata,
            max_shift_px=args.max_shift,
            flip_hand=args.flip_hand,
            threads=_threads(),
            progress=progress,
        )
        progress("writing")
        folder.write_orientations(
            particles,
            recovery.quaternions,
            recovery.shifts_px * pixel_size,
            recovery.confidence,
            recovery.halves,
        )
        folder.write_maps(recovery.volume, recovery.half_maps, recovery.mask, pixel_size)
        truth = evaluate_recovery(recovery, particles, symmetry=args.symmetry)
        metrics = recovery.metrics | truth.metrics | {"symmetry": args.symmetry}
        folder.write_metrics(metrics)
        described = RunDescription(
            _command(args), str(args.out), args.symmetry, args.max_shift, ctf, notes
        )
        content = report_content(recovery, particles, truth, metrics, metadata, described)
        write_report(folder.staging / REPORT_FILE, content)
        folder.publish(particles.stacks.values())
    return metrics, notes


def _threads() -> int:
    """Counts the threads that this process may use: what OMP_NUM_THREADS says, or its cores."""
    asked = os.environ.get("OMP_NUM_THREADS", "")
    if asked.isdecimal() and int(asked) > 0:
        return int(asked)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _command(args: argparse.Namespace) -> str:
    words = ["cryotwin recover", str(args.particles), "--out", str(args.out)]
    words += ["--estimator", str(args.estimator), "--seed", str(args.seed)]
    words += ["--split", args.split] if args.split != "test" else []
    words += ["--limit", str(args.limit)] if args.limit is not None else []
    words += ["--symmetry", args.symmetry] if args.symmetry != "C1" else []
    if args.invert_contrast is not None:
        words += ["--invert-contrast" if args.invert_contrast else "--no-invert-contrast"]
    words += ["--max-shift", f"{args.max_shift:g}"] if args.max_shift else []
    words += ["--flip-hand"] if args.flip_hand else []
    words += ["--no-refine"] if args.no_refine else []
    return " ".join(words)


def _print_summary(out: Path, metrics: dict[str, Any], notes: list[str]) -> None:
    resolution = metrics["resolution_angstrom"]
    common = metrics["common_line_score"]
    trusted = "trusted" if metrics["embedding_trusted"] else "NOT trusted, see the report"
    lines = [
        f"recovered {metrics['particles']:,} particles in {sum(metrics['seconds'].values()):.0f} s",
        f"  embedding           {trusted}",
        f"  common-line score   {common['before']:.3f} before the gauge, "
        f"{common['after']:.3f} at the end",
        f"  resolution          {resolution['half_maps_0143']:.1f} A between half maps (FSC 0.143)",
    ]
    if resolution.get("against_truth_05") is not None:
        lines.append(
            f"                      {resolution['against_truth_05']:.1f} A "
            "against the true map (FSC 0.5)"
        )
    other = "other than without --flip-hand" if metrics["hand_flipped"] else "see --flip-hand"
    lines.append(f"  hand                unknown ({other})")
    if "physical_error_rad" in metrics:
        error = metrics["physical_error_rad"]
        lines.append(
            f"  physical error      {error['mean']:.3g} rad mean, {error['median']:.3g} rad median"
        )
    lines += [f"note: {note}" for note in notes]
    print("\n".join(lines))
    print(f"read {out / REPORT_FILE}")
