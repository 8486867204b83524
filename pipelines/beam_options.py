"""Beam's runner and flags: which runner is meant, and which flags nobody knows."""

import argparse
import importlib
from collections.abc import Iterator, Sequence

from apache_beam.options.pipeline_options import (
    DirectOptions,
    PipelineOptions,
    PortableOptions,
    StandardOptions,
)
from apache_beam.runners.runner import PipelineRunner

from cryotwin.imaging.errors import InputError

LOCAL_RUNNER = "apache_beam.runners.portability.fn_api_runner.FnApiRunner"
"""Runs in this process. Named in full: Beam's own default first tries a downloaded program."""

_DASK_RUNNER = "apache_beam.runners.dask.dask_runner.DaskRunner"
_DASK_PARTITIONS = ("--dask_npartitions", "--dask_partition_size")
_MORE_RUNNERS = {"daskrunner": _DASK_RUNNER}


def resolve_runner(name: str | None) -> str:
    """Gives the full name of a runner's class.

    Args:
        name: a name of Beam's such as `FlinkRunner`, with any case and with or without "Runner";
            a full class name; None or `DirectRunner` for the one in this process.

    Raises:
        InputError: there is no such runner, or its extra packages are not installed.
    """
    known = {path.rsplit(".", 1)[-1].lower(): path for path in StandardOptions.ALL_KNOWN_RUNNERS}
    known |= _MORE_RUNNERS | {"directrunner": LOCAL_RUNNER, "fnapirunner": LOCAL_RUNNER}
    given = (name or "DirectRunner").lower()
    path = known.get(given) or known.get(given + "runner") or str(name)
    module, _, class_name = path.rpartition(".")
    try:
        # The import also makes the runner's own flags known to PipelineOptions.
        found = getattr(importlib.import_module(module), class_name, None)
    except (ImportError, AttributeError, ValueError) as error:  # Beam against a new pandas.
        if module:
            reason = f"{name!r} cannot be imported ({error}); install the Beam extra that it needs"
            raise InputError(f"runner {reason}") from error
    else:
        if isinstance(found, type) and issubclass(found, PipelineRunner):
            return path
    names = ", ".join(sorted(full.rsplit(".", 1)[-1] for full in set(known.values())))
    raise InputError(f"runner must be one of {names} or a full class name, not {name!r}")


def beam_options(runner: str | None, arguments: Sequence[str]) -> PipelineOptions:
    """Turns `--runner` and the flags that are Beam's into pipeline options.

    Raises:
        InputError: a flag is neither ours nor Beam's, has a bad value, or the runner is unknown.
    """
    path = resolve_runner(runner)
    unknown = unknown_arguments(arguments)
    if unknown:
        raise InputError(
            f"unknown argument {unknown[0]!r}: neither cryotwin nor Apache Beam knows it; "
            "see --help of the command"
        )
    if path == _DASK_RUNNER and not any(word.startswith(_DASK_PARTITIONS) for word in arguments):
        # Beam would put 128 orders into one task: most workers would have none.
        arguments = [*arguments, "--dask_partition_size=1"]
    options = PipelineOptions([f"--runner={path}", *arguments])
    workers = options.view_as(DirectOptions).direct_num_workers
    if workers < 0:
        raise InputError(
            f"--direct_num_workers must be at least 0 (as many as there are cores), not {workers}"
        )
    return options


def is_local(options: PipelineOptions) -> bool:
    """Tells whether the pipeline runs on this machine, in or beside this process."""
    name = str(options.view_as(StandardOptions).runner).rsplit(".", 1)[-1]
    embedded = options.view_as(PortableOptions).job_endpoint == "embed"
    return embedded or name in StandardOptions.LOCAL_RUNNERS


def unknown_arguments(arguments: Sequence[str]) -> list[str]:
    """Lists the arguments that no class of Beam's options declares."""
    if not arguments:
        return []
    parser = _OptionParser(add_help=False, allow_abbrev=False, conflict_handler="resolve")
    for options in _subclasses(PipelineOptions):
        if "_add_argparse_args" in vars(options):
            options._add_argparse_args(parser)  # type: ignore[arg-type]
    return parser.parse_known_args(list(arguments))[1]


class _OptionParser(argparse.ArgumentParser):
    """A parser that raises InputError where argparse would print usage and exit."""

    def error(self, message: str) -> None:  # type: ignore[override]
        raise InputError(f"Apache Beam's flags: {message}")


def _subclasses(base: type[PipelineOptions]) -> Iterator[type[PipelineOptions]]:
    for child in base.__subclasses__():
        yield child
        yield from _subclasses(child)
