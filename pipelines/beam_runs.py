"""One run of a Beam pipeline: quiet, stopped by Ctrl-C, its failure in one line, its metrics."""

import logging
import os
import re
import signal
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from types import FrameType
from typing import Any

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions

from cryotwin.pipelines.beam_options import is_local
from cryotwin.pipelines.beam_steps import NAMESPACE, TIMER_SUFFIX
from cryotwin.pipelines.workers import WorkerError, stop_requested

_THREADS = "OMP_NUM_THREADS"
"""Read by BLAS, finufft and numba alike, each at its start."""


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
        """Tells where the time went, in one line; "" when nothing was timed."""
        return ", ".join(f"{stage} {seconds:.1f} s" for stage, seconds in self.seconds.items())


def run_elements(
    elements: Sequence[Any],
    do_fn: beam.DoFn,
    options: PipelineOptions,
    progress: AbstractContextManager[None],
) -> RunMetrics:
    """Runs a pipeline in which each element is one piece of work.

    Args:
        elements: the orders.
        do_fn: carries one out.
        options: of one pipeline alone, as runners change them.
        progress: entered while the pipeline runs.

    Raises:
        OSError: a worker, or the runner, failed; the message is one line.
        KeyboardInterrupt: after Ctrl-C, once the workers of this process have stopped.
    """
    level = logging.CRITICAL if is_local(options) else logging.ERROR
    with _logging_at(level), _interruptible(), _one_thread_a_worker(), progress:
        result = None
        try:
            pipeline = beam.Pipeline(options=options)
            (
                pipeline
                | "Orders" >> beam.Create(list(elements))
                | "Spread" >> beam.Reshuffle()
                | "Work" >> beam.ParDo(do_fn)
            )
            result = pipeline.run()
            result.wait_until_finish()
            return _metrics(result)
        except Exception as error:
            if stop_requested.is_set():  # Beam turns Ctrl-C in a worker into a RuntimeError.
                raise KeyboardInterrupt from None
            raise OSError(_explained(error)) from error
        finally:
            _close(result)


def _explained(error: Exception) -> str:
    """Finds the line of a WorkerError in what a runner raises, or says what the runner says."""
    text = f"{type(error).__name__}: {error}"
    lines = re.findall(rf"{WorkerError.__name__}: (.*)", text)
    if lines:
        return re.sub(r" \[while running .*", "", lines[-1]).strip().removesuffix("\\n")
    told = [line.strip() for line in text.splitlines() if line.strip()]
    last = "" if len(told) == 1 else f" ... {told[-1]}"
    return f"the Beam pipeline failed ({told[0]}{last})"


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
            found.seconds[stage] += timer.result.sum / 1000
    return found


def _close(result: Any) -> None:
    """Lets go of a Dask cluster: DaskRunner leaves its client open."""
    client = getattr(result, "client", None)
    if client is not None:
        client.close()


@contextmanager
def _logging_at(level: int) -> Iterator[None]:
    logger = logging.getLogger("apache_beam")
    before = logger.level
    logger.setLevel(level)
    try:
        yield
    finally:
        logger.setLevel(before)


@contextmanager
def _interruptible() -> Iterator[None]:
    """Lets Ctrl-C stop the workers of this process within one batch."""
    stop_requested.clear()
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, frame: FrameType | None) -> None:
        stop_requested.set()
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


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
