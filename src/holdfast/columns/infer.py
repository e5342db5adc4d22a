"""A first contract, read off the data: types, ranges, categories, what may be missing. People edit it afterwards.

What is inferred is meant to be generous: few whole numbers become INT64 whatever their size, so that a new maximum is flagged and
not refused; many are taken for a measurement, which may come in fractions; a text column with many values stays open. A numeric
column that never falls while time goes on (a year, a day number) is marked `calendar`: it leaves its range by construction.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final, get_args

import numpy as np
from numpy.typing import NDArray

from holdfast.columns.names import class_names
from holdfast.columns.times import NO_TIME, from_datetimes, from_text, time_zone
from holdfast.core.contract import Contract, Field, Mark, Output, Task
from holdfast.errors import InvalidInput

__all__ = ["MAX_CATEGORIES", "infer_contract"]

MAX_CATEGORIES: Final = 63
"""A column with more values than that is open: any text is one."""
EXACT: Final = 2**53
"""Beyond this not every integer is a float64; such columns are measurements, not counts."""
YEARS: Final = (1900, 2200)


def infer_contract(
    table: Mapping[str, NDArray[Any]],
    *,
    task: Task,
    label: str,
    features: Sequence[str] | None = None,
    timestamp: str | None = None,
    key: str | None = None,
    marks: Mapping[str, Collection[Mark]] | None = None,
    closed: Collection[str] = (),
    classes: Sequence[str] | None = None,
    scale: str = "identity",
    threshold: float = 0.5,
    timezone: str = "UTC",
) -> Contract:
    """The contract of reference rows.

    Args:
        table: columns as `ports.Tables` gives them (or plain numpy columns), the label among them where there is one.
        features: what the model reads, in its order; default: every column but label, timestamp and key.
        task: what kind of answer.
        label: name of the label column.
        timestamp: this column carries event time; optional in a request unless it is a feature, as is the key.
        key: this column names the thing that a prediction is about.
        marks: more marks by column: calendar, personal, protected. A marked column that is no feature is in the contract too.
        closed: text features of which the model itself refuses an unknown category.
        classes: class names in the order of the probabilities; default: the label's values.
        scale: scale on which a regression's error is measured.
        threshold: binary: positive from this probability on.
        timezone: how naive timestamps are read.
    """
    marked: dict[str, set[Mark]] = {name: set(found) for name, found in (marks or {}).items()}
    if timestamp is not None:
        marked.setdefault(timestamp, set()).add("timestamp")
    if key is not None:
        marked.setdefault(key, set()).add("key")
    if features is None:
        features = [name for name in table if name not in {label, timestamp, key}]
    others = [name for name in marked if name not in features]
    for name in (*features, *others):
        if name not in table:
            raise InvalidInput(
                f"the data has no column '{name}'", next_step=f"it has {', '.join(table)[:300]}", field=name
            )
    order = _order(table[timestamp], timezone, timestamp) if timestamp else None
    fields = []
    for name in (*features, *others):
        if order is not None and name != key and _grows(table[name], order):
            marked.setdefault(name, set()).add("calendar")
        fields.append(
            _field(name, table[name], marked.get(name, set()), feature=name in features, closed=name in closed)
        )
    output = _output(table.get(label), task, label, classes, scale, threshold)
    return Contract(fields=tuple(fields), output=output, timezone=timezone)


def _field(name: str, values: NDArray[Any], marks: Collection[str], *, feature: bool, closed: bool) -> Field:
    ordered = tuple(mark for mark in get_args(Mark) if mark in marks)
    described: dict[str, Any] = {"name": name, "feature": feature, "marks": ordered}
    if "timestamp" in marks:
        return Field(**described, datatype="BYTES", nullable=_any_missing(values))
    if values.dtype.kind == "b":
        return Field(**described, datatype="BOOL")
    if values.dtype.kind in "fiu":
        return _number(described, values.astype(np.float64))
    if values.dtype.kind == "M":
        raise InvalidInput(
            "the column holds times, which no model reads",
            field=name,
            next_step="mark it as the timestamp, or leave it out",
        )
    return _text(described, values, closed=closed)


def _number(described: dict[str, Any], values: NDArray[np.float64]) -> Field:
    present = values[np.isfinite(values)]
    # Many different whole numbers are a measurement: a feed that turns to another unit sends fractions, and must reach the
    # monitors instead of being refused. Few are codes or small counts.
    named = {"key", "calendar"} & set(described["marks"])
    distinct = len(np.unique(present))
    few = distinct > 0 and (bool(named) or distinct <= MAX_CATEGORIES)
    whole = few and bool(np.all((np.trunc(present) == present) & (np.abs(present) <= EXACT)))
    bounded = len(present) > 0 and "key" not in described["marks"]
    low, high = (float(present.min()), float(present.max())) if bounded else (None, None)
    return Field(
        **described,
        datatype="INT64" if whole else "FP64",
        nullable=bool(np.isnan(values).any()),
        minimum=low,
        maximum=high,
        description="constant in the reference" if bounded and low == high else "",
    )


def _text(described: dict[str, Any], values: NDArray[Any], *, closed: bool) -> Field:
    present = [value for value in values.tolist() if value is not None and value == value]  # noqa: PLR0124 - NaN
    distinct = set(present)
    nullable = len(present) < len(values)
    if distinct <= {True, False} or distinct <= {"true", "false"}:
        if distinct:
            return Field(**described, datatype="BOOL", nullable=nullable)
    elif strange := next((value for value in distinct if not isinstance(value, str)), None):
        raise InvalidInput(f"the column mixes text and others, such as {strange!r}", field=described["name"])
    few = 0 < len(distinct) <= MAX_CATEGORIES and not {"key"} & set(described["marks"])
    return Field(
        **described,
        datatype="BYTES",
        nullable=nullable,
        categories=tuple(sorted(distinct)) if few or (closed and distinct) else None,
        on_violation="reject" if closed else "flag",
        description="constant in the reference" if few and len(distinct) == 1 else "",
    )


def _output(
    label: NDArray[Any] | None, task: Task, name: str, classes: Sequence[str] | None, scale: str, threshold: float
) -> Output:
    if task == "regression":
        return Output(task=task, label=name, scale=scale)  # type: ignore[arg-type] # msgspec checks it on the way in
    if classes is None:
        if label is None:
            raise InvalidInput(
                "the classes are not known", field=name, next_step="give the label column, or the classes"
            )
        classes = class_names(label)
    if len(classes) < 2 or (task == "binary" and len(classes) != 2):
        raise InvalidInput(f"a {task} model can't have {len(classes)} classes: {', '.join(classes)[:200]}", field=name)
    return Output(
        task=task, label=name, classes=tuple(classes), label_datatype=_class_type(label, classes), threshold=threshold
    )


def _class_type(label: NDArray[Any] | None, classes: Sequence[str]) -> Any:
    if set(classes) <= {"true", "false"}:
        return "BOOL"
    numeric = label is None or label.dtype.kind in "fiu"
    return "INT64" if numeric and all(name.removeprefix("-").isdecimal() for name in classes) else "BYTES"


def _order(values: NDArray[Any], timezone: str, name: str) -> NDArray[np.int64]:
    """Rows by event time."""
    zone = time_zone(timezone)
    if values.dtype.kind == "M":
        times = from_datetimes(values, zone)
    elif values.dtype.kind in "OU":
        times = from_text(values.tolist(), zone, name)
    else:
        raise InvalidInput("the column holds numbers, no timestamps", field=name, next_step="write ISO 8601")
    rows = np.argsort(times, kind="stable").astype(np.int64)
    return np.asarray(rows[times[rows] != NO_TIME], dtype=np.int64)


def _grows(column: NDArray[Any], order: NDArray[np.int64]) -> bool:
    """Never falls over time and takes several values; two are enough only if they can be years."""
    if column.dtype.kind not in "fiu":
        return False
    values = column.astype(np.float64)[order]
    present = values[np.isfinite(values)]
    if len(present) < 2 or np.any(np.diff(present) < 0):
        return False
    distinct = np.unique(present)
    return len(distinct) > 2 or (len(distinct) == 2 and bool(np.all((distinct >= YEARS[0]) & (distinct <= YEARS[1]))))


def _any_missing(values: NDArray[Any]) -> bool:
    return bool(np.isnat(values).any()) if values.dtype.kind == "M" else any(v is None for v in values.tolist())
