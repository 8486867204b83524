"""The distance heads against each other: same network, data, steps and seeds, noiseless."""

from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from zoo.distance_statistics import BinnedErrors
from zoo.estimates import distance_errors
from zoo.figures import draw_head_comparison
from zoo.pages import figure_link, markdown_table, measured_on, write_section
from zoo.projections import PAPER_TEST, dataset, fitted_views
from zoo.records import Record, Task, run_tasks
from zoo.trainings import Training, trained

HEADS = ("so3", "cosine", "euclidean")


@dataclass(frozen=True)
class HeadTest:
    """A training, and how many views of the test split its errors are measured on."""

    training: Training
    test_views: int = PAPER_TEST


def compare_heads(
    cache: Path, docs: Path, base: Training, seeds: int, test_views: int, jobs: int, command: str
) -> None:
    """Trains each head with each seed, and writes the figure and the table."""
    tasks = [
        Task(f"head-{head}-seed{seed}", measure_head, HeadTest(training, test_views))
        for seed in range(seeds)
        for head in HEADS
        for training in [replace(base, head=head, seed=seed)]
    ]
    dataset(cache, base.target, base.count)
    records = run_tasks(cache, tasks, jobs=jobs)
    by_head = {
        head: [_errors(r) for r in records if r["settings"]["training"]["head"] == head]
        for head in HEADS
    }
    figure = docs / "figures" / "head-comparison.svg"
    draw_head_comparison(figure, by_head)
    content = [
        figure_link(figure, "Bias and squared error of the distances by true distance"),
        head_table(by_head),
        measured_on(records, command),
    ]
    write_section(docs / "distance-head.md", "head comparison", content)


def measure_head(cache: Path, settings: HeadTest) -> Record:
    """Trains one head and sorts its errors on the test split by true distance."""
    training = settings.training
    model, curve = trained(cache, training)
    folder = dataset(cache, training.target, training.count)
    views = fitted_views(cache, folder, "test", settings.test_views, training.frame)
    errors = {
        name: value.tolist() for name, value in asdict(distance_errors(model, *views)).items()
    }
    return {"errors": errors, "seconds": curve[-1][0]}


def _errors(record: Record) -> BinnedErrors:
    errors = record["errors"]
    return BinnedErrors(**{name: np.asarray(value) for name, value in errors.items()})


def head_table(by_head: dict[str, list[BinnedErrors]]) -> str:
    """Gives a row for each head, each figure as mean and standard deviation over the seeds."""
    rows = []
    for head, runs in by_head.items():
        figures = [
            [run.mean_squared_error for run in runs],
            [run.uniform_squared_error for run in runs],
            [run.bias[0] for run in runs],
            [run.bias[-1] for run in runs],
        ]
        rows.append([f"`{head}`", *(_spread(values) for values in figures)])
    degrees = 180 / len(next(iter(by_head.values()))[0].pairs)
    header = [
        "head",
        "squared error, all pairs (rad²)",
        "as if distances were uniform (rad²)",
        f"bias below {degrees:.0f}° (rad)",
        f"bias above {180 - degrees:.0f}° (rad)",
    ]
    return markdown_table(header, rows)


def _spread(values: list[float]) -> str:
    return f"{np.mean(values):.4f} ± {np.std(values, ddof=min(1, len(values) - 1)):.4f}"
