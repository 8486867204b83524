"""The benchmarks of recovery: `make limits ARGS="limit"`, and so on. See --help."""

import argparse
import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
STRUCTURES = ROOT.parent / "shared" / "data" / "targets"

DESCRIPTION = """\
What recovery must show, measured: each benchmark makes the images it needs, keeps all results in
the cache, and writes its table and its figure into docs/recovery-limits.md. A benchmark that was
stopped goes on where it was; what is done is not done again, unless the code of recovery or an
estimator is another one.

  limit       recover beside exhaustive matching against the true map
  resolution  maps from recovered orientations against the true map
  peers       recover beside ASPIRE and RELION's InitialModel"""

PROTEINS = ("5j0n", "5a1a")


def build_parser() -> argparse.ArgumentParser:
    """Builds the parser of the three commands."""
    parser = argparse.ArgumentParser(
        prog="make limits",
        description=DESCRIPTION,
        formatter_class=argparse.RawTextHelpFormatter,
    )
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--cache", type=Path, default=ROOT / "build" / "limits", metavar="DIR")
    shared.add_argument("--docs", type=Path, default=ROOT / "docs", metavar="DIR")
    shared.add_argument("--count", type=int, default=5000, metavar="N", help="over all splits")
    for protein, file in zip(PROTEINS, ("5j0n.mrc", "5a1a.cif.gz"), strict=True):
        shared.add_argument(
            f"--structure-{protein}", type=Path, default=STRUCTURES / file, metavar="FILE"
        )
    conditions = argparse.ArgumentParser(add_help=False)
    conditions.add_argument("--threads", type=int, default=2, metavar="N")
    conditions.add_argument("--proteins", nargs="+", choices=PROTEINS, default=list(PROTEINS))
    conditions.add_argument("--views", type=int, default=1650, metavar="N")
    conditions.add_argument(
        "--max-shifts",
        nargs="+",
        type=float,
        default=[5.8],
        metavar="PX",
        help="a row for each; 5.8 px is 5%% of the box",
    )
    commands = parser.add_subparsers(dest="benchmark", required=True, metavar="BENCHMARK")

    limit = commands.add_parser("limit", parents=[shared, conditions])
    limit.add_argument("--snrs-db", nargs="+", type=_decibels, default=[None, -6.0, -12.0])
    limit.add_argument(
        "--only", choices=("oracle", "own-map", "recover"), help="run these; write no table"
    )
    limit.add_argument(
        "--no-own-map", action="store_true", help="leave out the best map that the images give"
    )

    resolution = commands.add_parser("resolution", parents=[shared, conditions])
    resolution.add_argument("--snrs-db", nargs="+", type=_decibels, default=[None, -12.0])

    peers = commands.add_parser("peers", parents=[shared])
    peers.add_argument("--images", type=int, default=500, metavar="N")
    peers.add_argument(
        "--levels", nargs="+", metavar="NAME", help='such as none, 1/2 or "1/2, shifts"'
    )
    peers.add_argument("--budget", type=float, default=600, metavar="S", help="of RELION, a level")
    peers.add_argument(
        "--relion-share", type=float, default=0.2, metavar="X", help="of its 300 iterations"
    )
    peers.add_argument(
        "--no-relion", action="store_true", help="leave it out: it takes up to --budget a level"
    )
    peers.add_argument(
        "--only", choices=("aspire", "relion", "recover"), help="run these; write no table"
    )
    return parser


def _decibels(text: str) -> float | None:
    return None if text == "none" else float(text)


def main(arguments: list[str]) -> int:
    """Runs one benchmark."""
    args = build_parser().parse_args(arguments)
    threads = str(getattr(args, "threads", 1))
    for name in ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"):
        os.environ[name] = threads  # Before NumPy and TensorFlow are loaded, here and in children.
    from cryotwin.imaging.errors import InputError
    from recovery_limits.commands import run

    try:
        run(args, arguments)
    except InputError as error:
        print(f"limits: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
