"""Imports of TensorFlow and tfds that keep their start-up chatter off the user's terminal."""

import importlib
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

from cryotwin.imaging.interrupts import interrupts_held


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

    Errors still arrive: they are Python exceptions. Ctrl-C waits for the end: large imports catch
    whatever they meet where a part is optional, and would lose it.
    """
    with interrupts_held():
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
