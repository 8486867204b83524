"""The Beam side of `cryotwin embed`: RunInference between reading and writing, then placement.

An element is an order for a shard, and what comes back are files, as in `beam_steps`.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import apache_beam as beam
from apache_beam.metrics.metric import Metrics
from apache_beam.ml.inference.base import ModelHandler, PredictionResult, RunInference

from cryotwin.imaging.stopwatch import Stopwatch
from cryotwin.pipelines.beam_steps import NAMESPACE, report
from cryotwin.pipelines.feature_shards import (
    EstimatorInputs,
    FeatureTask,
    infer_features,
    read_inputs,
    write_features,
)
from cryotwin.pipelines.placement_shards import PlacementTask, place_shard
from cryotwin.pipelines.shard_files import is_complete

if TYPE_CHECKING:
    import keras


class ReadParticles(beam.DoFn):
    """Reads the particles that an element orders, unless their features are there.

    Args:
        metadata: of the estimator, with `takes_ctf`.
    """

    def __init__(self, metadata: dict[str, Any]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._metadata = metadata

    def process(self, task: FeatureTask) -> Iterator[EstimatorInputs]:
        """Yields the particles of the shard, all at once."""
        stopwatch = Stopwatch()
        with stopwatch.stage("read"):
            inputs = None if is_complete(task) else read_inputs(task, self._metadata)
        report(stopwatch)
        if inputs is not None:
            yield inputs


class FeatureHandler(ModelHandler[EstimatorInputs, PredictionResult, Any]):
    """Loads an estimator once a worker, and passes images through its extractor.

    An element holds many images, in batches that do not depend on the runner: Beam makes no
    batches of its own.

    Args:
        estimator: a file that all workers see, or a published name.
    """

    def __init__(self, estimator: str) -> None:
        super().__init__(min_batch_size=1, max_batch_size=1)
        self._estimator = estimator

    def load_model(self) -> "keras.Model":
        """Opens the estimator."""
        from cryotwin.datasets.quiet_imports import import_keras
        from cryotwin.models.model_files import load

        import_keras()
        return load(self._estimator)

    def run_inference(
        self,
        batch: Sequence[EstimatorInputs],
        model: "keras.Model",
        inference_args: dict[str, Any] | None = None,
    ) -> Iterable[PredictionResult]:
        """Gives the features of each element."""
        extractor = model.get_layer("extractor")
        stopwatch = Stopwatch()
        with stopwatch.stage("features"):
            results = [PredictionResult(one, infer_features(one, extractor)) for one in batch]
        report(stopwatch)
        return results

    def get_num_bytes(self, batch: Sequence[EstimatorInputs]) -> int:
        """Gives the size of the images; Beam's own way would serialise them to see."""
        return sum(one.nbytes for one in batch)

    def get_metrics_namespace(self) -> str:
        """Names Beam's own metrics of the inference apart from ours."""
        return f"{NAMESPACE}_inference"


class WriteFeatures(beam.DoFn):
    """Writes the features of a shard."""

    def process(self, result: Any) -> Iterable[None]:
        """Writes the file that a PredictionResult of `FeatureHandler` is for."""
        stopwatch = Stopwatch()
        inputs: EstimatorInputs = result.example
        with stopwatch.stage("write"):
            write_features(inputs.task, inputs.keys, result.inference)
        Metrics.counter(NAMESPACE, "features").inc(inputs.task.count)
        report(stopwatch)
        return ()


class ExtractFeatures(beam.PTransform):  # type: ignore[type-arg]
    """From orders for shards of features to their files.

    Args:
        estimator: a file that all workers see, or a published name.
        metadata: of it, with `takes_ctf`.
    """

    def __init__(self, estimator: str, metadata: dict[str, Any]) -> None:
        super().__init__()
        self._estimator, self._metadata = estimator, metadata

    def expand(self, orders: Any) -> Any:
        """Reads, infers and writes."""
        return (
            orders
            | "Read" >> beam.ParDo(ReadParticles(self._metadata))
            | "Infer" >> RunInference(FeatureHandler(self._estimator))
            | "Write" >> beam.ParDo(WriteFeatures())  # type: ignore[no-untyped-call]
        )


class PlaceParticles(beam.DoFn):
    """Places the particles of the shard that an element orders."""

    def process(self, task: PlacementTask) -> Iterable[None]:
        """Writes the file."""
        stopwatch = Stopwatch()
        with stopwatch.stage("place"):
            count = place_shard(task)
        Metrics.counter(NAMESPACE, "orientations").inc(count)
        report(stopwatch)
        return ()
