"""Labels as they come by HTTP or in a file: class names as text, numbers as numbers, keys and ids as text.

A class has one name however its truth is written: 1, 1.0, true and "1" are read as the contract's class "1", or "true".
"""

from __future__ import annotations

import math
from datetime import tzinfo
from typing import Any

import numpy as np

from holdfast.columns.names import class_name, key_text
from holdfast.columns.payloads import decode_json
from holdfast.columns.times import parse_time, time_zone
from holdfast.core.contract import Contract, Output
from holdfast.core.prediction import Label
from holdfast.errors import InvalidInput, MalformedRequest

__all__ = ["decode_label", "decode_labels"]

_MEMBERS = {"prediction_id", "key", "value", "observed_at"}


def decode_label(output: Output, value: Any) -> str | float:
    """One truth in the form that it is kept in; raises InvalidInput if it can't be a label of this output."""
    if output.task == "regression":
        number = isinstance(value, (int, float, np.number)) and not isinstance(value, bool)
        try:
            if number and math.isfinite(value):
                return float(value)
        except OverflowError:
            pass
        raise InvalidInput(f"label {str(value)[:40]!r} is not a finite number", field=output.label)
    if value is None or isinstance(value, (list, dict)) or value != value:  # noqa: PLR0124 - NaN
        raise InvalidInput(f"label {str(value)[:40]!r} is no class", field=output.label)
    candidates = (class_name(value), str(int(value)) if isinstance(value, (bool, np.bool_)) else class_name(value))
    for name in candidates:
        if name in output.classes:
            return name
    if candidates[0] in {"0", "1"} and output.classes == ("false", "true"):
        return output.classes[int(candidates[0])]
    if output.task == "binary":
        raise InvalidInput(
            f"label {candidates[0][:40]!r} is no class of this model",
            next_step=f"classes: {', '.join(output.classes)}",
            field=output.label,
        )
    return candidates[0]


def decode_labels(body: bytes, contract: Contract, max_rows: int) -> list[Label]:
    """`{"labels": [{"prediction_id" or "key", "value", "observed_at"?}]}`; InvalidInput names the row."""
    document = decode_json(body)
    items = document.get("labels") if isinstance(document, dict) else None
    if not isinstance(items, list) or not items or len(items) > max_rows:
        raise MalformedRequest(
            f"the body has no list 'labels' of 1 to {max_rows}",
            next_step='send {"labels": [{"prediction_id": "...", "value": ...}]}',
        )
    zone = time_zone(contract.timezone)
    labels = []
    for row, item in enumerate(items):
        try:
            labels.append(_label(item, contract, zone))
        except InvalidInput as bad:
            raise type(bad)(bad.what, next_step=bad.next_step, field=bad.field, row=row) from None
    return labels


def _label(item: Any, contract: Contract, zone: tzinfo) -> Label:
    if not isinstance(item, dict) or not item.keys() <= _MEMBERS or "value" not in item:
        raise InvalidInput("a label is an object", next_step=f"with {', '.join(sorted(_MEMBERS))}")
    identity, observed = item.get("prediction_id"), item.get("observed_at")
    if not isinstance(identity, (str, type(None))):
        raise InvalidInput("a prediction id is text", field="prediction_id")
    key = item.get("key")
    if not isinstance(key, (str, int, float, type(None))):
        raise InvalidInput("a key is text or a number", field="key")
    try:
        moment = None if observed is None else parse_time(observed, zone)
    except (ValueError, TypeError, OverflowError):
        raise InvalidInput("observed_at is no timestamp", next_step="write ISO 8601", field="observed_at") from None
    return Label(
        value=decode_label(contract.output, item["value"]),
        prediction_id=identity,
        key=key_text(key),
        observed_at=moment,
    )
