"""What an experiment gives: tables, trends, and the numbers that its figure is drawn from."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

Cell = str | int | float | None

PAPER, OURS = "as in the paper", "cryotwin"
"""The two columns of every experiment."""


@dataclass(frozen=True)
class Table:
    """Numbers to read.

    Attributes:
        title: what is in it.
        header: names of the columns, with units.
        rows: texts and numbers; None where there is nothing to tell.
    """

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[Cell]]


@dataclass(frozen=True)
class Trend:
    """Something that the paper says, and what was seen of it.

    Attributes:
        claim: what should be seen, in our words, with the place in the paper.
        seen: what was, in numbers.
        holds: whether that agrees; None where this size is too small to tell.
    """

    claim: str
    seen: str
    holds: bool | None


@dataclass(frozen=True)
class Result:
    """What an experiment found.

    Attributes:
        tables: to read.
        trends: to check.
        curves: JSON-able numbers, all that the figure is drawn from.
        remarks: sentences on what is reduced or otherwise than a reader would expect.
    """

    tables: Sequence[Table]
    trends: Sequence[Trend] = ()
    curves: Mapping[str, Any] = field(default_factory=dict)
    remarks: Sequence[str] = ()

    def to_json(self) -> dict[str, Any]:
        """Gives what `from_json` takes."""
        return asdict(self)

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> "Result":
        """Reads what `to_json` gives."""
        return cls(
            tables=[Table(**table) for table in content["tables"]],
            trends=[Trend(**trend) for trend in content["trends"]],
            curves=content["curves"],
            remarks=content["remarks"],
        )
