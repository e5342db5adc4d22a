"""Logged predictions as rows: the same values whether they come from a record of the log or from the archive."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec
import numpy as np

from holdfast.core.names import class_columns, prediction_id
from holdfast.core.prediction import Prediction
from holdfast.predictions.archive import META, input_column
from holdfast.predictions.windows import Recipe, event_times, matrix

__all__ = ["ANSWERS", "Cell", "Row", "of_record", "of_table"]

Cell = float | str | None
ANSWERS: Final = ("prediction", "label")
_COMMON: Final = tuple(name for name in META if name not in {"request", "row", "key_crc"})
"""What other columns do not say already, in the order in which `of_table` takes it apart."""


class Row(msgspec.Struct, frozen=True):
    """One logged prediction; times in microseconds UTC."""

    id: str
    event_time: int
    received: int
    clock: int
    release: str
    track: str
    latency_us: int
    key: str | None
    client_id: str
    inputs: dict[str, Cell]
    outputs: dict[str, Cell]
    """`prediction`, or `label` and `p_<class>`."""


def of_table(table: Mapping[str, np.ndarray[Any, Any]], recipes: Callable[[str], Recipe | None]) -> Iterator[Row]:
    """Rows of a query; releases differ in their columns, so what a row's own release does not have is left out.

    Of a release that is not here every column is told that has a value, answers apart from inputs by their names.
    """
    kinds = {name: table[name].astype(np.int64) for name in ("event_time", "received", "clock")}
    columns = {name: kinds.get(name, values).tolist() for name, values in table.items()}
    inputs: dict[str, list[tuple[str, list[Any]]]] = {}
    outputs: dict[str, list[tuple[str, list[Any]]]] = {}
    for release in dict.fromkeys(columns.get("release", ())):
        what = recipes(release)
        if what is None:
            answers = [n for n in columns if n in ANSWERS or n.startswith("p_")]
            named = [(n, n) for n in columns if n not in {*META, *answers}]
        else:
            answers = [*ANSWERS, *class_columns(what.contract.output.classes)]
            named = [(f.name, input_column(f.name)) for f in what.contract.fields]
        inputs[release] = [(name, columns[place]) for name, place in named if place in columns]
        outputs[release] = [(n, columns[n]) for n in answers if n in columns]
    common = zip(*(columns[name] for name in _COMMON), strict=True)
    for i, (name, at, received, clock, release, track, took, key, client) in enumerate(common):
        yield Row(
            id=name,
            event_time=at,
            received=received,
            clock=clock,
            release=release,
            track=track,
            latency_us=int(took),
            key=key,
            client_id=client or "",
            inputs={field: _cell(cells[i]) for field, cells in inputs[release]},
            outputs={n: cells[i] for n, cells in outputs[release] if _cell(cells[i]) is not None},
        )


def of_record(record: Prediction, classes: Sequence[str], only: Collection[int] | None = None) -> Iterator[Row]:
    """Rows (all, or only these) of a record of the log."""
    inputs: dict[str, list[Any]] = {**dict(zip(record.names, matrix(record).tolist(), strict=True)), **record.columns}
    outputs: dict[str, list[Any]] = {}
    for name, values in record.outputs.items():
        cells = _cells(values)
        if name == "probabilities":
            width = len(cells) // max(record.rows, 1)
            names = class_columns(classes if len(classes) == width else [str(i) for i in range(width)])
            outputs |= {name: cells[i::width] for i, name in enumerate(names)}
        else:
            outputs[name] = cells
    times = event_times(record)
    for row in range(record.rows) if only is None else sorted(n for n in only if n < record.rows):
        yield Row(
            id=prediction_id(record.request, row),
            event_time=times[row],
            received=record.received,
            clock=record.clock,
            release=record.release,
            track=record.track,
            latency_us=record.latency_us,
            key=record.keys[row] if record.keys else None,
            client_id=record.client_id,
            inputs={name: _cell(values[row]) for name, values in inputs.items()},
            outputs={name: values[row] for name, values in outputs.items()},
        )


def _cells(values: bytes | list[Any]) -> list[Any]:
    return list(np.frombuffer(values, dtype="<f8").tolist()) if isinstance(values, bytes) else values


def _cell(value: Any) -> Cell:
    """NaN is how numbers are missing in columns; a single cell has None."""
    cell: Cell = None if value != value else value  # noqa: PLR0124
    return cell
