"""Scores: the questions that a monitor asks of a column's counts.

A score gives every bin a number in [0, 1] and leaves some bins out; a window's value is the mean over the rows in the
bins that count, `y_t` over `n_t` rows. So every monitor is a bounded mean, which is all that the sequential tests need,
and everything is a product of a fixed matrix with integer counts.

    location      mid-rank of the bin in the reference: moves when values move up or down
    spread        distance of the mid-rank from the middle: moves when values leave or crowd the centre
    ordered       mid-rank in the order of the categories
    category:x    is it x (the most frequent categories)
    missing, out_of_range, unseen   pipeline faults; missing rows count for no other score

Mid-ranks (ridits) as scores of ordered bins: I. D. J. Bross, "How to use ridit analysis", Biometrics 14, 1958.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from holdfast.stats.counts import ColumnSpec, Counts, Group

__all__ = ["Monitor", "ScoreTable", "score_vectors"]

Floats = NDArray[np.float64]

_CATEGORIES_WATCHED = 6  # each one costs the others budget; the rest move the ordered score
_PART = {"location": 4.0, "spread": 2.0, "missing": 1.0, "out_of_range": 1.0, "ordered": 3.0, "unseen": 1.0}
_CATEGORIES_PART = 3.0  # shared by the watched categories


@dataclass(frozen=True)
class Monitor:
    """One watched statistic: a score of a column."""

    column: str
    group: Group
    score: str

    @property
    def key(self) -> str:
        """The one name that says all that changes the value."""
        return f"{self.column}:{self.score}"

    @property
    def is_indicator(self) -> bool:
        """Whether the score is a share of rows (0 or 1 a row), not a rank."""
        return self.score not in ("location", "spread", "ordered")


def score_vectors(spec: ColumnSpec, reference: NDArray[np.int64]) -> dict[str, tuple[Floats, float]]:
    """Return each score of a column: its vector over the bins (NaN = left out) and its part of the column's budget."""
    inner = slice(2, 2 + spec.inner) if spec.kind == "numeric" else slice(1, 1 + spec.inner)
    known = reference.copy()
    known[0] = 0
    if spec.kind == "categorical":
        known[-1] = 0  # an unseen value has no place in the order
    shares = known / max(int(known.sum()), 1)
    ranks = np.cumsum(shares) - shares / 2.0
    ranks[0] = np.nan
    blank = np.zeros(spec.size)
    missing, present = blank.copy(), blank.copy()
    missing[0], present[0] = 1.0, np.nan
    scores = {"missing": missing}
    varied = np.count_nonzero(reference[inner])
    if spec.kind == "numeric":
        scores["out_of_range"] = present.copy()
        scores["out_of_range"][[1, -1]] = 1.0
        if varied > 1:
            scores["location"] = ranks
        if varied > 2:  # two values spread as they lie: the score would be location again
            scores["spread"] = np.abs(2.0 * ranks - 1.0)
    else:
        scores["unseen"] = present.copy()
        scores["unseen"][-1] = 1.0
        frequent = [i for i in np.argsort(-reference[inner], kind="stable") + 1 if reference[i] > 0]
        watched = frequent[: 1 if len(frequent) == 2 else _CATEGORIES_WATCHED] if len(frequent) > 1 else []
        for i in watched:
            scores[f"category:{spec.categories[i - 1]}"] = present.copy()
            scores[f"category:{spec.categories[i - 1]}"][i] = 1.0
        if varied > 2:
            scores["ordered"] = np.concatenate([ranks[:-1], [np.nan]])
    named = sum(name.startswith("category:") for name in scores)
    return {name: (g, _PART.get(name, _CATEGORIES_PART / max(named, 1))) for name, g in scores.items()}


class ScoreTable:
    """All scores of all columns of a stream as one pair of matrices, so that a window costs one product.

    `monitors[i]` is described by row i of everything; `parts[i]` is its weight within its column (they sum to 1).
    """

    def __init__(self, specs: Sequence[ColumnSpec], reference: Counts) -> None:
        self.specs = tuple(specs)
        self.width = max(spec.size for spec in specs)
        monitors, owners, vectors, parts = [], [], [], []
        for c, spec in enumerate(self.specs):
            scored = score_vectors(spec, reference.columns[spec.name])
            whole = sum(part for _, part in scored.values())
            for name, (g, part) in scored.items():
                monitors.append(Monitor(spec.name, spec.group, name))
                owners.append(c)
                vectors.append(np.concatenate([g, np.full(self.width - spec.size, np.nan)]))
                parts.append(part / whole)
        stacked = np.array(vectors)
        self.monitors: tuple[Monitor, ...] = tuple(monitors)
        self.owner = np.array(owners, dtype=np.intp)
        self.parts = np.array(parts)
        self.counted = ~np.isnan(stacked)
        self.scores = np.where(self.counted, stacked, 0.0)
        self.indicator = np.array([m.is_indicator for m in monitors])
        self._both = np.stack([self.scores, self.counted.astype(np.float64)], axis=-1)  # (M, K, 2)

    def stack(self, windows: Sequence[Counts]) -> Floats:
        """Return the counts of the windows as one array (windows, columns, bins), padded with zeros."""
        out = np.zeros((len(windows), len(self.specs), self.width))
        for t, window in enumerate(windows):
            for c, spec in enumerate(self.specs):
                vector = _column(window.columns, spec)
                out[t, c, : spec.size] = vector
        return out

    def sums(self, stacked: Floats) -> tuple[Floats, Floats]:
        """Return the sum of scores and the rows that count, each (windows, monitors)."""
        per_monitor = stacked[:, self.owner, :]  # (T, M, K)
        both = np.einsum("tmk,mkj->jtm", per_monitor, self._both)
        return both[0], both[1]

    def means(self, stacked: Floats) -> tuple[Floats, Floats]:
        """Return y and n, each (windows, monitors); y is 0 where n is."""
        total, rows = self.sums(stacked)
        return total / np.maximum(rows, 1.0), rows

    def moments(self, pooled: Floats) -> tuple[Floats, Floats, Floats, Floats]:
        """Return rows, mean, variance and skewness of each score over one stack of counts (columns, bins)."""
        counts = np.where(self.counted, pooled[self.owner], 0.0)
        rows = counts.sum(axis=1)
        shares = counts / np.maximum(rows, 1.0)[:, None]
        mean = (shares * self.scores).sum(axis=1)
        off = self.scores - mean[:, None]
        variance = (shares * off**2).sum(axis=1)
        third = (shares * off**3).sum(axis=1)
        safe = np.where(variance > 0.0, variance, 1.0)
        return rows, mean, variance, np.where(variance > 0.0, third / safe**1.5, np.inf)


def _column(columns: Mapping[str, NDArray[np.int64]], spec: ColumnSpec) -> NDArray[np.int64]:
    vector = columns.get(spec.name)
    if vector is None or len(vector) != spec.size:
        found = "none" if vector is None else f"{len(vector)} bins"
        raise ValueError(f"window counts of column {spec.name!r}: {found}, the reference has {spec.size} bins")
    return vector
