"""The benchmarks of the zoo: `make zoo ARGS="heads"`, and so on. See --help."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

ROOT = Path(__file__).resolve().parents[3]

if TYPE_CHECKING:
    from zoo.trainings import Training

DESCRIPTION = """\
What the zoo must show, measured: each benchmark trains what it needs, keeps it in the cache, and
writes its figure and its table into docs/. A benchmark that was stopped goes on where it was; what
is done is not done again. --jobs 2, or the same command in a second shell, uses a second core.

  heads       the distance heads, by true distance              docs/distance-head.md
  cost        the paper's training against ours                 docs/zoo-table.md
  estimators  estimators alone and with the embedding           docs/zoo-table.md
  models      cost and accuracy of all networks                 docs/zoo-table.md"""


def build_parser() -> argparse.ArgumentParser:
    """Builds the parser of the four commands."""
    parser = argparse.ArgumentParser(
        prog="make zoo", description=DESCRIPTION, formatter_class=argparse.RawTextHelpFormatter
    )
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--cache", type=Path, default=ROOT / "build" / "zoo", metavar="DIR")
    shared.add_argument("--docs", type=Path, default=ROOT / "docs", metavar="DIR")
    shared.add_argument("--jobs", type=int, default=1, metavar="N", help="processes at a time")
    shared.add_argument("--threads", type=int, default=1, metavar="N", help="of each process")
    shared.add_argument("--test-views", type=int, default=1650, metavar="N")
    shared.add_argument("--count", type=int, metavar="N", help="projections of a dataset")
    training = argparse.ArgumentParser(add_help=False)
    training.add_argument("--box", type=int, default=32, metavar="PX", help="that networks see")
    training.add_argument("--pixel-size", type=float, default=8.87, metavar="A", help="in that box")
    training.add_argument("--batch-size", type=int, default=128, metavar="B")
    training.add_argument("--learning-rate", type=float, default=2e-3, metavar="R")
    commands = parser.add_subparsers(dest="benchmark", required=True, metavar="BENCHMARK")

    heads = commands.add_parser("heads", parents=[shared, training])
    heads.add_argument("--model", default="resnet_small")
    heads.add_argument("--images", type=int, default=120_000, metavar="N", help="seen in training")
    heads.add_argument("--seeds", type=int, default=3, metavar="N")

    cost = commands.add_parser("cost", parents=[shared, training])
    cost.add_argument("--minutes", type=float, default=120, metavar="M", help="of the paper's side")
    cost.add_argument("--paper-model", default="banjac2021")
    cost.add_argument("--model", default="resnet_small", help="of ours")
    cost.add_argument(
        "--images",
        type=int,
        nargs="+",
        default=[20_000, 60_000, 180_000],
        metavar="N",
        help="a training of ours for each",
    )
    cost.add_argument("--evaluated-every", type=float, default=30, metavar="S")
    cost.add_argument("--no-full-size", action="store_true", help="leave the step at 116 px out")

    estimators = commands.add_parser("estimators", parents=[shared])
    estimators.add_argument("estimators", nargs="+", metavar="NAME|FILE.keras")
    estimators.add_argument("--max-shift", type=float, metavar="PX", help="(default: as trained)")

    models = commands.add_parser("models", parents=[shared, training])
    models.add_argument("--models", nargs="+", metavar="NAME", help="(default: all)")
    models.add_argument("--images", type=int, default=120_000, metavar="N", help="seen in training")
    models.add_argument("--snr-db", type=float, default=-12, metavar="X", help="down to, at 116 px")
    models.add_argument("--max-shift", type=float, default=0, metavar="PX", help="in training")
    return parser


def main(arguments: list[str]) -> int:
    """Runs one benchmark."""
    args = build_parser().parse_args(arguments)
    for name in ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"):
        os.environ[name] = str(args.threads)  # Before TensorFlow is loaded, here and in children.
    command = f'make zoo ARGS="{shlex.join(without_places(arguments))}"'
    from cryotwin.imaging.errors import InputError

    try:
        {"heads": _heads, "cost": _cost, "estimators": _estimators, "models": _models}[
            args.benchmark
        ](args, command)
    except InputError as error:
        print(f"zoo: {error}", file=sys.stderr)
        return 2
    return 0


def without_places(arguments: list[str]) -> list[str]:
    """Leaves out folders and how many processes work: no result depends on these."""
    kept: list[str] = []
    words = iter(arguments)
    for word in words:
        if word in ("--cache", "--docs", "--jobs"):
            next(words, None)
        elif not word.startswith(("--cache=", "--docs=", "--jobs=")):
            kept.append(Path(word).name if Path(word).is_absolute() else word)
    return kept


def _heads(args: argparse.Namespace, command: str) -> None:
    from zoo.head_comparison import compare_heads

    base = _training(args, args.model, args.images)
    compare_heads(args.cache, args.docs, base, args.seeds, args.test_views, args.jobs, command)


def _cost(args: argparse.Namespace, command: str) -> None:
    from zoo.cost_of_quality import PaperSide, compare_costs
    from zoo.paper_training import PaperTraining
    from zoo.projections import PAPER_COUNT, PAPER_TRAINING, PAPER_VALIDATION

    ours = replace(
        _training(args, args.model, args.images[0]),
        count=args.count or PAPER_COUNT,
        training_views=PAPER_TRAINING,
        validation_views=PAPER_VALIDATION,
    )
    paper = PaperTraining(
        model=args.paper_model,
        frame=ours.frame,
        count=ours.count,
        evaluated_every_s=args.evaluated_every,
    )
    compare_costs(
        args.cache,
        args.docs,
        PaperSide(paper, args.minutes, args.test_views),
        ours,
        args.images,
        not args.no_full_size,
        args.jobs,
        command,
    )


def _estimators(args: argparse.Namespace, command: str) -> None:
    from zoo.estimator_accuracy import measure_estimators
    from zoo.projections import PAPER_COUNT

    measure_estimators(
        args.cache,
        args.docs,
        args.estimators,
        args.max_shift,
        args.count or PAPER_COUNT,
        args.test_views,
        args.jobs,
        command,
    )


def _models(args: argparse.Namespace, command: str) -> None:
    from zoo.model_table import all_models, tabulate_models

    models = args.models or all_models()
    base = replace(
        _training(args, models[0], args.images), snr_db=args.snr_db, max_shift_px=args.max_shift
    )
    tabulate_models(args.cache, args.docs, models, base, args.test_views, args.jobs, command)


def _training(args: argparse.Namespace, model: str, images: int) -> Training:
    from zoo.projections import Frame
    from zoo.trainings import Training

    base = Training(
        model=model,
        images=images,
        frame=Frame(args.box, args.pixel_size),
        batch_size=args.batch_size,
        learning_rate=args.learning_rate,
    )
    return replace(base, count=args.count) if args.count else base


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
