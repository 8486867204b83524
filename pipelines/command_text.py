"""The command line of a run, for its metadata."""

import argparse
import shlex
from collections.abc import Callable, Sequence


def command_text(
    name: str,
    add_arguments: Callable[[argparse.ArgumentParser], None],
    args: argparse.Namespace,
    beam_args: Sequence[str] = (),
) -> str:
    """Writes the command line that gives `args`, without the arguments left at their defaults.

    Args:
        name: of the command.
        add_arguments: declares its arguments.
        args: what they are.
        beam_args: arguments that are Beam's.
    """
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    words, flags = ["cryotwin", name], list[str]()
    for action in parser._actions:
        if action.dest not in vars(args):
            continue
        value = getattr(args, action.dest)
        given = [] if isinstance(value, bool) else _texts(value)
        if not action.option_strings:
            words += given
        elif value != action.default:  # Of a pair of flags the last one says no.
            flags += [action.option_strings[-1 if value is False else 0], *given]
    return shlex.join([*words, *flags, *beam_args])


def _texts(value: object) -> list[str]:
    return [str(each) for each in (value if isinstance(value, list) else [value])]
