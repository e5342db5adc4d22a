"""Quality of a variant: its answers beside the converted model's, on the same reference rows.

Both answered the same rows, so differences are taken row by row: that is far sharper than comparing two accuracies. Without
labels nobody knows who is right, and every changed answer counts as lost.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from holdfast.build.answers import open_session
from holdfast.build.optimise.rows import Feeds
from holdfast.core.blocks import in_blocks
from holdfast.core.contract import Contract
from holdfast.core.variant import Loss
from holdfast.stats.intervals import Estimate, paired_proportions, proportion, ratio
from holdfast.stats.metrics import scaled

__all__ = ["Judge", "Verdict", "answers"]

Floats = NDArray[np.float64]
SAME: Final = 1e-6
"""Answers that differ by no more, of the output scale, differ by rounding."""
MOVED: Final = 0.01
"""A number that is off by more, of the answers' spread, is another answer."""
GROUPS: Final = 12
"""A marked column with more values than that is no set of groups."""


def answers(content: bytes, feeds: Feeds) -> Floats:
    """Probabilities [n, classes] or predictions [n, 1]."""
    session = open_session(content)
    return np.asarray(in_blocks(partial(session.run, None), feeds)[0], dtype=np.float64)


@dataclass(frozen=True)
class Verdict:
    """How a variant answers."""

    quality: float | None
    loss: Loss
    flips: int
    groups: dict[str, Loss]
    exact: bool


class Judge:
    """Compares variants with the converted model.

    Args:
        contract: says what kind of answer it is, and which columns are protected.
        plain: the converted model's answers.
        labels: numbers or class indices of the same rows, NaN where there is none; None: no labels at all.
        table: the same rows, with the protected columns.
    """

    def __init__(
        self, contract: Contract, plain: Floats, labels: Floats | None, table: Mapping[str, NDArray[Any]]
    ) -> None:
        self._output = contract.output
        self._plain = plain
        self._labels = labels if labels is not None and np.isfinite(labels).any() else None
        self._spread = float(np.std(plain)) or 1.0 if self._output.task == "regression" else 1.0
        protected = [field.name for field in contract.fields if "protected" in field.marks and field.name in table]
        self._groups = {label: rows for name in protected for label, rows in _groups(name, table[name]).items()}

    def verdict(self, said: Floats) -> Verdict:
        """The variant's answers to the same rows, judged."""
        off = np.abs(said - self._plain).max(axis=1) / self._spread
        off = np.where(np.isfinite(off), off, np.inf)
        every = np.ones(len(said), dtype=bool)
        flipped = self._flipped(said, off)
        return Verdict(
            quality=self._quality(said),
            loss=self._loss(said, flipped, off, every),
            flips=int(flipped.sum()),
            groups={name: self._loss(said, flipped, off, rows) for name, rows in self._groups.items()},
            exact=bool((off <= SAME).all()),
        )

    def _flipped(self, said: Floats, off: Floats) -> NDArray[np.bool_]:
        if self._output.task == "regression":
            return off > MOVED
        return np.asarray(self._classes(said) != self._classes(self._plain))

    def _classes(self, said: Floats) -> NDArray[np.int64]:
        if self._output.task == "binary":
            return np.asarray(said[:, 1] >= self._output.threshold, dtype=np.int64)
        return np.asarray(said.argmax(axis=1))

    def _errors(self, said: Floats, labels: Floats) -> Floats:
        if self._output.task != "regression":
            return np.asarray(self._classes(said) != labels, dtype=np.float64)
        scale = self._output.scale
        return np.asarray(np.abs(scaled(said[:, 0], scale) - scaled(labels, scale)))

    def _quality(self, said: Floats) -> float | None:
        if self._labels is None:
            return None
        known = np.isfinite(self._labels)
        mean = float(self._errors(said[known], self._labels[known]).mean())
        return mean if self._output.task == "regression" else 1.0 - mean

    def _loss(self, said: Floats, flipped: NDArray[np.bool_], off: Floats, rows: NDArray[np.bool_]) -> Loss:
        if self._labels is None:
            return _told("changed answers", proportion(int(flipped[rows].sum()), int(rows.sum())))
        known = rows & np.isfinite(self._labels)
        exact = bool((off[known] <= SAME).all())
        labels = self._labels[known]
        before, after = self._errors(self._plain[known], labels), self._errors(said[known], labels)
        if self._output.task == "regression":
            found = ratio(after - before, before)
            measure = "mean error"
        else:
            found = paired_proportions(int((after > before).sum()), int((after < before).sum()), len(labels))
            measure = "accuracy"
        if exact and len(labels):
            found = Estimate(0.0, 0.0, 0.0, len(labels), found.level, "equal answers")
        return _told(measure, found)


def _told(measure: str, found: Estimate) -> Loss:
    return Loss(measure=measure, value=found.value, low=found.low, high=found.high, rows=found.n, method=found.method)


def _groups(name: str, values: NDArray[Any]) -> dict[str, NDArray[np.bool_]]:
    """The rows of each value of a protected column; of a column of many numbers, of each quarter."""
    if values.dtype != object and len(np.unique(values[np.isfinite(values)])) > GROUPS:
        edges = np.nanquantile(values, [0.25, 0.5, 0.75])
        place = np.searchsorted(edges, values, side="right")
        return {f"{name}, quarter {number + 1}": place == number for number in range(4)}
    found = sorted({value for value in values.tolist() if value is not None and value == value}, key=str)  # noqa: PLR0124
    return {
        f"{name}={value:g}" if isinstance(value, float) else f"{name}={value}": values == value
        for value in found[:GROUPS]
    }
