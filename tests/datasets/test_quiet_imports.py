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


def test_an_interrupt_in_an_import_is_raised_at_its_end():
    steps = []

    def start():
        os.kill(os.getpid(), signal.SIGINT)
        steps.append("imported")

    with pytest.raises(KeyboardInterrupt), quiet_start():
        start()
    assert steps == ["imported"]
