"""A contract from data: what the columns hold becomes what they must look like, as a draft that a person may edit.

Whole numbers become INT64 whatever their size was in the file (a new maximum must reach the monitors, not be refused as an
overflow), ranges and categories are what was seen, and a column may be missing where it once was. A number that only ever
grows with time (a year, a counter) is marked `calendar`: it leaves its range by construction.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Final

import numpy as np

from holdfast.columns.batch import Values
from holdfast.columns.names import class_names
from holdfast.columns.times import NO_TIME, from_datetimes, from_text, time_zone
from holdfast.columns.values import EXACT
from holdfast.core.contract import Contract, Datatype, Field, Mark, Output, Scale, Task
from holdfast.errors import UsageError

__all__ = ["infer_contract"]

MOST_CATEGORIES: Final = 63
"""More different texts than this are an open set."""
FEWEST_ROWS: Final = 20
"""A column is called monotone in time only from this many rows on: three can be so by chance."""


def infer_contract(
    table: Mapping[str, Values],
    *,
    label: str,
    task: Task,
    classes: Sequence[str] = (),
    timestamp: str | None = None,
    key: str | None = None,
    calendar: Collection[str] = (),
    personal: Collection[str] = (),
    protected: Collection[str] = (),
    exclude: Collection[str] = (),
    scale: Scale = "identity",
    timezone: str = "UTC",
) -> Contract:
    """The contract that this data keeps; every column but the label and the excluded ones becomes a field.

    Raises UsageError for a name that is not a column, a timestamp that is no time, or a class that is none of `classes`.
    """
    columns = {name: np.asarray(values) for name, values in table.items()}
    marked: dict[Mark, Collection[str]] = {
        "timestamp": [timestamp] if timestamp else [],
        "key": [key] if key else [],
        "calendar": calendar,
        "personal": personal,
        "protected": protected,
    }
    for name in {name for names in marked.values() for name in names} | set(exclude):
        if name not in columns:
            raise UsageError(f"no column '{name}'", next_step=f"the columns are: {', '.join(list(columns)[:30])}")
    times = _times(columns[timestamp], timezone, timestamp) if timestamp else None
    fields = []
    for name, values in columns.items():
        if name == label or name in exclude:
            continue
        marks = [mark for mark, names in marked.items() if name in names]
        field = _field(name, values, marks)
        if times is not None and field.feature and not marks and field.numeric and _follows(values, times):
            field = _field(name, values, ["calendar"])
        fields.append(field)
    return Contract(
        fields=tuple(fields), output=_output(columns, label, task, tuple(classes), scale), timezone=timezone
    )


def _field(name: str, values: Values, marks: Sequence[Mark]) -> Field:
    datatype, known = _typed(values)
    bounded = not {"timestamp", "key", "calendar"} & set(marks)
    numeric = datatype in {"INT64", "FP64"}
    texts = sorted(set(known)) if datatype == "BYTES" and bounded else []
    return Field(
        name=name,
        datatype="BYTES" if "timestamp" in marks else datatype,
        nullable=len(known) < len(values),
        feature="timestamp" not in marks and "key" not in marks,
        minimum=float(known.min()) if numeric and bounded and len(known) else None,
        maximum=float(known.max()) if numeric and bounded and len(known) else None,
        categories=tuple(texts) if 0 < len(texts) <= MOST_CATEGORIES else None,
        marks=tuple(marks),
    )


def _typed(values: Values) -> tuple[Datatype, Values]:
    """Datatype, and the values that are not missing."""
    kind = values.dtype.kind
    if kind == "b":
        return "BOOL", values
    if kind in "iuf":
        known = values.astype(np.float64)
        known = known[np.isfinite(known)]
        whole = bool(len(known)) and bool(((known == np.floor(known)) & (np.abs(known) <= EXACT)).all())
        return "INT64" if whole else "FP64", known
    if kind == "M":
        return "BYTES", np.datetime_as_string(values[~np.isnat(values)]).astype(object)
    plain = [v for v in values.tolist() if v is not None and v == v]  # noqa: PLR0124 - NaN
    kinds = {type(v) for v in plain}
    if plain and kinds <= {int, float}:
        return _typed(np.array(plain, dtype=np.float64))
    if plain and (kinds == {bool} or set(plain) <= {"true", "false"}):
        return "BOOL", np.array(plain, dtype=object)
    return "BYTES", np.array([str(v) for v in plain], dtype=object)


def _times(values: Values, timezone: str, name: str) -> Values:
    if values.dtype.kind == "M":
        return from_datetimes(values, time_zone(timezone))
    if values.dtype.kind not in "OU":
        raise UsageError(
            f"the column '{name}' holds no times", "--timestamp", "give a column of times or of ISO 8601 texts"
        )
    return from_text(values.tolist(), time_zone(timezone), name)


def _follows(values: Values, times: Values) -> bool:
    """Whether a number only grows, or only falls, with time."""
    if values.dtype.kind not in "iuf":
        return False
    known = np.isfinite(values) & (times != NO_TIME)
    numbers, times = values[known], times[known]
    if len(numbers) < FEWEST_ROWS or numbers.min() == numbers.max():
        return False
    rising = numbers[np.lexsort((numbers, times))]
    falling = numbers[np.lexsort((-numbers, times))]
    return bool((np.diff(rising) >= 0).all() or (np.diff(falling) <= 0).all())


def _output(columns: Mapping[str, Values], label: str, task: Task, classes: tuple[str, ...], scale: Scale) -> Output:
    datatype: Datatype = "FP64" if task == "regression" else "BYTES"
    if label in columns and task != "regression":
        datatype, known = _typed(columns[label])
        seen = class_names(known)
        classes = classes or seen
        if stray := sorted(set(seen) - set(classes)):
            raise UsageError(
                f"the label '{label}' holds '{stray[0]}', which the model does not know",
                next_step=f"the model's classes are: {', '.join(classes[:20])}",
            )
    if task == "binary" and len(classes) != 2:
        raise UsageError(
            f"a binary model has two classes, not {len(classes)}", f"label '{label}'", "give both, or task multiclass"
        )
    if task == "multiclass" and len(classes) < 2:
        raise UsageError(
            "the classes are not known", f"label '{label}'", "give a reference with the label, or the classes"
        )
    return Output(task=task, label=label, classes=classes, label_datatype=datatype, scale=scale)
