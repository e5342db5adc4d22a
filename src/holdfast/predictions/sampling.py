"""Very high volume: of most requests the log keeps only what the counts need, one byte a value.

`[log] sample` says which share is kept in full. Which requests those are follows from the request's id alone, so that it can
be told afterwards. The others leave a `Tally`: the bin of every value that a monitor counts. So windows, metrics and alarms
are what they would be without sampling, bit for bit; what is found again, labelled and trained on is the sample.
"""

from __future__ import annotations

import hashlib
import math
from bisect import bisect_right
from collections.abc import Callable
from typing import Any, Final

import numpy as np

from holdfast.core.prediction import Prediction, Tally
from holdfast.predictions.windows import Recipe, bin_type, counted_columns, output_column
from holdfast.stats.counts import ColumnSpec

__all__ = ["Binner", "Sampler", "kept"]

MANY: Final = 32
"""Rows from which on numpy is quicker than a loop."""
FORMS: Final = 1000
"""Sets of numeric columns that are remembered; nullable ones may be absent in any combination."""
_WHOLE: Final = 1 << 64


def kept(request: str, share: float) -> bool:
    """Whether this request is in the sample: a function of its id."""
    return int.from_bytes(hashlib.blake2b(request.encode(), digest_size=8).digest(), "big") < share * _WHOLE


class Sampler:
    """Puts a tally in the place of most records.

    Args:
        share: of the requests that are kept in full.
    """

    def __init__(self, share: float) -> None:
        self._share = share
        self._binners: dict[str, Binner] = {}

    def learn(self, digest: str, what: Recipe) -> None:
        """How records of this release are counted; those of releases that were not learnt are kept."""
        self._binners[digest] = Binner(what)

    def __call__(self, record: Prediction) -> Prediction | Tally:
        """The record itself, or its tally."""
        if kept(record.request, self._share):
            return record
        binner = self._binners.get(record.release)
        return record if binner is None else binner.tally(record)


class Binner:
    """Finds the bins of a record's values: `ColumnSpec.bins` of every counted column, for few rows at once."""

    def __init__(self, what: Recipe) -> None:
        self._what = what
        self._specs = (*what.inputs, *what.outputs)
        self._type = bin_type(self._specs)
        self._texts = [spec.name for spec in what.inputs if spec.kind == "categorical"]
        self._answers = [spec.name for spec in what.outputs]
        self._cuts = [_cutter(spec) for spec in self._specs]
        self._places: dict[tuple[str, ...], list[tuple[Callable[[Any], int], int]]] = {}

    def tally(self, record: Prediction) -> Tally:
        """What the log keeps of a record that is not in the sample."""
        return Tally(
            request=record.request,
            deployment=record.deployment,
            release=record.release,
            track=record.track,
            received=record.received,
            clock=record.clock,
            latency_us=record.latency_us,
            client_id="",
            rows=record.rows,
            times=record.times,
            bins=self.bins(record),
        )

    def bins(self, record: Prediction) -> bytes:
        """All rows of the first column, then all rows of the next: inputs, then outputs, in the recipe's order."""
        if record.rows > MANY:
            columns = counted_columns(self._what, [record])
            return np.array([spec.bins(columns[spec.name]) for spec in self._specs], dtype=self._type).tobytes()
        rows = record.rows
        cells: list[Any] = np.frombuffer(record.numbers, dtype="<f8").tolist()
        for name in self._texts:
            cells += record.columns.get(name) or [None] * rows
        for name in self._answers:
            cells += output_column(self._what.contract, [record], name).tolist()
        cells += [math.nan] * rows
        places = self._places.get(record.names) or self._placed(record.names)
        if rows == 1:
            found = [cut(cells[place]) for cut, place in places]
        else:
            found = [cut(cell) for cut, place in places for cell in cells[place * rows : place * rows + rows]]
        return bytes(found) if self._type is np.uint8 else np.array(found, dtype=self._type).tobytes()

    def _placed(self, names: tuple[str, ...]) -> list[tuple[Callable[[Any], int], int]]:
        """Which column of cells each counted column is, for records with these numbers; missing numbers are the last."""
        there = {name: i for i, name in enumerate([*names, *self._texts, *self._answers])}
        last = len(names) + len(self._texts) + len(self._answers)
        found = [(cut, there.get(spec.name, last)) for cut, spec in zip(self._cuts, self._specs, strict=True)]
        if len(self._places) < FORMS:
            self._places[names] = found
        return found


def _cutter(spec: ColumnSpec) -> Callable[[Any], int]:
    """`ColumnSpec.bins` of one value."""
    beyond = spec.size - 1
    if spec.kind == "categorical":
        codes: dict[str | None, int] = {None: 0} | {name: i for i, name in enumerate(spec.categories, start=1)}
        return lambda text: codes.get(text, beyond)
    if not spec.edges:
        return lambda number: 2 if number == number else 0  # noqa: PLR0124 - NaN is missing
    low, *inner, high = spec.edges

    def cut(number: float) -> int:
        if low <= number <= high:
            return bisect_right(inner, number) + 2
        return 1 if number < low else beyond if number > high else 0

    return cut
