"""What was kept and what was dropped of a structure, for the record of a dataset."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from cryotwin.imaging.residues import KINDS

DROPPED = ("water", "hydrogen", "other conformations", "unknown", "outside the assembly")
"""Why atoms are left out, in the order in which reports name it."""


def atoms_report(
    *,
    kinds: Iterable[str],
    dropped: Mapping[str, int],
    chains: int | None,
    operators: int,
    assembly: str,
    projected: int,
    notes: Sequence[str],
) -> dict[str, Any]:
    """Makes the report of a structure of atoms, ready for JSON.

    Args:
        kinds: what each kept atom of the file belongs to, one of `KINDS`.
        dropped: atoms of the file that are left out, by reason (`DROPPED`).
        chains: of the file, with atoms that are kept; None where it names none.
        operators: placements of these chains in the assembly.
        assembly: as `cryotwin.imaging.atoms.Atoms`.
        projected: atoms once the assembly is built.
        notes: sentences on what a user may not expect.

    Returns:
        "kind" ("atoms"), "atoms" (in the file, its first model: the sum of "kept" and "dropped"),
        "kept" and "dropped" (counts), "chains", "operators", "assembly", "projected", "notes".
    """
    counts = Counter(kinds)
    kept = {kind: counts.pop(kind) for kind in (*KINDS, *sorted(counts)) if counts[kind]}
    left_out = {reason: dropped[reason] for reason in DROPPED if dropped.get(reason)}
    return {
        "kind": "atoms",
        "atoms": sum(kept.values()) + sum(left_out.values()),
        "kept": kept,
        "dropped": left_out,
        "chains": chains,
        "operators": operators,
        "assembly": assembly,
        "projected": projected,
        "notes": list(notes),
    }


def summarise_report(report: Mapping[str, Any]) -> str:
    """Writes a report, of atoms or of a map, in one line without the notes' details."""
    parts = []
    if report.get("kind") == "atoms":
        parts.append("kept " + _counts(report["kept"]))
        if report["dropped"]:
            parts.append("left out " + _counts(report["dropped"]))
        parts.append(report["assembly"])
    elif report.get("kind") == "map":
        parts.append(f"contrast {report['contrast']}")
    return "; ".join([*parts, *report.get("notes", [])])


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count:,} {what}" for what, count in counts.items())
