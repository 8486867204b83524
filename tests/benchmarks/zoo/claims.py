"""Locks between processes, so that a command that is started twice shares its work."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def claimed(path: Path, *, wait: bool = True) -> Iterator[bool]:
    """Holds the lock file `path`; yields whether it got it. It is free when its holder ends.

    Args:
        path: the lock file, made where it is missing and left there.
        wait: wait for another holder; otherwise yield False.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            yield False
            return
        yield True
