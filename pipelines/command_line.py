"""The `cryotwin` command: which commands there are, and how errors reach the user.

A command is a module with `add_arguments(parser)` and `run(args) -> int`. It is imported when it
is called, so that help and quick commands need not wait for TensorFlow or Beam.
"""

import _thread
import argparse
import difflib
import errno
import importlib
import os
import sys
import threading
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from types import ModuleType
from typing import Any, NoReturn

BAD_INPUT = 2
INTERRUPTED = 130
_AGAIN_SECONDS = 0.05
DEBUG_VARIABLE = "CRYOTWIN_DEBUG"

COMMANDS = {
    "demo": "everything below on the bundled structure, in a few minutes",
    "generate": "make a dataset of projections of known structures",
    "convert": "turn a dataset into RELION's .star and .mrcs files, or particles into a dataset",
    "train": "train an estimator of the distance between two views on a dataset",
    "embed": "features and orientations of any number of particles, on any Beam runner",
    "recover": "find orientations and a first map from particle images",
    "evaluate": "compare what was recovered with the truth",
    "reproduce": "make the experiments of the paper again, beside our own",
    "models": "list the published estimators, and the networks to train",
}
"""Name and purpose of each command; its module is `cryotwin.pipelines.NAME_command`."""

_TAKES_BEAM_FLAGS = {"embed", "generate"}

DESCRIPTION = """\
Twin networks for cryo-EM: from particle images to orientations and a first density map.

A network learns on projections of a known structure how far apart the directions of two views
are. From the distances between all views of a set of particles follow their orientations, and
from these a map."""

EPILOG = """\
the usual order, on the bundled structure:
  cryotwin generate 7cfn --out data/7cfn --snr-db -6
  cryotwin train data/7cfn --model polar_search --out est.keras --minutes 20
  cryotwin recover data/7cfn --estimator est.keras --out run
  cryotwin evaluate run --truth data/7cfn

on particles of your own, with a published estimator:
  cryotwin models
  cryotwin recover particles.star --estimator 7cfn --out run
  cryotwin embed data/7cfn --estimator 7cfn --out features

a dataset as RELION's files, and back:
  cryotwin convert data/7cfn --out relion/7cfn.star
  cryotwin convert relion/7cfn.star --out data/again

all of it at once, to see it work:
  cryotwin demo --out demo

the paper's experiments, as it made them and as cryotwin does:
  cryotwin reproduce --quick --out reproduction

'cryotwin COMMAND --help' says more about each command, with examples."""


class _Parser(argparse.ArgumentParser):
    """A parser whose errors take one line."""

    def error(self, message: str) -> NoReturn:
        """Prints one line that leads to the help, and exits with status 2."""
        line = " ".join(message.split())
        self.exit(BAD_INPUT, f"{self.prog}: error: {line}; see {self.prog} --help\n")

    def print_help(self, file: Any = None) -> None:
        """Prints the help; unlike argparse's own, it lets an error of writing pass."""
        print(self.format_help(), end="", file=file)


class _MainParser(_Parser):
    """The parser of `cryotwin` itself, which says what a mistyped command may have meant."""

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.dest == "command" and value not in COMMANDS:
            close = difflib.get_close_matches(str(value), COMMANDS, n=1)
            hint = f" (did you mean {close[0]!r}?)" if close else ""
            raise argparse.ArgumentError(
                None, f"COMMAND must be one of {', '.join(COMMANDS)}, not {value!r}{hint}"
            )


class _CommandParser(_Parser):
    """The parser of one command, which declares its arguments when it is first used."""

    command = ""
    module: ModuleType | None = None

    def parse_known_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> tuple[argparse.Namespace, list[str]]:
        """Parses, with the flags of Beam put aside for a command that passes them on."""
        if self.module is None:
            self.module = command_module(self.command)
            self.module.add_arguments(self)
            _add_debug(self)
        found, left = super().parse_known_args(args, namespace)
        if self.command in _TAKES_BEAM_FLAGS:
            found.beam_args, left = left, []
        if left:
            self.error(f"unrecognized argument: {left[0]}")
        return found, left


def command_module(name: str) -> ModuleType:
    """Imports the module of a command."""
    return importlib.import_module(f"cryotwin.pipelines.{name}_command")


def build_parser() -> argparse.ArgumentParser:
    """Makes the parser of `cryotwin`; it imports a command when it parses that command."""
    parser = _MainParser(
        prog="cryotwin",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"cryotwin {version('cryotwin')}")
    _add_debug(parser, default=False)
    commands = parser.add_subparsers(
        title="commands", dest="command", metavar="COMMAND", parser_class=_CommandParser
    )
    for name, purpose in COMMANDS.items():
        commands.add_parser(name, help=purpose, allow_abbrev=False).command = name
    return parser


def _add_debug(parser: argparse.ArgumentParser, default: Any = argparse.SUPPRESS) -> None:
    parser.add_argument(
        "--debug",
        action="store_true",
        default=default,
        help=f"show where an error arose (as {DEBUG_VARIABLE}=1 in the environment does)",
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Runs `cryotwin`.

    Args:
        argv: the arguments, those of the process when None.

    Returns:
        The exit status: 0; 2 after bad input or what the system refused, told in one line on
        stderr; 130 after Ctrl-C.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in words or os.environ.get(DEBUG_VARIABLE, "") not in ("", "0")
    program = "cryotwin"
    try:
        program = _program(words)
        with _dropped_interrupts_again():
            status = run_command(words)
    except SystemExit as stop:  # argparse: after help, or an error that it has told
        status = stop.code if isinstance(stop.code, int) else 0
    except KeyboardInterrupt:
        status = _tell(program, "interrupted", debug, INTERRUPTED)
    except BrokenPipeError as error:
        if _stdout_is_open():
            status = _tell(program, f"error: {_system_message(error)}", debug, BAD_INPUT)
        else:  # Its reader has seen enough, as `| head` does.
            _abandon_stdout()
            status = 0
    except Exception as error:
        message = _message(error)
        if _came_of_an_interrupt(error):
            status = _tell(program, "interrupted", debug, INTERRUPTED)
        elif message is None:
            raise
        else:
            status = _tell(program, f"error: {message}", debug, BAD_INPUT)
    return _flushed(program, status)


def run_command(words: Sequence[str]) -> int:
    """Parses and runs one command; errors are left to the caller."""
    parser = build_parser()
    args = parser.parse_args(words)
    if args.command is None:
        parser.print_help()
        return 0
    run = command_module(args.command).run
    if args.command in _TAKES_BEAM_FLAGS:
        return int(run(args, args.beam_args))
    return int(run(args))


@contextmanager
def _dropped_interrupts_again() -> Iterator[None]:
    """Repeats a Ctrl-C that met a finaliser or a callback of the garbage collector.

    Python drops exceptions there, and TensorFlow and JAX have many of both.
    """
    before = sys.unraisablehook
    again = threading.Timer(_AGAIN_SECONDS, _thread.interrupt_main)

    def hook(dropped: Any) -> None:
        nonlocal again
        if issubclass(dropped.exc_type, KeyboardInterrupt):
            # Not at once: it would be raised, and dropped, in here.
            again = threading.Timer(_AGAIN_SECONDS, _thread.interrupt_main)
            again.start()
        else:
            before(dropped)

    sys.unraisablehook = hook
    try:
        yield
    finally:
        again.cancel()
        sys.unraisablehook = before


def _program(words: Sequence[str]) -> str:
    """Names the command that is run, for messages."""
    return " ".join(["cryotwin", *[word for word in words if word in COMMANDS][:1]])


def _message(error: Exception) -> str | None:
    """Puts an error that the user can mend in one line; None for any other."""
    from cryotwin.imaging.errors import InputError

    if isinstance(error, InputError):
        text = str(error)
    elif isinstance(error, OSError):
        text = _system_message(error)
    elif isinstance(error, MemoryError):
        text = f"not enough memory ({error})" if str(error) else "not enough memory"
    else:
        return None
    return " ".join(text.split())


def _came_of_an_interrupt(error: BaseException | None) -> bool:
    """Tells whether an error arose while Ctrl-C was on its way out, as in a file's writer.

    One that was raised in its place, with `from`, is what it says.
    """
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = None if error.__suppress_context__ else error.__context__
    return error is not None


def _system_message(error: OSError) -> str:
    """Says which file the system refused, and why."""
    reason = error.strerror or str(error) or type(error).__name__
    # HDF5 and others tell of a full disk in their own words, without the number.
    if error.errno == errno.ENOSPC or "No space left on device" in str(error):
        reason = "no space left on device"
    names = [os.fspath(name) for name in (error.filename, error.filename2) if _is_path(name)]
    return f"{names[-1]!s}: {reason}" if names else reason


def _is_path(name: object) -> bool:
    return isinstance(name, str | os.PathLike) and bool(str(name))


def _tell(program: str, text: str, debug: bool, status: int) -> int:
    """Prints one line on stderr, with --debug after the traceback, and gives the status."""
    if debug:
        traceback.print_exc()
    print(f"{program}: {text}", file=sys.stderr)
    return status


def _flushed(program: str, status: int) -> int:
    """Writes out what is left of stdout, which may be a full disk or a closed pipe as well."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        _abandon_stdout()
    except OSError as error:
        _abandon_stdout()
        print(f"{program}: error: standard output: {_system_message(error)}", file=sys.stderr)
        return status or BAD_INPUT
    return status


def _stdout_is_open() -> bool:
    try:
        sys.stdout.flush()
    except OSError:
        return False
    return True


def _abandon_stdout() -> None:
    """Lets what stdout still holds go nowhere, so that Python's own flush at exit is silent."""
    sink = os.open(os.devnull, os.O_WRONLY)
    os.dup2(sink, sys.stdout.fileno())
    os.close(sink)


if __name__ == "__main__":
    sys.exit(main())
