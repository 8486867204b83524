"""The stages of a long computation: how long each takes, and word to the caller."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Stages:
    """Times the stages and tells the caller when one begins.

    Attributes:
        progress: called with a line of text.
        seconds: of each stage that is over, by its name.
    """

    def __init__(self, progress: Callable[[str], None]) -> None:
        self.progress = progress
        self.seconds: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Times what is done within, under this name; what comes again adds up."""
        self.progress(name)
        began = time.perf_counter()
        yield
        before = self.seconds.get(name, 0.0)
        self.seconds[name] = round(before + time.perf_counter() - began, 2)

    def counting(self, name: str, total: int) -> Callable[[int], None]:
        """Gives a function that takes how many particles are done more, and tells each tenth."""
        done = 0

        def count(more: int) -> None:
            nonlocal done
            before, done = done, done + more
            if 10 * done // total > 10 * before // total and done < total:
                self.progress(f"{name} ({10 * (10 * done // total)}%)")

        return count
