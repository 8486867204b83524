"""`cryotwin reproduce`: the experiments of the paper, made again beside our own."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from cryotwin.imaging.errors import InputError
from cryotwin.pipelines.output_paths import output_path

if TYPE_CHECKING:
    from cryotwin.pipelines.reproduction.experiments import Experiment

DESCRIPTION = """\
Make the experiments of the paper again, each as the paper made it and as cryotwin does, with a
table and a figure: DIR/index.html has all of them, DIR/NAME.json the numbers of each.

Without --quick it takes hours on two cores, at images of 32 px; --unreduced has the paper's own
sizes, for a GPU. What is done is not done again, and what was stopped goes on."""

EPILOG = """\
examples:
  cryotwin reproduce --list
  cryotwin reproduce --quick --out reproduction
  cryotwin reproduce figure7 figure14 --out reproduction
  cryotwin reproduce figure8 --asymmetric 7cfn --out of-7cfn"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments of `cryotwin reproduce`."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.description, parser.epilog = DESCRIPTION, EPILOG
    parser.add_argument("names", nargs="*", metavar="NAME", help="experiments (default: all)")
    parser.add_argument("--list", action="store_true", help="list the experiments and end")
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--quick", action="store_true", help="minutes instead of hours, less exact")
    size.add_argument(
        "--unreduced", action="store_true", help="the paper's sizes; days without a GPU"
    )
    parser.add_argument("--out", type=output_path, metavar="DIR", help="folder of the results")
    parser.add_argument(
        "--asymmetric",
        default="5j0n",
        metavar="STRUCTURE",
        help="particle without symmetry: a file, a PDB or EMDB id, a bundled name "
        "(default: %(default)s)",
    )
    parser.add_argument(
        "--symmetric",
        default="5a1a",
        metavar="STRUCTURE",
        help="particle with symmetry (default: %(default)s)",
    )
    parser.add_argument(
        "--symmetry",
        default="D2",
        metavar="GROUP",
        help="its point group (default: %(default)s)",
    )
    parser.add_argument(
        "--proteins",
        type=Path,
        metavar="DIR",
        help="folder with structures in train/ and held_out/, for the experiment on unseen "
        "proteins; without it that is left out",
    )


def run(args: argparse.Namespace) -> int:
    """Runs `cryotwin reproduce`.

    Raises:
        InputError: an argument or an input that cannot be used, said in one line.
    """
    from cryotwin.pipelines.reproduction.experiments import EXPERIMENTS, find_experiments

    if args.list:
        _list(find_experiments(args.names))
        return 0
    if args.out is None:
        raise InputError("--out DIR is required, the folder of the results")
    chosen = find_experiments(args.names)
    if args.proteins is None:
        needing = [each.name for each in chosen if each.needs_proteins]
        if needing and args.names:
            raise InputError(
                f"{needing[0]} needs --proteins DIR, a folder with structures in train/ and "
                "held_out/"
            )
        if needing:
            print(f"left out, as there is no --proteins: {', '.join(needing)}", flush=True)
        chosen = [each for each in chosen if not each.needs_proteins]
    from cryotwin.datasets.quiet_imports import import_keras

    import_keras()
    from cryotwin.pipelines.reproduction.page import PAGE_FILE
    from cryotwin.pipelines.reproduction.proteins import check_proteins
    from cryotwin.pipelines.reproduction.run import WORK, run_experiments
    from cryotwin.pipelines.reproduction.scale import find_scale
    from cryotwin.pipelines.reproduction.target import Target
    from cryotwin.pipelines.reproduction.workspace import Workspace
    from cryotwin.pipelines.staging import check_folder, only_run_in

    if args.proteins is not None:
        check_proteins(args.proteins)
    size = "quick" if args.quick else "unreduced" if args.unreduced else "full"
    workspace = Workspace(
        args.out / WORK,
        find_scale(size),
        asymmetric=Target.of(args.asymmetric),
        symmetric=Target.of(args.symmetric, args.symmetry),
        proteins=args.proteins,
        say=_say,
    )
    check_folder(args.out)
    for particle in ("asymmetric", "symmetric"):
        if any(particle in each.particles for each in chosen):
            getattr(workspace, particle).check(workspace.scale.box_px)
    with only_run_in(args.out):
        run_experiments(args.out, chosen, workspace, flags=_flags(args), say=_say)
    print(f"the page is {args.out / PAGE_FILE}: {len(chosen)} of {len(EXPERIMENTS)} experiments")
    return 0


def _say(text: str) -> None:
    print(text, flush=True)


def _list(experiments: list[Experiment]) -> None:
    width = max(len(each.name) for each in experiments)
    for each in experiments:
        print(f"{each.name:<{width}}  {each.title} ({each.source or 'beyond the paper'})")


def _flags(args: argparse.Namespace) -> list[str]:
    """Writes the flags that results depend on, files by their name alone."""
    flags = ["--quick"] if args.quick else ["--unreduced"] if args.unreduced else []
    for flag, value, default in (
        ("--asymmetric", args.asymmetric, "5j0n"),
        ("--symmetric", args.symmetric, "5a1a"),
        ("--symmetry", args.symmetry, "D2"),
        ("--proteins", args.proteins, None),
    ):
        if value != default:
            flags += [flag, Path(value).name]
    return flags
