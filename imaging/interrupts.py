"""Ctrl-C and work that cannot be left in the middle: imports, compiled libraries, files."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def interrupts_held() -> Iterator[None]:
    """Holds Ctrl-C back until the context is left; a second one is raised where it comes.

    Python raises KeyboardInterrupt between any two instructions. Within TensorFlow that may crash
    the process, an import may swallow it, and a file's writer may turn it into another error.
    Outside the main thread, and where Ctrl-C is not Python's own, nothing changes.

    Raises:
        KeyboardInterrupt: at the end, if Ctrl-C has come meanwhile, whatever else went wrong.
    """
    before = signal.getsignal(signal.SIGINT)
    in_main = threading.current_thread() is threading.main_thread()
    if before is not signal.default_int_handler or not in_main:
        yield
        return
    seen = False

    def note(number: int, frame: FrameType | None) -> None:
        nonlocal seen
        if seen:
            signal.default_int_handler(number, frame)
        seen = True

    signal.signal(signal.SIGINT, note)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
        if seen:
            raise KeyboardInterrupt
