"""From arguments to the benchmarks: loaded once threads are set."""

import argparse
import shlex

from cryotwin.imaging.errors import InputError
from recovery_limits.limit import PARTS as LIMIT_PARTS
from recovery_limits.limit import measure_limit
from recovery_limits.map_resolution import measure_resolution
from recovery_limits.particles import Condition, make_projections
from recovery_limits.peer_levels import levels
from recovery_limits.peers import PARTS, compare_peers
from zoo.__main__ import without_places


def run(args: argparse.Namespace, arguments: list[str]) -> None:
    """Makes the projections that are needed and runs the benchmark that was asked for."""
    command = f'make limits ARGS="{shlex.join(without_structures(arguments))}"'
    for protein in getattr(args, "proteins", ["5j0n"]):
        structure = getattr(args, f"structure_{protein}")
        make_projections(args.cache, protein, args.count, structure)
    if args.benchmark == "limit":
        conditions = _conditions(args)
        measure_limit(
            args.cache,
            args.docs,
            conditions,
            args.threads,
            [part for part in LIMIT_PARTS if part != "own-map" or not args.no_own_map],
            args.only,
            command,
        )
    elif args.benchmark == "resolution":
        measure_resolution(args.cache, args.docs, _conditions(args), args.threads, command)
    else:
        chosen = levels(args.images, args.count)
        if args.levels:
            unknown = set(args.levels) - {level.name for level in chosen}
            if unknown:
                names = ", ".join(repr(level.name) for level in chosen)
                raise InputError(f"levels must be of {names}, not {sorted(unknown)[0]!r}")
            chosen = [level for level in chosen if level.name in args.levels]
        compare_peers(
            args.cache,
            args.docs,
            chosen,
            args.budget,
            args.relion_share,
            [part for part in PARTS if part != "relion" or not args.no_relion],
            args.only,
            command,
        )


def without_structures(arguments: list[str]) -> list[str]:
    """Leaves out what no result depends on: where structures, the cache and docs lie."""
    words = list(arguments)
    for name in ("--structure-5j0n", "--structure-5a1a"):
        if name in words:
            place = words.index(name)
            del words[place : place + 2]
        words = [word for word in words if not word.startswith(f"{name}=")]
    return without_places(words)


def _conditions(args: argparse.Namespace) -> list[Condition]:
    return [
        Condition(protein, snr_db, shift, args.count, args.views)
        for protein in args.proteins
        for shift in args.max_shifts
        for snr_db in args.snrs_db
    ]
