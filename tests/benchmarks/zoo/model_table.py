"""All networks of the zoo: what each costs, and how exact it is after equal training."""

from dataclasses import dataclass, replace
from pathlib import Path

from cryotwin.datasets.folder import open_folder
from cryotwin.models.architectures import ARCHITECTURES
from cryotwin.models.shift_motion import feature_motion
from zoo.estimates import distance_errors, shifted_anywhere
from zoo.figures import draw_accuracy_against_cost
from zoo.model_cost import CostSettings, measure_cost
from zoo.pages import figure_link, markdown_table, measured_on, write_section
from zoo.projections import PAPER_TEST, clean_views, dataset, perturbed
from zoo.records import Record, Task, run_tasks
from zoo.trainings import Training, trained

SNRS_DB = (None, -6.0, -9.0, -12.0)
SHIFTS_PX = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
"""Of the 116 px images, each in a direction of its own."""

_STILL_VIEWS = 200
"""Whose features are followed under shifts: each goes through the network 49 times."""


@dataclass(frozen=True)
class ModelTest:
    """A training, and the conditions that it is tested in."""

    training: Training
    test_views: int = PAPER_TEST
    snrs_db: tuple[float | None, ...] = SNRS_DB
    shifts_px: tuple[float, ...] = SHIFTS_PX


def tabulate_models(
    cache: Path,
    docs: Path,
    models: list[str],
    base: Training,
    test_views: int,
    jobs: int,
    command: str,
) -> None:
    """Trains and tests all models alike, and writes the two tables and the plot."""
    tests = [ModelTest(replace(base, model=model), test_views) for model in models]
    dataset(cache, base.target, base.count)
    records = run_tasks(
        cache, [Task(f"model-{t.training.model}", measure_model, t) for t in tests], jobs=jobs
    )
    # Alone, so that rates are of a quiet machine.
    costs = run_tasks(
        cache, [Task(f"cost-{model}", measure_cost, CostSettings(model)) for model in models]
    )
    figure = docs / "figures" / "accuracy-against-cost.svg"
    draw_accuracy_against_cost(
        figure,
        models,
        [cost["megaflops"] for cost in costs],
        {snr_db: [_error(record, snr_db) for record in records] for snr_db in (None, -12.0)},
    )
    page = docs / "zoo-table.md"
    content = [
        figure_link(figure, "Squared error of the distances against operations"),
        accuracy_table(models, records, costs),
        measured_on([*records, *costs], command),
    ]
    write_section(page, "models", content)
    write_section(page, "shifts", shift_tables(models, records))


def all_models() -> list[str]:
    """Lists the architectures of the zoo that take images alone: these images have no CTF."""
    return [name for name, architecture in ARCHITECTURES.items() if not architecture.takes_ctf]


def measure_model(cache: Path, settings: ModelTest) -> Record:
    """Trains a model and measures it at every noise and under every shift."""
    training = settings.training
    model, curve = trained(cache, training)
    folder = dataset(cache, training.target, training.count)
    pixel_size = float(open_folder(folder).metadata["pixel_size_angstrom"])
    images, quaternions = clean_views(folder, "test", settings.test_views)
    still = training.frame.fit(images[:_STILL_VIEWS], pixel_size)
    noise, shifts = [], []
    for snr_db in settings.snrs_db:
        noisy = training.frame.fit(perturbed(images, snr_db=snr_db), pixel_size)
        error = distance_errors(model, noisy, quaternions).mean_squared_error
        noise.append({"snr_db": snr_db, "mse_rad2": error})
    ratio = pixel_size / training.frame.pixel_size_angstrom
    motions = feature_motion(
        model.get_layer("extractor"), still, [ratio * shift for shift in settings.shifts_px]
    )
    for shift, motion in zip(settings.shifts_px, motions.values(), strict=True):
        moved = training.frame.fit(shifted_anywhere(images, shift), pixel_size)
        error = distance_errors(model, moved, quaternions).mean_squared_error
        shifts.append({"shift_px": shift, "mse_rad2": error, "motion": motion})
    return {"noise": noise, "shifts": shifts, "training_seconds": curve[-1][0]}


def _error(record: Record, snr_db: float | None) -> float:
    (found,) = [row["mse_rad2"] for row in record["noise"] if row["snr_db"] == snr_db]
    return float(found)


def accuracy_table(models: list[str], records: list[Record], costs: list[Record]) -> str:
    """Gives a row for each model: its cost, and its squared error of the distances in rad^2."""
    noise = [row["snr_db"] for row in records[0]["noise"]]
    header = [
        "model",
        "parameters (10⁶)",
        "MFLOPs",
        "images/s forward",
        "images/s training",
        "minutes trained",
        *("no noise" if snr_db is None else f"{snr_db:g} dB" for snr_db in noise),
    ]
    rows = [
        [
            f"`{model}`",
            f"{cost['parameters'] / 1e6:.2f}",
            f"{cost['megaflops']:.0f}",
            f"{cost['forward_rate']:,.0f}",
            f"{cost['training_rate']:,.0f}",
            f"{record['training_seconds'] / 60:.1f}",
            *(f"{row['mse_rad2']:.4f}" for row in record["noise"]),
        ]
        for model, record, cost in zip(models, records, costs, strict=True)
    ]
    return markdown_table(header, rows)


def shift_tables(models: list[str], records: list[Record]) -> list[str]:
    """Gives two tables by model and shift: how far features move, and the error of distances."""
    shifts = [f"{row['shift_px']:g} px" for row in records[0]["shifts"]]
    moved, errors = [], []
    for model, record in zip(models, records, strict=True):
        moved.append([f"`{model}`", *(f"{100 * row['motion']:.1f}%" for row in record["shifts"])])
        error = [f"{row['mse_rad2']:.4f}" for row in record["shifts"]]
        errors.append([f"`{model}`", f"{_error(record, None):.4f}", *error])
    return [
        "How far the features of an image move, as a part of how far two images are apart "
        "(both root mean squares):",
        markdown_table(["model", *shifts], moved),
        "Squared error of the distances (rad²) when every image is shifted:",
        markdown_table(["model", "0 px", *shifts], errors),
    ]
