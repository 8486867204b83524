"""What an error costs: the paper's network trained as in the paper, against a training of ours.

Both see the same clean images in the same box and are evaluated on the same validation split,
over all pairs. The paper's error is smoothed by a trailing median before it counts as reached; a
training of ours, whose learning rate falls to nothing, counts with what it has at its end.
"""

from dataclasses import dataclass, replace
from pathlib import Path

from cryotwin.pipelines.reproduction.pair_training import PASSES_A_PAIR
from zoo.claims import claimed
from zoo.cost_curves import Cost, CostCurve, cheapest_to_reach, common_error
from zoo.distance_statistics import BinnedErrors
from zoo.estimates import distance_errors
from zoo.figures import draw_cost_of_quality
from zoo.pages import figure_link, markdown_table, measured_on, write_section
from zoo.paper_training import (
    EPOCHS,
    STEPS_AN_EPOCH,
    PaperRun,
    PaperTraining,
    seconds_a_step,
)
from zoo.projections import PAPER_TEST, SIZE_PX, dataset, fitted_views
from zoo.records import Record, Task, run_tasks
from zoo.trainings import Training, trained

WINDOW = 5
"""Evaluations whose median counts as the error of the paper's side."""

_FULL_SIZE_STEPS = 3


@dataclass(frozen=True)
class PaperSide:
    """A training as in the paper, for so many minutes; a longer one goes on from a shorter one."""

    training: PaperTraining
    minutes: float
    test_views: int = PAPER_TEST


@dataclass(frozen=True)
class OurSide:
    """A training of ours on the same images."""

    training: Training
    test_views: int = PAPER_TEST


@dataclass(frozen=True)
class FullSize:
    """A step of the paper's training on its own images."""

    training: PaperTraining
    size_px: int = SIZE_PX
    steps: int = _FULL_SIZE_STEPS


def compare_costs(
    cache: Path,
    docs: Path,
    paper: PaperSide,
    ours: Training,
    lengths: list[int],
    full_size: bool,
    jobs: int,
    command: str,
) -> None:
    """Trains both sides, ours once for each length in images, and writes figure and table."""
    sides = [OurSide(replace(ours, images=images), paper.test_views) for images in lengths]
    tasks = [Task("as-in-the-paper", train_as_in_the_paper, paper)]
    tasks += [Task(f"ours-{side.training.images}", train_ours, side) for side in sides]
    dataset(cache, ours.target, ours.count)
    records = run_tasks(cache, tasks, jobs=jobs)
    theirs, own = records[0], records[1:]
    step = None
    if full_size:  # Alone, whatever the jobs.
        (full,) = run_tasks(
            cache, [Task("step-of-the-paper", measure_full_size, FullSize(paper.training))]
        )
        step = full["seconds_a_step"]
    paper_curve = _curve(theirs).smoothed(WINDOW)
    curves = [paper_curve], [_curve(record) for record in own]
    figure = docs / "figures" / "cost-of-quality.svg"
    draw_cost_of_quality(figure, *curves)
    content = [
        figure_link(figure, "Validation error against time and against forward passes"),
        cost_table(theirs, own),
        *cost_text([paper_curve], [_curve(record).end for record in own], step),
        measured_on(records, command),
    ]
    write_section(docs / "zoo-table.md", "cost of quality", content)


def train_as_in_the_paper(cache: Path, settings: PaperSide) -> Record:
    """Trains the paper's network for so many minutes and measures it on the test split."""
    with claimed(cache / "trainings" / "paper.lock"):
        run = PaperRun(cache, settings.training)
        run.train_until(60 * settings.minutes)
    return {"points": run.points, **_test_errors(cache, run.model, settings)}


def train_ours(cache: Path, settings: OurSide) -> Record:
    """Trains one of ours and measures it on the same test split."""
    model, curve = trained(cache, settings.training)
    return {"points": curve, **_test_errors(cache, model, settings)}


def measure_full_size(cache: Path, settings: FullSize) -> Record:
    """Times a step of the paper's training at its own size."""
    return {"seconds_a_step": seconds_a_step(settings.training, settings.size_px, settings.steps)}


def _test_errors(cache: Path, model: object, settings: PaperSide | OurSide) -> Record:
    training = settings.training
    folder = dataset(cache, training.target, training.count)
    views = fitted_views(cache, folder, "test", settings.test_views, training.frame)
    errors: BinnedErrors = distance_errors(model, *views)
    return {
        "test_mse_rad2": errors.mean_squared_error,
        "test_uniform_mse_rad2": errors.uniform_squared_error,
    }


def _curve(record: Record) -> CostCurve:
    return CostCurve.from_points(record["points"])


def cost_table(theirs: Record, own: list[Record]) -> str:
    """Gives a row for each training: its whole cost, and the errors that it ends with."""
    header = [
        "training",
        "minutes",
        "forward passes",
        "lowest validation error (rad²)",
        "test error, all pairs (rad²)",
        "as if distances were uniform (rad²)",
    ]
    rows = []
    for record in (theirs, *own):
        settings = record["settings"]["training"]
        if record is theirs:
            curve, how = _curve(record).smoothed(WINDOW), "as in the paper"
        else:
            curve, how = _curve(record).end, "`cryotwin train`"
        rows.append(
            [
                f"`{settings['model']}`, `{settings['head']}`, {how}",
                f"{curve.seconds[-1] / 60:.1f}",
                f"{curve.passes[-1]:,.0f}",
                f"{curve.error.min():.4f}",
                f"{record['test_mse_rad2']:.4f}",
                f"{record['test_uniform_mse_rad2']:.4f}",
            ]
        )
    return markdown_table(header, rows)


def cost_text(theirs: list[CostCurve], own: list[CostCurve], step: float | None) -> list[str]:
    """Says what the lowest error that both sides reach cost each, and the full size's cost."""
    error = common_error(theirs, own)
    paper, ours = cheapest_to_reach(theirs, error), cheapest_to_reach(own, error)
    assert paper is not None
    assert ours is not None
    lines = [
        f"The lowest error that both reach is {error:.4f} rad². It took the paper's training "
        f"{_cost(paper)}, and ours {_cost(ours)}: "
        f"**{paper.seconds / ours.seconds:.0f} times less time** and "
        f"**{paper.passes / ours.passes:.0f} times fewer forward passes**."
    ]
    if step is not None:
        steps = EPOCHS * STEPS_AN_EPOCH
        passes = steps * 256 * PASSES_A_PAIR
        lines.append(
            f"At its full size ({SIZE_PX} px) a step of the paper's training takes {step:.1f} s "
            f"here; its schedule of {EPOCHS} epochs of {STEPS_AN_EPOCH} steps "
            f"({passes / 1e6:.0f} million forward passes) would take "
            f"{step * steps / 86400:.1f} days. That is the time of a step times the number of "
            "steps; it was not run."
        )
    return lines


def _cost(cost: Cost) -> str:
    return f"{cost.seconds:,.0f} s and {cost.passes:,.0f} forward passes"
