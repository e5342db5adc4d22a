"""Which window a row belongs to, and what is counted of it: pure, so that a recount from the log gives the same integers.

Time windows are numbered `event time // length`. A row that comes when its window is closed (its end plus the lateness
allowance has passed on the deployment clock *at receipt*, which the record carries) goes to the window open at that moment,
marked late. Count windows are numbered in log order, so they need to know how many rows of the release came before.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from holdfast.core.contract import Contract
from holdfast.core.prediction import Prediction, Refusal, Tally
from holdfast.core.profile import CONFIDENCE, LOSS, OUTPUT, RESIDUAL, Profile, WindowRule
from holdfast.core.window import Stream, Window
from holdfast.stats.counts import ColumnSpec, Counts

__all__ = [
    "Recipe",
    "bin_type",
    "counted_columns",
    "cut",
    "event_times",
    "fits",
    "input_columns",
    "matrix",
    "output_column",
    "pack",
    "place",
    "recipe",
]

Values = NDArray[Any]
Integers = NDArray[np.int64]
GROUPS = 256
"""Windows that are counted at once."""


@dataclass(frozen=True)
class Recipe:
    """How the records of one release are cut and counted: from its contract and reference profile."""

    contract: Contract
    rule: WindowRule
    inputs: tuple[ColumnSpec, ...]
    outputs: tuple[ColumnSpec, ...]
    errors: tuple[ColumnSpec, ...]
    """Loss and residual, counted when labels come."""


def recipe(contract: Contract, profile: Profile) -> Recipe:
    """What is counted. A field that the log keeps only as a hash has no values to count."""
    specs = [ColumnSpec.from_dict(plain) for plain in profile.columns]
    logged = {field.name for field in contract.fields if field.monitored and field.logged == "keep"}
    return Recipe(
        contract,
        profile.rule,
        inputs=tuple(spec for spec in specs if spec.name in logged),
        outputs=tuple(spec for spec in specs if spec.name in {OUTPUT, CONFIDENCE}),
        errors=tuple(spec for spec in specs if spec.name in {LOSS, RESIDUAL}),
    )


def place(times: Integers, clocks: Integers, length: int, lateness_share: float) -> tuple[Integers, NDArray[np.bool_]]:
    """Number of each row's time window, and whether it came late."""
    own = times // length
    late = clocks >= (own + 1) * length + round(length * lateness_share)
    return np.where(late, clocks // length, own), late


def event_times(record: Prediction | Tally) -> list[int]:
    """Event time of each row; without a timestamp the clock at receipt."""
    return [record.clock] * record.rows if record.times is None else record.times


def clocks_at(record: Prediction | Tally) -> list[int]:
    """The deployment clock at each row: the record's, but in a replay a request's own rows move it, one after the other.

    Else a file of a year, replayed by the thousand rows, would be late but for the last day of each thousand.
    """
    replayed = record.clock != record.received
    if not replayed or record.times is None or max(record.times, default=0) != record.clock:
        return [record.clock] * record.rows
    return list(itertools.accumulate(record.times, max))


def matrix(record: Prediction) -> NDArray[np.float64]:
    """The numeric fields of a record: [fields, rows]."""
    return np.frombuffer(record.numbers, dtype="<f8").reshape(len(record.names), record.rows)


def input_columns(records: Sequence[Prediction]) -> dict[str, Values]:
    """All input columns over all rows of the records; what a record does not have is missing."""
    total = sum(record.rows for record in records)
    table: dict[str, Values] = {}
    at = 0
    for names, alike in itertools.groupby(records, key=lambda record: record.names):
        group = list(alike)
        if not names:
            part = np.empty((0, sum(record.rows for record in group)))
        elif all(record.rows == 1 for record in group):
            part = np.frombuffer(b"".join(record.numbers for record in group), dtype="<f8")
            part = part.reshape(len(group), len(names)).T
        else:
            part = np.concatenate([matrix(record) for record in group], axis=1)
        for name, values in zip(names, part, strict=True):
            if name not in table:
                table[name] = np.full(total, np.nan)
            table[name][at : at + values.size] = values
        at += part.shape[1]
    for name in dict.fromkeys(name for record in records for name in record.columns):
        texts: list[str | None] = []
        for record in records:
            texts.extend(record.columns.get(name) or itertools.repeat(None, record.rows))
        table[name] = np.array(texts, dtype=object)
    return table


def cut(
    what: Recipe, records: Sequence[Prediction | Tally | Refusal], *, seen: int, lateness_share: float
) -> tuple[list[Window], int]:
    """Windows of records of one deployment and release, in log order; and the rows seen after them.

    `seen` says how many rows of this deployment and release came before these records; a time window stays open for
    `lateness_share` of its length.
    """
    answered = [record for record in records if not isinstance(record, Refusal)]
    windows = _refused(what.rule, records, seen)
    if answered:
        windows += _answered(what, answered, seen, lateness_share)
    return windows, seen + sum(record.rows for record in answered)


def pack(
    rule: WindowRule,
    stream: Stream,
    number: int,
    times: Integers,
    counts: Counts,
    *,
    name: tuple[str, str, str],
    sums: dict[str, float],
    late: int = 0,
) -> Window:
    """A window of `counts`; `name` is deployment, release, track. Only time windows have a start of their own."""
    timed = stream == "events" or (stream == "windows" and rule.kind == "time")
    return Window(
        deployment=name[0],
        release=name[1],
        track=name[2],
        stream=stream,
        number=number,
        start=number * rule.length_us if timed else int(times.min()),
        end=(number + 1) * rule.length_us if timed else int(times.max()),
        rows=counts.rows,
        counts=counts.to_bytes(),
        sums=sums,
        late=late,
    )


def _answered(what: Recipe, records: list[Prediction | Tally], seen: int, lateness_share: float) -> list[Window]:
    rows = np.array([record.rows for record in records])
    times = np.array([time for record in records for time in event_times(record)], dtype=np.int64)
    if what.rule.kind == "time":
        clocks = np.array([clock for record in records for clock in clocks_at(record)], dtype=np.int64)
        numbers, late = place(times, clocks, what.rule.length_us, lateness_share)
    else:
        numbers, late = (seen + np.arange(times.size)) // what.rule.rows, np.zeros(times.size, dtype=bool)
    tracks = sorted({record.track for record in records})
    codes = np.repeat(np.array([tracks.index(record.track) for record in records]), rows)
    named, group = np.unique(numbers * len(tracks) + codes, return_inverse=True)
    # What belongs to the request as a whole is counted with its first row.
    requests, latency = np.zeros(times.size, dtype=np.int64), np.zeros(times.size, dtype=np.int64)
    whole = rows > 0
    first = (np.cumsum(rows) - rows)[whole]
    requests[first], latency[first] = 1, np.array([record.latency_us for record in records])[whole]
    sums = {name: np.bincount(group, values) for name, values in (("requests", requests), ("latency_us", latency))}
    lates = np.bincount(group, late)
    order = np.argsort(group, kind="stable")
    ends = np.cumsum(np.bincount(group))
    windows = []
    for i, counts in enumerate(_counts(what, records, rows, group)):
        number, code = divmod(int(named[i]), len(tracks))
        told = {"n": float(counts.rows), **{name: float(values[i]) for name, values in sums.items()}}
        told["flagged"] = float(sum(_outside(spec, counts) for spec in what.inputs))
        name = (records[0].deployment, records[0].release, tracks[code])
        own = times[order[ends[i] - counts.rows : ends[i]]]
        windows.append(pack(what.rule, "windows", number, own, counts, name=name, sums=told, late=int(lates[i])))
    return windows


def _counts(
    what: Recipe, records: list[Prediction | Tally], rows: NDArray[Any], group: NDArray[np.intp]
) -> Iterator[Counts]:
    """Counts of each group of rows: of many groups at once, column by column."""
    whole, table, tallied = _values(what, records, rows)
    specs, sizes = (*what.inputs, *what.outputs), np.bincount(group)
    of_whole, of_tallied = group[whole], group[~whole]
    for start in range(0, sizes.size, GROUPS):
        end = min(start + GROUPS, sizes.size)
        some = (of_whole >= start) & (of_whole < end)
        tallies = (of_tallied >= start) & (of_tallied < end)
        own = np.concatenate([of_whole[some], of_tallied[tallies]]) - start
        columns = {}
        for spec, told in zip(specs, tallied, strict=True):
            bins = np.concatenate([spec.bins(table[spec.name][some]), told[tallies]])
            columns[spec.name] = np.bincount(own * spec.size + bins, minlength=(end - start) * spec.size)
        for i in range(end - start):
            yield Counts(
                int(sizes[start + i]),
                {spec.name: columns[spec.name][i * spec.size : (i + 1) * spec.size] for spec in specs},
            )


def _values(
    what: Recipe, records: list[Prediction | Tally], rows: NDArray[Any]
) -> tuple[NDArray[np.bool_], dict[str, Values], NDArray[Any]]:
    """Which rows have values, those values by column, and the bins of the other rows: [columns, rows]."""
    full = [record for record in records if isinstance(record, Prediction)]
    bins = [_bins(what, record) for record in records if isinstance(record, Tally)]
    whole = np.repeat(np.array([isinstance(record, Prediction) for record in records]), rows)
    width = len(what.inputs) + len(what.outputs)
    return whole, counted_columns(what, full), np.concatenate([np.empty((width, 0), dtype=np.uint8), *bins], axis=1)


def bin_type(specs: Sequence[ColumnSpec]) -> type[np.uint8 | np.uint16]:
    """The narrowest integer that holds every bin."""
    return np.uint8 if max((spec.size for spec in specs), default=0) <= 256 else np.uint16


def fits(what: Recipe, record: Tally) -> bool:
    """Whether a tally was made by this recipe."""
    specs = (*what.inputs, *what.outputs)
    return len(record.bins) == len(specs) * record.rows * np.dtype(bin_type(specs)).itemsize


def _bins(what: Recipe, record: Tally) -> NDArray[Any]:
    specs = (*what.inputs, *what.outputs)
    return np.frombuffer(record.bins, dtype=bin_type(specs)).reshape(len(specs), record.rows)


def _refused(rule: WindowRule, records: Sequence[Prediction | Tally | Refusal], seen: int) -> list[Window]:
    windows = []
    for record in records:
        if not isinstance(record, Refusal):
            seen += record.rows
            continue
        number = record.clock // rule.length_us if rule.kind == "time" else seen // rule.rows
        lost = float(max(record.rows, 1))
        windows.append(
            pack(
                rule,
                "windows",
                number,
                np.array([record.clock]),
                Counts(),
                name=(record.deployment, record.release, "live"),
                sums={"refused": lost, f"refused:{record.code}": lost},
            )
        )
    return windows


def counted_columns(what: Recipe, records: list[Prediction]) -> dict[str, Values]:
    """Every column that is counted, over all rows of the records."""
    given = input_columns(records)
    rows = sum(record.rows for record in records)
    table = {spec.name: given.get(spec.name, _missing(what.contract, spec.name, rows)) for spec in what.inputs}
    for spec in what.outputs:
        table[spec.name] = output_column(what.contract, records, spec.name)
    return table


def _missing(contract: Contract, name: str, rows: int) -> Values:
    return np.full(rows, np.nan) if contract.field(name).numeric else np.full(rows, None, dtype=object)


def output_column(contract: Contract, records: list[Prediction], name: str) -> Values:
    """The model's answer as one column, see `core.profile`."""
    output = contract.output
    if output.task == "regression":
        return np.frombuffer(b"".join(_bytes(record.outputs["prediction"]) for record in records), dtype="<f8")
    if output.task == "multiclass" and name == OUTPUT:
        return np.array([label for record in records for label in record.outputs["label"]], dtype=object)
    shares = np.frombuffer(b"".join(_bytes(record.outputs["probabilities"]) for record in records), dtype="<f8")
    shares = shares.reshape(-1, len(output.classes))
    return shares.max(axis=1) if name == CONFIDENCE else shares[:, 1]


def _bytes(found: bytes | list[str]) -> bytes:
    assert isinstance(found, bytes)
    return found


def _outside(spec: ColumnSpec, counts: Counts) -> int:
    """Values that the reference did not have: below, above or unseen."""
    vector = counts.columns[spec.name]
    return int(vector[-1]) + (int(vector[1]) if spec.kind == "numeric" else 0)
