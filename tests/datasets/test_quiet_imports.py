import os
import signal
import sys

import pytest

from cryotwin.datasets.quiet_imports import quiet_start


def test_what_compiled_code_writes_is_not_seen_and_stderr_comes_back(capfd):
    with quiet_start():
        os.write(2, b"chatter\n")
    os.write(2, b"news\n")
    assert capfd.readouterr().err == "news\n"


def test_an_error_passes_and_stderr_comes_back(capfd):
    with pytest.raises(ImportError, match="no such part"), quiet_start():
        raise ImportError("no such part")
    print("news", file=sys.stderr, flush=True)
    assert capfd.readouterr().err == "news\n"


def test_an_interrupt_that_an_import_swallows_is_raised_at_the_end():
    steps = []

    def swallow():
        try:
            os.kill(os.getpid(), signal.SIGINT)
        except BaseException:
            steps.append("swallowed")
        steps.append("went on")

    with pytest.raises(KeyboardInterrupt), quiet_start():
        swallow()
    assert steps == ["swallowed", "went on"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_an_interrupt_that_an_import_turns_into_another_error_is_still_one():
    def turn():
        try:
            os.kill(os.getpid(), signal.SIGINT)
        except BaseException as error:
            raise ImportError("could not load") from error

    with pytest.raises(KeyboardInterrupt), quiet_start():
        turn()
