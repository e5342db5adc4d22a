"""Reference rows for optimising: some show a variant how large numbers get, the others judge what it answers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from holdfast.build.answers import input_feeds
from holdfast.build.convert import Input
from holdfast.build.translate import model_table
from holdfast.core.contract import Contract

__all__ = ["Feeds", "Rows", "parts", "split"]

Feeds = dict[str, NDArray[Any]]
"""The graph's inputs by name, a row each along the first axis."""
CALIBRATION: Final = 512
PART: Final = 32
"""Rows of one run where all that lies between a network's layers is looked at: more would take too much memory."""
JUDGES: Final = 20_000
"""More rows make the intervals hardly narrower, and each variant answers all of them."""


@dataclass(frozen=True)
class Rows:
    """The two parts of the reference."""

    calibration: Feeds
    judged: Feeds
    index: NDArray[np.int64]
    """Which reference rows are judged."""

    def fewer(self, most: int) -> Rows:
        """Of the judged rows at most so many, evenly taken."""
        if len(self.index) <= most:
            return self
        chosen = np.linspace(0, len(self.index) - 1, most).astype(np.int64)
        judged = {name: values[chosen] for name, values in self.judged.items()}
        return Rows(self.calibration, judged, self.index[chosen])

    def first(self, count: int) -> Feeds:
        """So many rows to time a run with; repeated where there are fewer."""
        return {name: np.take(values, np.arange(count) % len(values), axis=0) for name, values in self.judged.items()}


def parts(feeds: Feeds) -> Iterator[Feeds]:
    """A few rows at a time."""
    for start in range(0, len(next(iter(feeds.values()))), PART):
        yield {name: values[start : start + PART] for name, values in feeds.items()}


def split(contract: Contract, table: Mapping[str, NDArray[Any]]) -> Rows:
    """Every n-th row calibrates, the others judge; of few rows all do both."""
    inputs = [Input(field.name, field.datatype, nullable=field.nullable) for field in contract.features]
    feeds = input_feeds(inputs, model_table(contract, table))
    count = len(next(iter(feeds.values())))
    if count < 2 * CALIBRATION:
        chosen = judged = np.arange(count)
    else:
        chosen = np.linspace(0, count - 1, CALIBRATION).astype(np.int64)
        judged = np.setdiff1d(np.arange(count), chosen)
    return Rows(
        {name: values[chosen] for name, values in feeds.items()},
        {name: values[judged] for name, values in feeds.items()},
        judged,
    ).fewer(JUDGES)
