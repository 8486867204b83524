"""Biological assemblies: which copies of which chains make up the particle."""

import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cryotwin.imaging.errors import InputError

Operator = NDArray[np.float64]
"""A rotation and a translation, (3, 4): x -> M[:, :3] x + M[:, 3], in angstrom."""


@dataclass(frozen=True)
class AssemblyPart:
    """Chains and the operators that place their copies.

    Attributes:
        chains: the chains' names; None stands for every chain.
        operators: (m, 3, 4), each x -> M[:, :3] x + M[:, 3].
    """

    chains: frozenset[str] | None
    operators: NDArray[np.float64]


def build_assembly(
    positions_angstrom: NDArray[np.float64],
    chains: Sequence[str],
    parts: Sequence[AssemblyPart],
) -> tuple[NDArray[np.float64], NDArray[np.intp]] | None:
    """Copies atoms as an assembly says.

    Args:
        positions_angstrom: (n, 3) x, y, z.
        chains: (n) the chain of each atom.
        parts: the assembly.

    Returns:
        Positions (m, 3) of the assembly and the atoms (m,) that they are copies of, or None
        when it names none of the chains.
    """
    names, codes = np.unique(np.asarray(chains, dtype=object), return_inverse=True)
    placed, sources = [], []
    for part in parts:
        wanted = np.array([part.chains is None or name in part.chains for name in names])
        chosen = np.flatnonzero(wanted[codes])
        if chosen.size == 0:
            continue
        for operator in part.operators:
            placed.append(positions_angstrom[chosen] @ operator[:, :3].T + operator[:, 3])
            sources.append(chosen)
    if not placed:
        return None
    return np.concatenate(placed), np.concatenate(sources)


def describe_assembly(parts: Sequence[AssemblyPart], identifier: str) -> str:
    """Names an assembly for people: "assembly 1, 60 operators"."""
    count = count_operators(parts)
    return f"assembly {identifier}, {count} operator{'s' if count > 1 else ''}"


def count_operators(parts: Sequence[AssemblyPart]) -> int:
    """Counts the different operators of an assembly."""
    operators = np.concatenate([part.operators.reshape(-1, 12) for part in parts])
    return len(np.unique(operators.round(6), axis=0))


def expand_operators(expression: str, operators: Mapping[str, Operator]) -> NDArray[np.float64]:
    """Turns mmCIF's oper_expression into operators.

    "1,2" and "(1-60)" list operators; "(1,2)(3-6)" combines them, each of the first after each
    of the second; "(P)" names one.

    Args:
        expression: the text of `_pdbx_struct_assembly_gen.oper_expression`.
        operators: identifier to (3, 4).

    Returns:
        (m, 3, 4).

    Raises:
        InputError: the expression is not of that form, or names an operator that is not there.
    """
    text = expression.replace(" ", "").replace("'", "").replace('"', "")
    groups = re.findall(r"\(([^()]*)\)", text) if "(" in text else [text]
    if "(" in text and "".join(f"({group})" for group in groups) != text:
        raise InputError(f"assembly operators '{expression}': expected a form such as (1-60)(P,Q)")
    listed = [_expand_list(group, expression, operators) for group in groups]
    expanded = []
    for combination in itertools.product(*listed):
        total = np.eye(4)
        for name in combination:
            total = total @ np.vstack([operators[name], [0, 0, 0, 1]])
        expanded.append(total[:3])
    return np.stack(expanded)


def _expand_list(group: str, expression: str, operators: Mapping[str, Operator]) -> list[str]:
    names: list[str] = []
    for item in group.split(","):
        span = re.fullmatch(r"(\d+)-(\d+)", item)
        if span and item not in operators:
            names += [str(number) for number in range(int(span[1]), int(span[2]) + 1)]
        else:
            names.append(item)
    for name in names:
        if name not in operators:
            raise InputError(
                f"assembly operators '{expression}': there is no operator '{name}' in the list"
            )
    return names
