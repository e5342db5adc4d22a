"""Counts: all that a monitor ever sees of the data.

A column is cut into fixed bins when its reference is fitted (`fit_spec`), and from then on every window of rows is a
vector of integers per column. Integers add: the counts of two workers, two files or two days are the counts of their
union, bit for bit, in any order. That law is what lets a killed worker lose nothing and a recount from the log be
compared with `==`.

    numeric column:      missing, below, inner bins..., above      (inner bins: [edge, next edge), the last one closed)
    categorical column:  missing, categories..., unseen
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from holdfast.stats.arrays import pack, unpack

__all__ = ["ColumnSpec", "Counts", "Group", "Kind", "fit_spec"]

Kind = Literal["numeric", "categorical"]
Group = Literal["input", "output", "loss", "residual", "quality"]
Values = NDArray[Any]
Integers = NDArray[np.int64]


@dataclass(frozen=True)
class ColumnSpec:
    """How one column is cut into bins, and which part of the deployment it belongs to."""

    name: str
    kind: Kind
    group: Group
    edges: tuple[float, ...] = ()
    """Numeric: minimum, inner cuts, maximum of the reference, ascending; empty if the reference had no value at all."""
    categories: tuple[str, ...] = ()
    """Categorical: the known values, in the order in which the "ordered" score reads them."""

    def __post_init__(self) -> None:
        """Refuse what can't be counted."""
        if self.kind == "numeric" and (len(self.edges) == 1 or any(a > b for a, b in pairwise(self.edges))):
            raise ValueError(f"column {self.name!r}: edges must be empty or at least two, ascending")
        if len(set(self.categories)) != len(self.categories):
            raise ValueError(f"column {self.name!r}: a category is listed twice")

    @property
    def inner(self) -> int:
        """Number of bins of ordinary values (without missing, below, above, unseen)."""
        return max(len(self.edges) - 1, 0) if self.kind == "numeric" else len(self.categories)

    @property
    def size(self) -> int:
        """Length of the count vector."""
        return self.inner + (3 if self.kind == "numeric" else 2)

    @property
    def labels(self) -> tuple[str, ...]:
        """What each bin holds, for people."""
        if self.kind == "categorical":
            return ("missing", *self.categories, "unseen")
        ends = ["]" if i == self.inner - 1 else ")" for i in range(self.inner)]
        inner = (f"[{a:.6g}, {b:.6g}{end}" for (a, b), end in zip(pairwise(self.edges), ends, strict=True))
        return ("missing", "below", *inner, "above")

    def bins(self, values: Values) -> Integers:
        """Return the bin of each value: float64 with NaN for missing, or an object array of str with None."""
        if self.kind == "categorical":
            known = {name: i for i, name in enumerate(self.categories, start=1)}
            unseen = self.size - 1
            return np.array([0 if _absent(v) else known.get(v, unseen) for v in values.tolist()], dtype=np.int64)
        numbers = np.asarray(values, dtype=np.float64)
        if not self.edges:
            return np.where(np.isnan(numbers), 0, 2).astype(np.int64)
        at = np.searchsorted(np.asarray(self.edges[1:-1]), numbers, side="right") + 2
        at[numbers < self.edges[0]] = 1
        at[numbers > self.edges[-1]] = self.size - 1
        at[np.isnan(numbers)] = 0
        return at.astype(np.int64, copy=False)

    def count(self, values: Values) -> Integers:
        """Return the count vector of these values."""
        if self.kind == "numeric":
            return np.bincount(self.bins(values), minlength=self.size).astype(np.int64, copy=False)
        vector = np.zeros(self.size, dtype=np.int64)
        known = {name: i for i, name in enumerate(self.categories, start=1)}
        for value, times in Counter(values.tolist()).items():  # one C loop over the rows, one Python step a value
            vector[0 if _absent(value) else known.get(value, self.size - 1)] += times
        return vector

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON-able values."""
        head: dict[str, Any] = {"name": self.name, "kind": self.kind, "group": self.group}
        return head | ({"edges": list(self.edges)} if self.kind == "numeric" else {"categories": list(self.categories)})

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> Self:
        """Undo `to_dict`."""
        edges, categories = tuple(map(float, plain.get("edges", ()))), tuple(plain.get("categories", ()))
        return cls(plain["name"], plain["kind"], plain["group"], edges, categories)


def _absent(value: object) -> bool:
    return value is None or value != value  # noqa: PLR0124 - NaN is the one value that differs from itself


def fit_spec(
    name: str,
    values: Values,
    group: Group,
    *,
    bins: int = 32,
    max_categories: int = 63,
    target: NDArray[np.float64] | None = None,
) -> ColumnSpec:
    """Cut a column at its reference quantiles, or list its most frequent categories.

    A numeric column with fewer distinct values than `bins` gets one bin a value. The categories are ordered by the mean
    of `target` where one is given (the label, say: then the "ordered" score moves when the mix moves towards categories
    with high targets), else from frequent to rare.
    """
    if values.dtype == object:
        tally = Counter(v for v in values.tolist() if not _absent(v))
        kept = sorted(tally, key=lambda v: (-tally[v], v))[:max_categories]
        if target is not None:
            means = {v: float(np.mean(target[values == v])) for v in kept}
            kept.sort(key=lambda v: (means[v], v))
        return ColumnSpec(name, "categorical", group, categories=tuple(kept))
    numbers = np.asarray(values, dtype=np.float64)
    numbers = numbers[np.isfinite(numbers)]
    if numbers.size == 0:
        return ColumnSpec(name, "numeric", group)
    distinct = np.unique(numbers)
    if distinct.size < bins:
        cuts = distinct[:-1] + np.diff(distinct) / 2.0
    else:
        cuts = np.unique(np.quantile(numbers, np.linspace(0.0, 1.0, bins + 1)[1:-1]))
        cuts = cuts[(cuts > distinct[0]) & (cuts <= distinct[-1])]
    return ColumnSpec(name, "numeric", group, edges=(float(distinct[0]), *map(float, cuts), float(distinct[-1])))


@dataclass(frozen=True, eq=False)
class Counts:
    """Bin counts of some rows: a commutative monoid under `+`, with `Counts()` as its zero."""

    rows: int = 0
    columns: Mapping[str, Integers] = field(default_factory=dict)

    @classmethod
    def of(cls, specs: Iterable[ColumnSpec], table: Mapping[str, Values]) -> Self:
        """Count the columns of a table (arrays of equal length)."""
        specs = tuple(specs)
        lengths = {len(table[spec.name]) for spec in specs}
        if len(lengths) > 1:
            raise ValueError(f"columns of different lengths: {sorted(lengths)}")
        return cls(lengths.pop() if lengths else 0, {spec.name: spec.count(table[spec.name]) for spec in specs})

    def __add__(self, other: Counts) -> Counts:
        """Return the counts of both sets of rows together."""
        merged = dict(self.columns)
        for name, vector in other.columns.items():
            mine = merged.get(name)
            if mine is not None and mine.shape != vector.shape:
                raise ValueError(f"column {name!r}: {len(mine)} bins against {len(vector)}; not the same reference")
            merged[name] = vector if mine is None else mine + vector
        return Counts(self.rows + other.rows, merged)

    def __eq__(self, other: object) -> bool:
        """Equal counts, whatever the order of the columns."""
        if not isinstance(other, Counts):
            return NotImplemented
        if self.rows != other.rows or self.columns.keys() != other.columns.keys():
            return False
        return all(np.array_equal(vector, other.columns[name]) for name, vector in self.columns.items())

    __hash__ = None  # type: ignore[assignment]

    @classmethod
    def total(cls, parts: Iterable[Counts]) -> Counts:
        """Add up any number of counts."""
        whole = Counts()
        for part in parts:
            whole = whole + part
        return whole

    def shares(self, column: str) -> NDArray[np.float64]:
        """Return each bin's share of the rows (all zero if there are none)."""
        vector = self.columns[column]
        return np.asarray(vector / max(int(vector.sum()), 1), dtype=np.float64)

    def mean(self, column: str, scores: NDArray[np.float64]) -> float:
        """Return the mean of a score given per bin; bins scored NaN are left out. NaN if no row remains."""
        vector, counted = self.columns[column], ~np.isnan(scores)
        rows = int(vector[counted].sum())
        return float(vector[counted] @ scores[counted]) / rows if rows else float("nan")

    def to_bytes(self) -> bytes:
        """Return a compact form: the narrowest integers that hold the largest count, in name order."""
        names = sorted(self.columns)
        vectors = [self.columns[name] for name in names]
        sizes = [[name, len(vector)] for name, vector in zip(names, vectors, strict=True)]
        body = np.concatenate([np.zeros(0, np.int64), *vectors])
        top, low = int(body.max(initial=0)), int(body.min(initial=0))  # below 0: a correction takes away
        narrow = np.result_type(np.min_scalar_type(top), np.min_scalar_type(low))
        return pack({"rows": self.rows, "columns": sizes}, {"counts": body.astype(narrow)})

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Undo `to_bytes`."""
        meta, arrays = unpack(data)
        body, at, columns = arrays["counts"].astype(np.int64), 0, {}
        for name, size in meta["columns"]:
            columns[name] = body[at : at + size]
            at += size
        return cls(int(meta["rows"]), columns)
