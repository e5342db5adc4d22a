"""Answers that are one value per row, as MLflow's and SageMaker's clients expect them: the number, or the label.

Ids, release and probabilities are in the other forms; the headers of every answer name request and release.
"""

from __future__ import annotations

import csv
import io
from typing import Any

import msgspec

from holdfast.serve.answers import Answered

__all__ = ["as_csv", "as_predictions"]


def as_predictions(answered: Answered) -> bytes:
    """`{"predictions": [...]}`."""
    return msgspec.json.encode({"predictions": _values(answered)})


def as_csv(answered: Answered) -> bytes:
    """A line per row."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerows([_shown(value)] for value in _values(answered))
    return text.getvalue().encode()


def _values(answered: Answered) -> list[Any]:
    if answered.labels is None:
        found: list[Any] = answered.numbers.tolist()
        return found
    values = answered.route.release.label_values
    return [values[label] for label in answered.labels]


def _shown(value: Any) -> Any:
    return str(value).lower() if isinstance(value, bool) else value
