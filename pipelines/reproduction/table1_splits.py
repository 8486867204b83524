"""Table 1: how projections are split, how many pairs that makes, and what an epoch costs.

No figure of the paper. Beside it what ours takes of the same projections: all pairs of a batch, so
that an image is passed once where the paper passes two for each pair.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from cryotwin.datasets.splits import SPLITS, split_indices
from cryotwin.pipelines.reproduction.column_legend import COLORS, name_columns
from cryotwin.pipelines.reproduction.result import OURS, PAPER, Cell, Result, Table, Trend
from cryotwin.pipelines.reproduction.views import PROJECTIONS_SEED
from cryotwin.pipelines.reproduction.workspace import Workspace

_PAPER_COUNT = 5000
_REPORTED = {"train": (2512, 247), "validation": (838, 28), "test": (1650, None)}
"""Projections, and steps of an epoch, of each split (Table 1, section 3.1)."""

_SHARE = 0.01
_PAIRS_A_BATCH = 256
_SAMPLED = SPLITS[:2]
"""The splits that pairs are drawn of; of the test split all are used."""


@dataclass(frozen=True)
class Settings:
    """Of the experiment.

    Attributes:
        structure: whose projections are split.
        counts: of projections: the paper's, and that of this reproduction if it is another.
        batch: images of a step of ours.
        seed: of the split.
    """

    structure: str
    counts: tuple[int, ...]
    batch: int
    seed: int


def settings(workspace: Workspace) -> Settings:
    """Gives the settings at the size of the workspace."""
    counts = dict.fromkeys((_PAPER_COUNT, workspace.scale.count))
    return Settings(
        workspace.asymmetric.name, tuple(counts), workspace.scale.own_batch, PROJECTIONS_SEED
    )


def run(workspace: Workspace, settings: Settings) -> Result:
    """Splits the projections and counts."""
    splits = {
        str(count): {
            name: split_numbers(len(indices), settings.batch, sampled=name in _SAMPLED)
            for name, indices in split_indices(
                count, seed=settings.seed, structure=settings.structure
            ).items()
        }
        for count in settings.counts
    }
    tables = [_table(int(count), numbers) for count, numbers in splits.items()]
    return Result(tables, trends(splits[str(_PAPER_COUNT)]), {"splits": splits})


def split_numbers(projections: int, batch: int, *, sampled: bool) -> dict[str, int | None]:
    """Counts pairs, ordered as the paper does, and what an epoch takes in both columns.

    Args:
        projections: of the split.
        batch: images of a step of ours.
        sampled: whether 1% of the pairs is drawn, in batches.
    """
    pairs = projections**2
    drawn = round(_SHARE * pairs) if sampled else None
    whole, rest = divmod(projections, batch)
    return {
        "projections": projections,
        "pairs": pairs,
        "drawn": drawn,
        "steps": None if drawn is None else math.ceil(drawn / _PAIRS_A_BATCH),
        "passes": None if drawn is None else 2 * drawn,
        "own_pairs": whole * math.comb(batch, 2) + math.comb(rest, 2),
    }


def _table(count: int, splits: Mapping[str, Mapping[str, int | None]]) -> Table:
    rows: list[list[Cell]] = []
    for name, numbers in splits.items():
        reported = _REPORTED[name] if count == _PAPER_COUNT else (None, None)
        rows.append(
            [
                name,
                numbers["projections"],
                reported[0],
                numbers["pairs"],
                numbers["drawn"],
                numbers["steps"],
                reported[1],
                numbers["passes"],
                numbers["own_pairs"],
            ]
        )
    return Table(
        f"{count:,} projections",
        [
            "split",
            "projections",
            "the paper's",
            "pairs",
            "1% of them",
            f"steps of {_PAIRS_A_BATCH}",
            "the paper's steps",
            "images passed for them",
            "pairs of cryotwin's batches, each image passed once",
        ],
        rows,
    )


def trends(splits: Mapping[str, Mapping[str, int | None]]) -> list[Trend]:
    """Compares with the paper's Table 1."""
    sizes = [splits[name]["projections"] for name in _REPORTED]
    steps = [splits[name]["steps"] for name in _SAMPLED]
    return [
        Trend(
            "5,000 projections are split into 2,512, 838 and 1,650 (Table 1)",
            _list(sizes),
            sizes == [reported[0] for reported in _REPORTED.values()],
        ),
        Trend(
            "1% of the pairs makes 247 and 28 steps of 256 (section 3.1)",
            _list(steps),
            steps == [_REPORTED[name][1] for name in _SAMPLED],
        ),
    ]


def _list(numbers: Sequence[int | None]) -> str:
    return ", ".join(f"{number:,}" for number in numbers)


def draw(figure: Figure, curves: Mapping[str, Any]) -> None:
    """Draws the splits, and pairs over images passed in an epoch."""
    sizes, cost = figure.subplots(1, 2)
    (count, splits), *_ = curves["splits"].items()
    names = list(splits)
    bars = sizes.bar(names, [splits[name]["projections"] for name in names], color="0.6")
    sizes.bar_label(bars, fmt="{:,.0f}")
    sizes.set(ylabel="projections", title=f"{int(count):,} projections")
    sizes.margins(y=0.12)
    sizes.yaxis.set_major_formatter("{x:,.0f}")
    train = splits["train"]
    for place, (column, heights) in enumerate(
        {
            PAPER: (train["drawn"], train["passes"]),
            OURS: (train["own_pairs"], train["projections"]),
        }.items()
    ):
        bars = cost.bar(np.arange(2) + 0.4 * place - 0.2, heights, 0.38, color=COLORS[column])
        cost.bar_label(bars, fmt="{:,.0f}")
    cost.set_xticks([0, 1], ["pairs", "images passed"])
    cost.set(ylabel="in an epoch of the training split")
    cost.margins(y=0.12)
    cost.yaxis.set_major_formatter("{x:,.0f}")
    name_columns(figure)
