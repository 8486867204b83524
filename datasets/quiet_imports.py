"""Imports of TensorFlow and tfds that keep their start-up chatter off the user's terminal."""

import importlib
import logging
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, ModuleType


def import_tensorflow() -> ModuleType:
    """Imports TensorFlow without its C++ log lines."""
    return _import_quietly("tensorflow")


def import_tfds() -> ModuleType:
    """Imports tensorflow-datasets without its log lines.

    It imports TensorFlow when it first needs it, as for reading: call `import_tensorflow` before.
    Features and metadata do not need it.
    """
    return _import_quietly("tensorflow_datasets")


def import_keras() -> ModuleType:
    """Imports Keras and its backend, TensorFlow or another, without their log lines."""
    return _import_quietly("keras")


def _import_quietly(name: str) -> ModuleType:
    if name in sys.modules:
        return sys.modules[name]
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with quiet_start():
        return importlib.import_module(name)


@contextmanager
def quiet_start() -> Iterator[None]:
    """Drops log records below errors, and what compiled libraries write to stderr.

    Errors still arrive: they are Python exceptions.
    """
    with _no_interrupt_lost():
        yield from _quiet()


def _quiet() -> Iterator[None]:
    sys.stderr.flush()
    saved, sink = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    os.dup2(sink, 2)
    try:
        yield
    finally:
        os.dup2(saved, 2)
        logging.disable(before)
        os.close(saved)
        os.close(sink)


@contextmanager
def _no_interrupt_lost() -> Iterator[None]:
    """Sees to it that Ctrl-C ends in KeyboardInterrupt: large imports may swallow one.

    They catch whatever they meet where a part is optional, and a callback of the interpreter
    drops exceptions.
    """
    before = signal.getsignal(signal.SIGINT)
    in_main = threading.current_thread() is threading.main_thread()
    if before is not signal.default_int_handler or not in_main:
        yield
        return
    seen = False

    def note(number: int, frame: FrameType | None) -> None:
        nonlocal seen
        seen = True
        signal.default_int_handler(number, frame)

    signal.signal(signal.SIGINT, note)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
        if seen:
            raise KeyboardInterrupt
