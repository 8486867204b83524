import argparse

import pytest

from cryotwin.pipelines import embed_command, generate_command
from cryotwin.pipelines.command_text import command_text


@pytest.mark.parametrize(
    ("command", "name", "words"),
    [
        (embed_command, "embed", "a.star --estimator 7cfn --out 'with space' --seed 3"),
        (embed_command, "embed", "a.star --estimator 7cfn --out b --features-only"),
        (embed_command, "embed", "a.star --estimator 7cfn --out b --no-invert-contrast"),
        (embed_command, "embed", "a.star --estimator 7cfn --out b --invert-contrast"),
        (generate_command, "generate", "7cfn 5a1a.cif --out b --count 30 --snr-db -6.0 --ctf"),
    ],
)
def test_a_command_line_is_told_as_it_was_given(command, name, words):
    import shlex

    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    args = parser.parse_args(shlex.split(words))
    # In the order in which the arguments are declared.
    again = parser.parse_args(shlex.split(command_text(name, command.add_arguments, args))[2:])
    assert again == args
    assert sorted(shlex.split(command_text(name, command.add_arguments, args))[2:]) == sorted(
        shlex.split(words)
    )
    assert command_text(name, command.add_arguments, args, ["--x=1"]).endswith(" --x=1")
