"""The reference profile: what data, answers and errors looked like on rows that the model was not fitted on.

It is counts, never rows: bins per column, the total, the series of windows (a window's mean is compared with how windows
differ among themselves), held-out performance with intervals, and what the calibration replay found.
"""

from __future__ import annotations

from typing import Any, Final, Literal

import msgspec

__all__ = ["LOSS", "OUTPUT", "RESIDUAL", "Profile", "Series", "WindowRule"]

OUTPUT: Final = "__output__"
"""Column name of the model's answer: prediction (regression), P(positive) (binary), label (multiclass)."""
CONFIDENCE: Final = "__confidence__"
"""Multiclass: the largest probability."""
LOSS: Final = "__loss__"
"""Classification: 1 - P(true class). Regression: absolute residual on the contract's scale."""
RESIDUAL: Final = "__residual__"
"""Regression: scale(label) - scale(prediction)."""

HOUR: Final = 3_600_000_000
DAY: Final = 24 * HOUR


class WindowRule(msgspec.Struct, frozen=True):
    """How predictions are cut into alarm windows, fixed at build.

    time: windows of `length_us`; count: windows of `rows` predictions in log order. Loss windows are always cut by
    `label_rows` labelled rows in arrival order.
    """

    kind: Literal["time", "count"]
    length_us: int
    """Length in microseconds; for count windows the reference's median duration (for rates per year)."""
    rows: int
    """Rows per window; for time windows the reference's median."""
    label_rows: int


class Series(msgspec.Struct, frozen=True):
    """Windows in event-time order: start in microseconds since 1970 UTC, duration, and packed counts."""

    starts: tuple[int, ...]
    counts: tuple[bytes, ...]
    """`holdfast.stats.counts.Counts.to_bytes()` each."""


class Profile(msgspec.Struct, frozen=True, kw_only=True):
    """The reference of a release."""

    columns: tuple[dict[str, Any], ...]
    """`ColumnSpec.to_dict()` of every monitored column: inputs, output, loss, residual."""
    importance: dict[str, float]
    rule: WindowRule
    rows: int
    start: int | None
    """Event time of the first and last reference row, microseconds UTC; None without a timestamp."""
    end: int | None
    windows: Series
    """Inputs and output."""
    labels: Series
    """Loss and residual, cut by `label_rows`; empty without labels."""
    performance: dict[str, dict[str, Any]]
    """Metric name -> {value, low, high, n, level, method}."""
    calibration: dict[str, Any]
    """`stats.replay` report: stated rate, achieved, what is not guaranteed."""
    slices: tuple[dict[str, Any], ...] = ()
    """Performance by slice: {column, value, rows, metrics as above}."""
