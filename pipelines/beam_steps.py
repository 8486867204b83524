"""The Beam side of the work: one element is one order, which a pure function carries out.

What comes back are files, so the pipelines are Create, Reshuffle and ParDo, which every runner has.
Counters and timers go to Beam's metrics.
"""

from collections.abc import Iterable

import apache_beam as beam
from apache_beam.metrics.metric import Metrics

from cryotwin.imaging.stopwatch import Stopwatch
from cryotwin.pipelines.particle_shards import ShardTask, write_shard
from cryotwin.pipelines.preparation import PrepareTask, prepare_structure

NAMESPACE = "cryotwin"
"""Of the metrics: counters `structures`, `failures` and `images`, timers `<stage>_us`."""

TIMER_SUFFIX = "_us"


class PrepareStructures(beam.DoFn):
    """Makes the volume of the structure that an element orders."""

    def process(self, task: PrepareTask) -> Iterable[None]:
        """Writes the volume or the dead letter."""
        stopwatch = Stopwatch()
        ready = prepare_structure(task, stopwatch)
        Metrics.counter(NAMESPACE, "structures" if ready else "failures").inc()
        report(stopwatch)
        return ()


class WriteShards(beam.DoFn):
    """Makes the shard that an element orders."""

    def process(self, task: ShardTask) -> Iterable[None]:
        """Writes the file."""
        stopwatch = Stopwatch()
        Metrics.counter(NAMESPACE, "images").inc(write_shard(task, stopwatch))
        report(stopwatch)
        return ()


def report(stopwatch: Stopwatch) -> None:
    """Adds the seconds of the stages to Beam's metrics."""
    for stage, seconds in stopwatch.seconds.items():
        # Beam takes whole numbers only: microseconds.
        Metrics.distribution(NAMESPACE, stage + TIMER_SUFFIX).update(round(1e6 * seconds))
