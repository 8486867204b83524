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

Writes orientations.star (for RELION), initial_model.mrc, half_map_1.mrc,
half_map_2.mrc, metrics.json and report.html. The hand of the map is unknown: images
cannot tell a particle from its mirror image."""

EPILOG = """\
examples:
  cryotwin recover data/7cfn --estimator 7cfn --out run
  cryotwin recover particles.star --estimator est.keras --out run --max-shift 3"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments of `cryotwin recover`."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.description, parser.epilog = DESCRIPTION, EPILOG
    add = parser.add_argument
    add(
        "particles",
        metavar="PARTICLES",
        help="dataset folder, or a .star, .mrcs or .cs file; particles brighter than background",
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
    add("--symmetry", default="C1", metavar="GROUP", help="point group; only C1 so far")
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
    from cryotwin.models.inputs import check_estimator_symmetry, check_images
    from cryotwin.models.model_files import list_models, read_metadata
    from cryotwin.pipelines.run_folder import RunFolder
    from cryotwin.recovery.supported_symmetry import check_supported_symmetry

    if args.estimator is None:
        names = ", ".join(entry["name"] for entry in list_models())
        raise InputError(
            "recovery needs --estimator: a file that cryotwin train wrote, or a published name "
            f"({names}); recovery without one is not available yet"
        )
    if not 0 <= args.max_shift < float("inf"):
        raise InputError(f"--max-shift must be zero or a positive number, not {args.max_shift}")
    check_supported_symmetry(args.symmetry, "--symmetry")
    metadata = read_metadata(args.estimator)
    check_estimator_symmetry(args.symmetry, metadata)
    particles = _read(args)
    check_images(particles.images, source=str(args.particles), keys=particles.keys)
    folder = RunFolder(args.out)
    folder.begin(overwrite=args.overwrite)
    try:
        metrics = _recover_into(folder, args, particles, metadata)
    except BaseException:
        folder.discard()
        raise
    _print_summary(args.out, metrics)
    return 0


def _read(args: argparse.Namespace) -> ParticleSet:
    from cryotwin.datasets.particles import read_particles
    from cryotwin.recovery.supported_symmetry import check_supported_symmetry

    particles = read_particles(args.particles, split=args.split)
    symmetry = str(particles.metadata.get("symmetry", "C1"))
    check_supported_symmetry(symmetry, f"the symmetry of {args.particles}")
    if args.limit is not None:
        if args.limit < 1:
            raise InputError(f"--limit must be at least 1, not {args.limit}")
        particles = particles.first(args.limit)
    return particles


def _recover_into(
    folder: Any, args: argparse.Namespace, particles: ParticleSet, metadata: dict[str, Any]
) -> dict[str, Any]:
    from cryotwin.datasets.particle_ctf import particle_ctf
    from cryotwin.datasets.quiet_imports import import_keras, quiet_start

    with stages(_STEPS) as progress:
        progress("starting")
        import_keras()
        with quiet_start():
            from cryotwin.models.model_files import load
            from cryotwin.pipelines.run_report import evaluate_recovery, report_content
            from cryotwin.recovery.from_images import recover
            from cryotwin.recovery.report import write_report
        estimator = load(args.estimator)
        recovery = recover(
            particles.images,
            estimator,
            pixel_size_angstrom=particles.pixel_size_angstrom,
            ctf=particle_ctf(particles),
            symmetry=args.symmetry,
            refine=not args.no_refine,
            seed=args.seed,
            estimator_metadata=metadata,
            max_shift_px=args.max_shift,
            threads=_threads(),
            progress=progress,
        )
        progress("writing")
        pixel_size = particles.pixel_size_angstrom
        folder.write_orientations(
            particles, recovery.quaternions, recovery.shifts_px * pixel_size, recovery.confidence
        )
        folder.write_maps(recovery.volume, recovery.half_maps, pixel_size)
        truth = evaluate_recovery(recovery, particles)
        metrics = recovery.metrics | truth.metrics
        folder.write_metrics(metrics)
        content = report_content(recovery, particles, truth, metrics, metadata, _command(args))
        write_report(folder.staging / REPORT_FILE, content)
        folder.publish()
    return metrics


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
    words += ["--max-shift", f"{args.max_shift:g}"] if args.max_shift else []
    words += ["--no-refine"] if args.no_refine else []
    return " ".join(words)


def _print_summary(out: Path, metrics: dict[str, Any]) -> None:
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
    if "physical_error_rad" in metrics:
        error = metrics["physical_error_rad"]
        lines.append(
            f"  physical error      {error['mean']:.3g} rad mean, {error['median']:.3g} rad median"
        )
    print("\n".join(lines))
    print(f"read {out / REPORT_FILE}")
