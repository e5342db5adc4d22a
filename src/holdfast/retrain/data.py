"""Original data and labelled log as one table in order of event time, and back into the data frame that a script knows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from holdfast.columns import decode_label, decode_table
from holdfast.columns.times import NO_TIME, time_zone
from holdfast.core.contract import Contract, Field
from holdfast.errors import BuildError, UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy.typing as npt

__all__ = ["as_reference", "join_tables", "snapshot_table", "split", "to_frame", "widened"]

WITHHELD = 0.2
MIN_ROWS = 200
"""Fewer labelled rows than this in the window are too few to learn from."""
CATEGORIES = 63
Table = dict[str, Any]


def snapshot_table(contract: Contract, raw: Mapping[str, npt.NDArray[Any]]) -> Table:
    """The original data (columns of a file) as the labelled log has them: fields, label, event_time."""
    label = contract.output.label
    if label not in raw:
        raise UsageError(f"the original data has no column '{label}'", "[deployments.NAME] data", "add the label to it")
    batch = decode_table(contract, {name: values for name, values in raw.items() if name != label})
    truths = [decode_label(contract.output, value) for value in raw[label].tolist()]
    dtype: Any = np.float64 if contract.output.task == "regression" else object
    times = np.zeros(batch.rows, dtype=np.int64) if batch.times is None else batch.times
    return {**batch.table, label: np.array(truths, dtype=dtype), "event_time": times}


def join_tables(
    snapshot: Mapping[str, npt.NDArray[Any]], logged: Mapping[str, npt.NDArray[Any]], names: Sequence[str]
) -> dict[str, npt.NDArray[Any]]:
    """Original data and labelled log as one table of these columns plus `event_time`, by event time."""
    columns = [*names, "event_time"]
    joined = {
        name: np.concatenate([snapshot[name], logged[name]]) for name in columns if name in snapshot or name in logged
    }
    order = np.argsort(joined["event_time"], kind="stable")
    return {name: values[order] for name, values in joined.items()}


def split(
    table: Mapping[str, npt.NDArray[Any]], since: int | None
) -> tuple[dict[str, npt.NDArray[Any]], dict[str, npt.NDArray[Any]]]:
    """Rows to learn from, and the newest fifth, withheld. The table is in order of event time.

    Raises BuildError if the window holds too few rows.
    """
    times = table["event_time"]
    first = 0 if since is None else int(np.searchsorted(times, since))
    rows = len(times) - first
    if rows < MIN_ROWS:
        raise BuildError(
            f"only {rows} labelled rows lie in the training window, {MIN_ROWS} are needed",
            next_step="wait for more labels, or choose a window: --since DATE",
        )
    cut = len(times) - int(rows * WITHHELD)
    return {n: v[first:cut] for n, v in table.items()}, {n: v[cut:] for n, v in table.items()}


def widened(contract: Contract, table: Mapping[str, npt.NDArray[Any]]) -> Contract:
    """The contract with ranges and categories that also hold these rows; all that a person set in it stays."""
    fields = [_widen(f, table[f.name]) if f.name in table else f for f in contract.fields]
    return msgspec.structs.replace(contract, fields=tuple(fields))


def _widen(field: Field, values: npt.NDArray[Any]) -> Field:
    if {"timestamp", "key"} & set(field.marks) or field.on_violation == "reject":
        return field
    if field.numeric:
        seen = values[~np.isnan(values)]
        missing = len(seen) < len(values)
        low = [v for v in (field.minimum, float(seen.min()) if len(seen) else None) if v is not None]
        high = [v for v in (field.maximum, float(seen.max()) if len(seen) else None) if v is not None]
        return msgspec.structs.replace(
            field,
            minimum=min(low, default=None),
            maximum=max(high, default=None),
            nullable=field.nullable or missing,
        )
    present = {value for value in values.tolist() if value is not None}
    missing = any(value is None for value in values.tolist())
    together = None if field.categories is None else tuple(sorted({*field.categories, *present}))
    if together is not None and len(together) > CATEGORIES:
        together = None
    return msgspec.structs.replace(field, categories=together, nullable=field.nullable or missing)


def as_reference(table: Mapping[str, npt.NDArray[Any]], contract: Contract) -> Table:
    """Rows as a reference file has them: with the timestamp column, without what only the log knows."""
    names = {f.name for f in contract.fields if not {"timestamp", "key"} & set(f.marks)} | {contract.output.label}
    found = {name: values for name, values in table.items() if name in names}
    if contract.timestamp is not None:
        found[contract.timestamp.name] = _local(table["event_time"], contract)
    return found


def to_frame(table: Mapping[str, npt.NDArray[Any]], contract: Contract) -> Any:
    """A pandas data frame as the training script knows it: integers where nothing is missing, booleans, times as times."""
    import pandas as pd

    known = {field.name for field in contract.fields} | {contract.output.label}
    frame = pd.DataFrame({name: values for name, values in table.items() if name in known})
    for field in contract.fields:
        if field.name not in frame:
            continue
        if "timestamp" in field.marks:
            frame[field.name] = (
                pd.to_datetime(table["event_time"], unit="us", utc=True).tz_convert(contract.timezone).tz_localize(None)
            )
        elif field.datatype == "BOOL":
            frame[field.name] = frame[field.name].map({"true": True, "false": False})
        elif "INT" in field.datatype and not frame[field.name].isna().any():
            frame[field.name] = frame[field.name].astype(np.int64)
    return frame


def _local(times: npt.NDArray[np.int64], contract: Contract) -> npt.NDArray[Any]:
    """Event times as naive datetime64 in the contract's zone; NaT where there is none."""
    from datetime import UTC, datetime, timedelta

    naive = np.where(times == NO_TIME, np.iinfo(np.int64).min, times).astype("datetime64[us]")
    zone = time_zone(contract.timezone)
    if zone is UTC:
        return naive
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    local = [
        None if at == NO_TIME else (epoch + timedelta(microseconds=at)).astimezone(zone).replace(tzinfo=None)
        for at in times.tolist()
    ]
    return np.array(local, dtype="datetime64[us]")
