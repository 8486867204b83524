"""One run of a Beam pipeline: quiet, stopped by Ctrl-C, its failure in one line, its metrics."""

import errno
import logging
import os
import re
import signal
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import apache_beam as beam
import psutil
from apache_beam.options.pipeline_options import DirectOptions, PipelineOptions

from cryotwin.pipelines.beam_options import is_local
from cryotwin.pipelines.beam_steps import NAMESPACE, TIMER_SUFFIX
from cryotwin.pipelines.workers import WorkerError, stop_requested

_THREADS = "OMP_NUM_THREADS"
"""Read by BLAS, finufft and numba alike, each at its start."""

_INTERRUPTED = (f"return code {-signal.SIGINT}", f"return code {128 + signal.SIGINT}")
"""How the loss of a process ends that Ctrl-C has reached, as itself or through its shell."""


_WORKER_MODULE = "apache_beam.runners.worker.sdk_worker_main"
"""Runs in a worker process that Beam has started on this machine."""

_LOST = "Worker subprocess exited"
"""Begins what Beam raises when a worker process of this machine has gone."""

ExceptHook = Callable[[threading.ExceptHookArgs], object]


@dataclass
class RunMetrics:
    """What workers counted and timed; empty where the runner reports no metrics.

    Attributes:
        counts: by name, such as `images`.
        seconds: of all workers together, by stage.
    """

    counts: Counter[str] = field(default_factory=Counter)
    seconds: Counter[str] = field(default_factory=Counter)

    def __add__(self, other: "RunMetrics") -> "RunMetrics":
        return RunMetrics(self.counts + other.counts, self.seconds + other.seconds)

    def summary(self) -> str:
        """Tells what was made and where the time went, in one line; "" without metrics."""
        counts = [f"{count:,} {name}" for name, count in self.counts.items() if count]
        times = [f"{stage} {seconds:.1f} s" for stage, seconds in self.seconds.items()]
        return f"{', '.join(counts)} made; {', '.join(times)}" if times else ""


def run_elements(
    elements: Sequence[Any],
    work: beam.PTransform[Any, Any],
    options: PipelineOptions,
    progress: AbstractContextManager[None],
    log: Path,
) -> RunMetrics:
    """Runs a pipeline in which each element is one piece of work.

    Args:
        elements: the orders.
        work: carries them out.
        options: of one pipeline alone, as runners change them.
        progress: entered while the pipeline runs.
        log: file for what worker processes of this machine print.

    Raises:
        OSError: a worker, or the runner, failed; the message is one line.
        KeyboardInterrupt: after Ctrl-C, once the workers of this process have stopped.
    """
    level = logging.CRITICAL if is_local(options) else logging.ERROR
    with (
        _logging_at(level),
        _interruptible(),
        _noticing_lost_workers() as lost,
        _one_thread_a_worker(),
        _output_of_workers(options, log),
        progress,
    ):
        result = None
        try:
            pipeline = beam.Pipeline(options=options)
            (
                pipeline
                | "Orders" >> beam.Create(list(elements))
                | "Spread" >> beam.Reshuffle()
                | "Work" >> work
            )
            result = pipeline.run()
            result.wait_until_finish()
            return _metrics(result)
        except KeyboardInterrupt:
            if lost:
                raise OSError(f"{lost[0]}; see {log}; started again, the run goes on") from None
            raise
        except Exception as error:
            if stop_requested.is_set():  # Beam turns Ctrl-C in a worker into a RuntimeError.
                raise KeyboardInterrupt from None
            raise _told_by_a_worker(error) or _told_by_the_runner(error, log) from error
        finally:
            _close(result)


def _told_by_a_worker(error: Exception) -> OSError | None:
    """Finds the line of a WorkerError in what a runner raises, a traceback as text."""
    lines = re.findall(rf"{WorkerError.__name__}: (.*)", f"{type(error).__name__}: {error}")
    if not lines:
        return None
    line = re.sub(r" \[while running .*", "", lines[-1]).strip()
    refused = re.fullmatch(r"(.+): cannot write \((.+)\)", line)
    numbers = {os.strerror(number): number for number in errno.errorcode}
    if not refused or refused[2] not in numbers:
        return OSError(line)
    return OSError(numbers[refused[2]], refused[2], refused[1])


def _told_by_the_runner(error: Exception, log: Path) -> OSError:
    """Shortens what a runner says to the two lines that tell most."""
    text = f"{type(error).__name__}: {error}"
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    seen = f"; see {log}" if log.exists() else ""
    told = " ... ".join(dict.fromkeys([lines[0], lines[-1]]))
    return OSError(f"the Beam pipeline failed ({told}){seen}")


def _metrics(result: Any) -> RunMetrics:
    found = RunMetrics()
    try:
        told = result.metrics().query()
    except NotImplementedError:  # DaskRunner has none.
        return found
    for counter in told["counters"]:
        if counter.key.metric.namespace == NAMESPACE:
            found.counts[counter.key.metric.name] += counter.result
    for timer in told["distributions"]:
        if timer.key.metric.namespace == NAMESPACE:
            stage = timer.key.metric.name.removesuffix(TIMER_SUFFIX)
            found.seconds[stage] += timer.result.sum / 1e6
    return found


def _close(result: Any) -> None:
    """Lets go of a Dask cluster: DaskRunner leaves its client open."""
    client = getattr(result, "client", None)
    if client is not None:
        client.close()


def _end_worker_processes() -> None:
    """Ends the worker processes that Beam has started on this machine."""
    for child in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):
            if _WORKER_MODULE in " ".join(child.cmdline()):
                child.kill()


@contextmanager
def _logging_at(level: int) -> Iterator[None]:
    """Drops what Beam logs below `level`; it uses its own logger and the root one."""
    loggers = [logging.getLogger(), logging.getLogger("apache_beam")]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(level)
    try:
        yield
    finally:
        for logger, old in zip(loggers, before, strict=True):
            logger.setLevel(old)


@contextmanager
def _interruptible() -> Iterator[None]:
    """Lets Ctrl-C stop the workers of this process within one batch."""
    stop_requested.clear()
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, frame: FrameType | None) -> None:
        stop_requested.set()
        _end_worker_processes()  # At once: on its way out Beam waits for those that are starting.
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def _noticing_lost_workers() -> Iterator[list[str]]:
    """Ends a run on this machine that has lost a worker process: Beam would wait for ever.

    Beam raises the loss in the thread that minds the process, where nobody hears of it.
    """
    lost: list[str] = []
    before, main = threading.excepthook, threading.main_thread().ident

    def notice(raised: threading.ExceptHookArgs) -> None:
        text = str(raised.exc_value)
        if stop_requested.is_set() and _LOST in text:
            return
        if not text.endswith(_INTERRUPTED):  # After Ctrl-C the user has one line already.
            before(raised)
        if main and _LOST in text:
            if not text.endswith(_INTERRUPTED):
                lost.append(text)
            signal.pthread_kill(main, signal.SIGINT)  # Wakes it, where it waits for a lock.

    threading.excepthook = notice
    try:
        yield lost
    finally:
        threading.excepthook = before
        if stop_requested.is_set():  # Losses go on being noticed, and one line has told of it.
            threading.excepthook = _except_losses(before)


def _except_losses(hook: ExceptHook) -> ExceptHook:
    """Makes a hook for exceptions of threads pass over lost worker processes."""

    def pass_over(raised: threading.ExceptHookArgs) -> None:
        if _LOST not in str(raised.exc_value):
            hook(raised)

    return pass_over


@contextmanager
def _one_thread_a_worker() -> Iterator[None]:
    """Gives worker processes that start meanwhile one thread for BLAS, unless the user chose."""
    given = os.environ.get(_THREADS)
    os.environ[_THREADS] = given or "1"
    try:
        yield
    finally:
        if given is None:
            del os.environ[_THREADS]


@contextmanager
def _output_of_workers(options: PipelineOptions, log: Path) -> Iterator[None]:
    """Sends what worker processes print, Beam's start-up among it, to a file.

    They inherit the descriptor of standard error; what this process prints still arrives there.
    """
    if options.view_as(DirectOptions).direct_running_mode != "multi_processing":
        yield
        return
    sys.stderr.flush()
    before, saved = sys.stderr, os.dup(2)
    if before.isatty():
        sys.stderr = os.fdopen(os.dup(saved), "w", buffering=1)
    with log.open("ab") as file:
        os.dup2(file.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
        if sys.stderr is not before:
            sys.stderr.close()
            sys.stderr = before
