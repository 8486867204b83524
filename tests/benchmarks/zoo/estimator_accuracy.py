"""Estimators alone and with the embedding: errors on 1,650 views that no estimator has seen."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cryotwin.datasets.folder import open_folder
from cryotwin.imaging.errors import InputError
from cryotwin.imaging.rotations import pairwise_distances
from cryotwin.models.inputs import fit_images
from cryotwin.models.model_files import load, read_metadata, resolve, sha256
from cryotwin.recovery.alignment import align_orientations
from cryotwin.recovery.embedding import embed_distances
from zoo.distance_statistics import errors_by_distance, pairs_of
from zoo.estimates import estimated_distances
from zoo.pages import markdown_table, measured_on, write_section
from zoo.projections import (
    PAPER_COUNT,
    PAPER_TEST,
    TARGETS,
    clean_views,
    dataset,
    noise_variance,
    perturbed,
)
from zoo.records import Record, Task, run_tasks

SNRS_DB = (None, -12.0)
_SLACK = 1.1
"""Of the noise that an estimator was trained for: 1/16 and -12 dB are the same noise to people."""


@dataclass(frozen=True)
class EstimatorTest:
    """An estimator in one condition.

    Attributes:
        estimator: a published name or a file.
        digest: of the file, so that new weights are tested anew.
        target: a protein of `zoo.projections.TARGETS`.
        snr_db: at 116 px; None is no noise.
        max_shift_px: of the 116.
        count: projections of the dataset, over all splits.
        test_views: of the test split, from its start.
    """

    estimator: str
    digest: str
    target: str
    snr_db: float | None
    max_shift_px: float
    count: int = PAPER_COUNT
    test_views: int = PAPER_TEST


def measure_estimators(
    cache: Path,
    docs: Path,
    estimators: list[str],
    max_shift_px: float | None,
    count: int,
    test_views: int,
    jobs: int,
    command: str,
) -> None:
    """Tests each estimator in every condition that it was trained for, and writes the table."""
    tests = [
        EstimatorTest(name, digest, target, snr_db, shift, count, test_views)
        for name in estimators
        for digest, target, metadata in [_identity(name)]
        for shift in _shifts(metadata, max_shift_px)
        for snr_db in SNRS_DB
        if noise_variance(snr_db) <= _SLACK * float(metadata.get("noise_variance", 0))
    ]
    for target in {test.target for test in tests}:
        dataset(cache, target, count)
    tasks = [
        Task(f"{Path(test.estimator).stem}-{_condition(test)}", measure, test) for test in tests
    ]
    records = run_tasks(cache, tasks, jobs=jobs)
    content = [estimator_table(records), measured_on(records, command)]
    write_section(docs / "zoo-table.md", "estimators", content)


def _identity(name: str) -> tuple[str, str, dict[str, Any]]:
    metadata = read_metadata(name)
    target = str(metadata.get("structure", "")).lower()
    if target not in TARGETS:
        raise InputError(
            f"estimator {name!r} must be of one of {', '.join(TARGETS)}, not of {target!r}"
        )
    return sha256(resolve(name)), target, metadata


def _shifts(metadata: dict[str, Any], asked: float | None) -> tuple[float, ...]:
    shift = float(metadata.get("max_shift_px", 0)) if asked is None else asked
    return (0.0, shift) if shift > 0 else (0.0,)


def _condition(test: EstimatorTest) -> str:
    noise = "clean" if test.snr_db is None else f"{test.snr_db:g}dB"
    return f"{noise}-shift{test.max_shift_px:g}"


def measure(cache: Path, test: EstimatorTest) -> Record:
    """Gives the error of the distances, then embeds them and gives the O(4) error."""
    symmetry = TARGETS[test.target].symmetry
    folder = dataset(cache, test.target, test.count)
    images, quaternions = clean_views(folder, "test", test.test_views)
    images = perturbed(images, snr_db=test.snr_db, max_shift_px=test.max_shift_px)
    pixel_size = float(open_folder(folder).metadata["pixel_size_angstrom"])
    began = time.perf_counter()
    fitted = fit_images(images, pixel_size, read_metadata(test.estimator))
    distances = estimated_distances(load(test.estimator), fitted)
    estimated = time.perf_counter()
    embedding = embed_distances(np.clip(distances, 0, np.pi), symmetry=symmetry)
    embedded = time.perf_counter()
    aligned = align_orientations(
        embedding.quaternions, quaternions, ambiguity="o4", symmetry=symmetry
    )
    errors = errors_by_distance(
        pairs_of(distances), pairs_of(pairwise_distances(quaternions, symmetry=symmetry))
    )
    return {
        "mse_rad2": errors.mean_squared_error,
        "o4_error_rad": aligned.mean_error,
        "o4_median_rad": aligned.median_error,
        "embedding_loss_rad2": embedding.loss,
        "trusted": bool(embedding.trusted),
        "estimation_seconds": estimated - began,
        "embedding_seconds": embedded - estimated,
    }


def estimator_table(records: list[Record]) -> str:
    """Gives a row for each estimator and condition."""
    header = [
        "estimator",
        "symmetry",
        "SNR (dB)",
        "shifts up to (px)",
        "squared error of the distances (rad²)",
        "O(4) error after embedding, mean (rad)",
        "median (rad)",
        "trusted",
    ]
    rows = []
    for record in records:
        test = record["settings"]
        rows.append(
            [
                f"`{Path(test['estimator']).name}`",
                TARGETS[test["target"]].symmetry,
                "none" if test["snr_db"] is None else f"{test['snr_db']:g}",
                f"{test['max_shift_px']:g}",
                f"{record['mse_rad2']:.4f}",
                f"{record['o4_error_rad']:.4f}",
                f"{record['o4_median_rad']:.4f}",
                "yes" if record["trusted"] else "no",
            ]
        )
    return markdown_table(header, rows)
