"""A stopwatch for benchmarks, and the table that stands at the end of their run."""

import statistics
import time
from collections.abc import Callable

import pytest

_RESULTS = pytest.StashKey[list[str]]()

Measure = Callable[..., None]


@pytest.fixture
def measure(request: pytest.FixtureRequest) -> Measure:
    """Gives measure(what, work, items=n, unit="images"): the median time of three calls."""
    results = request.config.stash.setdefault(_RESULTS, [])

    def run(what: str, work: Callable[[], object], *, items: int, unit: str) -> None:
        work()  # Plans, caches and compilation are not what is timed.
        seconds = []
        for _ in range(3):
            start = time.perf_counter()
            work()
            seconds.append(time.perf_counter() - start)
        median = statistics.median(seconds)
        results.append(f"{what:<56} {median:9.3f} s {items / median:14,.4g} {unit}/s")

    return run


@pytest.fixture
def record_result(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Adds a line to the table that stands at the end of the run."""
    return request.config.stash.setdefault(_RESULTS, []).append


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    results = terminalreporter.config.stash.get(_RESULTS, [])
    if results:
        terminalreporter.section("results; times are the median of three calls")
        for line in results:
            terminalreporter.write_line(line)
