"""The pipeline behind `cryotwin embed`: from particles to features, and to where they lie.

Two Beam pipelines on one runner. In the first an element is a shard of particles, whose features a
worker extracts with RunInference. The driver then embeds some of them, the landmarks, on all pairs,
and in the second pipeline workers place all others. As in `generate`, everything happens in
OUT/.unfinished until it is complete, and a run that was killed goes on there.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import apache_beam as beam
import numpy as np
from apache_beam.options.pipeline_options import PipelineOptions
from numpy.typing import NDArray

from cryotwin.datasets.example_reading import read_rows
from cryotwin.datasets.feature_schema import (
    FEATURES_DESCRIPTION,
    ORIENTATIONS_DESCRIPTION,
    feature_fields,
    orientation_fields,
)
from cryotwin.datasets.folder import METADATA_FILE, stacked_fields, write_dataset_metadata
from cryotwin.datasets.schema import FORMAT
from cryotwin.imaging.errors import InputError
from cryotwin.models.features import BATCH
from cryotwin.models.plain_heads import Head
from cryotwin.pipelines.beam_options import beam_options
from cryotwin.pipelines.beam_runs import RunMetrics, run_elements
from cryotwin.pipelines.embed_steps import ExtractFeatures, PlaceParticles
from cryotwin.pipelines.embedding_source import Particles, open_particles
from cryotwin.pipelines.feature_shards import FeatureTask
from cryotwin.pipelines.fingerprint import package_versions
from cryotwin.pipelines.known_estimator import KnownEstimator, open_estimator
from cryotwin.pipelines.placement_shards import PlacementTask, write_landmarks
from cryotwin.pipelines.progress import following
from cryotwin.pipelines.shard_files import RowsOrder, verify_shards
from cryotwin.pipelines.staging import (
    ORIENTATIONS_FOLDER,
    bytes_written,
    check_output,
    check_room,
    only_run_in,
    prepare_staging,
    publish,
    write_json,
)
from cryotwin.recovery.feature_embedding import Landmarks, choose_landmarks, embed_landmarks
from cryotwin.recovery.placement import LEAST_LANDMARKS

_INPUT_BYTES = 64 * 2**20
"""Images of a shard as the estimator takes them, at most: what a worker holds."""

_KEY_BYTES = 100
_ORIENTATION_BYTES = 150
_VERSIONS_OF = ("cryotwin", "jax", "keras", "numba", "numpy", "tensorflow")
_LOG = "workers.log"


@dataclass(frozen=True)
class EmbedSettings:
    """What decides the features and the orientations, besides particles and estimator.

    Attributes:
        landmarks: how many particles are embedded on all pairs; see `embed_features`.
        seed: of their choice and of the random starts.
        features_only: leave the orientations out.
    """

    landmarks: int | None = None
    seed: int = 0
    features_only: bool = False


@dataclass(frozen=True)
class EmbeddedParticles:
    """What `embed_particles` has written.

    Attributes:
        count: of the particles.
        feature_dim: D.
        landmarks: with their certificate; None without orientations.
        metrics: what the workers of this run counted and timed.
    """

    count: int
    feature_dim: int
    landmarks: Landmarks | None
    metrics: RunMetrics


def embed_particles(
    particles: str | Path,
    estimator: str | Path,
    out: str | Path,
    settings: EmbedSettings | None = None,
    *,
    split: str = "test",
    limit: int | None = None,
    invert_contrast: bool | None = None,
    runner: str | None = None,
    beam_arguments: Sequence[str] = (),
    overwrite: bool = False,
    particles_per_shard: int | None = None,
    command: str = "",
) -> EmbeddedParticles:
    """Writes the features of particles, and orientations that fit their distances, as datasets.

    The numbers depend on particles, estimator and settings alone, not on the runner and the number
    of workers, and are those of `particle_features` and `embed_features`.

    Args:
        particles: a dataset folder, or a .star, .mrcs or .cs file; workers on other machines must
            see a folder, as the file of an estimator, under the same path.
        estimator: a published name or a file.
        out: the folder; it becomes a dataset of (key, feature), and its folder `orientations` one
            of (key, quaternion, residual_rad). Workers must see it under the same path.
        settings: the defaults when None.
        split: which split of a dataset folder.
        limit: the first so many particles only.
        invert_contrast: particles are dark; None looks, where nothing says that they are bright.
        runner: name of a Beam runner; the one in this process when None.
        beam_arguments: more flags for Beam.
        overwrite: replace a dataset that is there.
        particles_per_shard: at most so many in a file; a multiple of 250 when None.
        command: the command line, for the metadata.

    Raises:
        InputError: an argument or a file is bad, or a dataset is there already.
        OSError: a worker could not do its part.
    """
    settings, out = settings or EmbedSettings(), Path(out)
    check_output(out, overwrite=overwrite)
    if particles_per_shard is not None and particles_per_shard < 1:
        raise InputError(f"particles per shard must be at least 1, not {particles_per_shard}")

    def options() -> PipelineOptions:
        return beam_options(runner, beam_arguments)

    options()  # Bad flags are told before anything is written.
    opened = open_particles(particles, split=split, limit=limit, invert_contrast=invert_contrast)
    known = open_estimator(estimator, opened)
    rows = None if settings.features_only else _landmark_rows(opened.count, settings)
    check_room(out, opened.count * (4 * known.feature_dim + _KEY_BYTES))
    with only_run_in(out):
        check_output(out, overwrite=overwrite)  # Another run may have ended a moment ago.
        staging = prepare_staging(
            out, _fingerprint(opened, known, settings, particles_per_shard or 0)
        )
        tasks = _plan(opened, staging, known, particles_per_shard)
        metrics = _extract(tasks, staging, known, options())
        about = _metadata(opened, known, settings, command)
        landmarks = None
        _describe(staging, tasks, about, feature_fields(known.feature_dim), FEATURES_DESCRIPTION)
        if rows is not None:
            landmarks = _embed_landmarks(staging, opened.split, rows, known.head, settings.seed)
            about |= _certificate(landmarks)
            metrics += _place(tasks, staging, options(), about)
            write_json(staging / METADATA_FILE, about)
        publish(staging, out)
    return EmbeddedParticles(opened.count, known.feature_dim, landmarks, metrics)


def _landmark_rows(count: int, settings: EmbedSettings) -> NDArray[np.intp]:
    if count < LEAST_LANDMARKS:
        raise InputError(
            f"orientations need at least {LEAST_LANDMARKS} particles, not {count}; "
            "give --features-only"
        )
    return choose_landmarks(count, settings.landmarks, settings.seed)


def _fingerprint(
    particles: Particles, estimator: KnownEstimator, settings: EmbedSettings, per_shard: int
) -> dict[str, Any]:
    """Collects everything that the files depend on."""
    import keras

    return {
        "particles": particles.fingerprint,
        "estimator": estimator.digest,
        "settings": asdict(settings),
        "per_shard": per_shard,
        "backend": keras.backend.backend(),
        "versions": package_versions(_VERSIONS_OF),
    }


def _plan(
    particles: Particles, staging: Path, estimator: KnownEstimator, per_shard: int | None
) -> list[FeatureTask]:
    """Orders the shards, of whole batches unless the user has asked for another size."""
    if per_shard is None:
        per_shard = BATCH * max(1, _INPUT_BYTES // (BATCH * estimator.input_bytes))
    source = particles.within(staging)
    starts = range(0, particles.count, per_shard)
    return [
        FeatureTask(
            folder=str(staging.resolve()),
            split=particles.split,
            shard=shard,
            shards=len(starts),
            start=start,
            stop=min(start + per_shard, particles.count),
            source=source,
        )
        for shard, start in enumerate(starts)
    ]


def _extract(
    tasks: Sequence[FeatureTask], staging: Path, estimator: KnownEstimator, options: PipelineOptions
) -> RunMetrics:
    """Runs one element per shard of features."""
    work = ExtractFeatures(estimator.where, estimator.metadata)
    return _run(tasks, work, options, staging, "features", 4 * estimator.feature_dim + _KEY_BYTES)


def _place(
    tasks: Sequence[FeatureTask], staging: Path, options: PipelineOptions, about: dict[str, Any]
) -> RunMetrics:
    """Runs one element per shard of orientations, and writes what stands beside them."""
    folder = staging / ORIENTATIONS_FOLDER
    orders = [
        PlacementTask(
            folder=str(folder.resolve()),
            split=task.split,
            shard=task.shard,
            shards=task.shards,
            start=task.start,
            stop=task.stop,
            features=task.folder,
        )
        for task in tasks
    ]
    work = beam.ParDo(PlaceParticles())  # type: ignore[no-untyped-call]
    metrics = _run(orders, work, options, folder, "orientations", _ORIENTATION_BYTES)
    _describe(folder, orders, about, orientation_fields(), ORIENTATIONS_DESCRIPTION)
    return metrics


def _run(
    orders: Sequence[RowsOrder],
    work: beam.PTransform[Any, Any],
    options: PipelineOptions,
    folder: Path,
    title: str,
    example_bytes: int,
) -> RunMetrics:
    """Carries out orders, shows how far the files have grown, and checks them at the end."""
    folder.mkdir(exist_ok=True)
    progress = following(
        sum(order.count for order in orders),
        "particles",
        title,
        lambda: bytes_written(folder) // example_bytes,
    )
    metrics = run_elements(orders, work, options, progress, folder / _LOG)
    verify_shards(orders)
    return metrics


def _embed_landmarks(
    staging: Path, split: str, rows: NDArray[np.intp], head: Head, seed: int
) -> Landmarks:
    """Embeds the landmarks by their features, for the workers to place the others by."""
    features = stacked_fields(list(read_rows(staging, split, rows.tolist())))["feature"]
    landmarks = embed_landmarks(features, rows, head, seed=seed)
    write_landmarks(staging, landmarks, head)
    return landmarks


def _describe(
    folder: Path,
    orders: Sequence[RowsOrder],
    about: dict[str, Any],
    fields: Any,
    description: str,
) -> None:
    """Writes all that stands beside the shards."""
    (folder / _LOG).unlink(missing_ok=True)
    write_json(folder / METADATA_FILE, about)
    write_dataset_metadata(
        folder,
        features=fields,
        shard_lengths={orders[0].split: [order.count for order in orders]},
        description=description,
    )


def _metadata(
    particles: Particles, estimator: KnownEstimator, settings: EmbedSettings, command: str
) -> dict[str, Any]:
    """Collects what cryotwin.json says."""
    return {
        "format": FORMAT,
        "command": command,
        "source": Path(particles.name).name,
        "count": particles.count,
        "pixel_size_angstrom": particles.pixel_size_angstrom,
        "feature_dim": estimator.feature_dim,
        "head": estimator.head.name,
        "symmetry": estimator.head.symmetry,
        "estimator": {"name": estimator.metadata.get("name"), "sha256": estimator.digest},
        "seed": settings.seed,
    }


def _certificate(landmarks: Landmarks) -> dict[str, Any]:
    """Tells how the landmarks came out."""
    embedding = landmarks.embedding
    return {
        "landmarks": len(landmarks.rows),
        "embedding_trusted": embedding.trusted,
        "embedding_reason": embedding.reason,
        "landmark_loss_rad2": embedding.loss,
    }
