"""How fast a function of rows is, and how many of its answers are wrong. Needs numpy only: the peers' environment has it too."""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median
from typing import Any

import numpy as np

TOLERANCES = {"xgboost": 1e-5}
"""In units of the output, where it is not a millionth: XGBoost itself adds in float32."""


def measured(
    name: str, answer: Callable[[Any], Any], rows: Any, edges: Any, expected: Any, scale: float
) -> dict[str, Any]:
    """Rows a second in one call, microseconds of one row, and wrong rows among ordinary ones and among those at thresholds."""
    tolerance = scale * TOLERANCES.get(name.partition("_")[0], 1e-6)
    said = np.concatenate([_flat(answer(rows)), _flat(answer(edges))])
    wrong = ~(np.abs(said - expected) <= tolerance)
    return {
        "rows_per_s": len(rows) / _seconds(lambda: answer(rows), budget=1.0, least=3),
        "one_row_us": 1e6 * _seconds(lambda: answer(rows[:1]), budget=0.5, least=20),
        "wrong": int(wrong[: len(rows)].sum()),
        "wrong_at_thresholds": int(wrong[len(rows) :].sum()),
        "worst": float(np.nanmax(np.abs(said - expected)) / scale),
    }


def _flat(answer: Any) -> Any:
    """The prediction, or the chance of the second class."""
    values = np.asarray(answer, dtype=np.float64)
    return values.reshape(len(values), -1)[:, -1]


def _seconds(call: Callable[[], Any], *, budget: float, least: int) -> float:
    """The median of as many calls as the budget of seconds holds."""
    call()
    found: list[float] = []
    end = time.perf_counter() + budget
    while len(found) < least or time.perf_counter() < end:
        began = time.perf_counter()
        call()
        found.append(time.perf_counter() - began)
    return median(found)
