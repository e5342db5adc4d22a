"""Held-out performance slice by slice: a mean over all rows hides whom a model serves badly.

A slice is one value of a column of few categories, or a quarter of a column that the contract marks `protected`. Slices that
are too small for an interval worth reading are left out, and the count of rows is told beside each of the others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import pairwise
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from holdfast.core.contract import Contract, Field

__all__ = ["by_slice"]

FEWEST_ROWS: Final = 30
CATEGORIES: Final = 8
"""A column with more different values is not sliced, unless it is protected."""
COLUMNS: Final = 12
QUARTERS: Final = (0.25, 0.5, 0.75)

Mask = NDArray[np.bool_]
Metrics = dict[str, dict[str, Any]]


def by_slice(
    contract: Contract, columns: Mapping[str, NDArray[Any]], known: Mask, measure: Callable[[Mask], Metrics]
) -> tuple[dict[str, Any], ...]:
    """`{column, value, rows, metrics}` of each slice, protected columns first.

    Args:
        contract: which columns there are and which are protected.
        columns: the reference's.
        known: which rows have a label.
        measure: the metrics of the rows of a mask.
    """
    found = []
    fields = [field for field in contract.fields if field.name in columns and _may_slice(field)]
    for field in sorted(fields, key=lambda field: "protected" not in field.marks)[:COLUMNS]:
        for value, part in _parts(columns[field.name]):
            rows = part & known
            if (count := int(rows.sum())) >= FEWEST_ROWS:
                found.append({"column": field.name, "value": value, "rows": count, "metrics": measure(rows)})
    return tuple(found)


def _may_slice(field: Field) -> bool:
    if {"timestamp", "key", "personal"} & set(field.marks) - ({"personal"} if "protected" in field.marks else set()):
        return False
    few = field.datatype == "BOOL" or (field.categories is not None and len(field.categories) <= CATEGORIES)
    return few or "protected" in field.marks


def _parts(values: NDArray[Any]) -> Iterator[tuple[str, Mask]]:
    """The slices of a column: its values, the quarters of its range, and where it is missing."""
    if values.dtype == object:
        present = sorted({value for value in values.tolist() if value is not None})
        yield from ((value, values == value) for value in present)
        missing = np.array([value is None for value in values.tolist()], dtype=bool)
    else:
        missing = np.isnan(values)
        yield from _quarters(values, missing)
    if missing.any():
        yield "missing", missing


def _quarters(values: NDArray[np.float64], missing: Mask) -> Iterator[tuple[str, Mask]]:
    given = values[~missing]
    if not len(given):
        return
    # Values of the data themselves: exact, and the same on every machine.
    cuts = np.unique(np.quantile(given, QUARTERS, method="lower"))
    edges = [-np.inf, *cuts[cuts < given.max()].tolist(), np.inf]
    for low, high in pairwise(edges):
        part = (values > low) & (values <= high)
        if part.any():
            yield f"{values[part].min():g} to {values[part].max():g}", part
