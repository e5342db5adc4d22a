"""Windows into display bins: as many as an eye can use, all releases on one axis, the error with its interval.

Alarm windows are cut for statistics; pages show round widths (an hour, a day, a week), so a bin is a plain sum of the windows
that begin in it. Sums add, therefore nothing is lost but resolution.

The interval of a share of errors is Wilson's. That of a mean squared error needs its variance, which the sums do not hold; it
is taken from successive differences between neighbouring windows (von Neumann, "Distribution of the ratio of the mean square
successive difference to the variance", Ann. Math. Stat. 1941): a slow drift of the error widens it hardly at all, and heavy
tails are paid for, where a chi-square interval would assume normal residuals.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

from holdfast.core.profile import DAY, HOUR
from holdfast.stats.intervals import Estimate, proportion, ratio
from holdfast.status.values import Bin, Performance, Verdict

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from holdfast.core.contract import Output, Task
    from holdfast.core.window import Window

__all__ = ["LEVEL", "Sums", "bin_width", "bins", "error_metric", "measured", "relative_spread"]

WIDTHS = (HOUR, 3 * HOUR, 6 * HOUR, 12 * HOUR, DAY, 7 * DAY, 28 * DAY, 91 * DAY, 364 * DAY)
MOST = 220
"""More bins than this and neighbouring ones fall on the same pixels."""
LEVEL, Z = 0.95, 1.959964
ENOUGH_WINDOWS = 10
NORMAL_SPREAD = 2.0
"""Var(r^2) / E(r^2)^2 of a normal residual: the least that is assumed."""


class Sums(NamedTuple):
    """Display sums of some labelled rows."""

    n: float = 0.0
    loss: float = 0.0
    loss2: float = 0.0
    errors: float = 0.0

    def __add__(self, other: object) -> Sums:
        if not isinstance(other, Sums):
            return NotImplemented
        return Sums(*(a + b for a, b in zip(self, other, strict=True)))

    @classmethod
    def of(cls, window: Window) -> Sums:
        """What an `events` window says."""
        return cls(*(window.sums.get(name, 0.0) for name in cls._fields))


def bin_width(start: int, end: int, window: int) -> int:
    """The finest round width that gives at most `MOST` bins and is not shorter than a window, which cannot be divided."""
    return next((w for w in WIDTHS if w >= window and (end - start) / w <= MOST), WIDTHS[-1])


def error_metric(output: Output) -> str:
    """What the error series shows, as a person says it."""
    if output.task != "regression":
        return "error rate"
    return "RMSE" if output.scale == "identity" else f"RMSE ({output.scale} scale)"


def relative_spread(windows: Sequence[Window]) -> float:
    """Var(r^2) / E(r^2)^2 per row, from successive differences of the windows' mean squares; at least the normal's."""
    means = [(w.sums["n"], w.sums["loss2"] / w.sums["n"]) for w in windows if w.sums.get("n", 0.0) > 0]
    total = sum(n for n, _ in means)
    if len(means) < 2 or not total:
        return NORMAL_SPREAD
    level = sum(n * m for n, m in means) / total
    if level <= 0:
        return NORMAL_SPREAD
    steps = [n1 * n2 / (n1 + n2) * (m2 - m1) ** 2 for (n1, m1), (n2, m2) in pairwise(means)]
    return max(NORMAL_SPREAD, sum(steps) / len(steps) / level**2)


def error_of(task: Task, sums: Sums, spread: float) -> Estimate | None:
    """Error with its interval; None without labelled rows."""
    if sums.n <= 0:
        return None
    if task != "regression":
        return proportion(sums.errors, int(sums.n), level=LEVEL)
    square = sums.loss2 / sums.n
    return _root(square, Z * square * math.sqrt(spread / sums.n), int(sums.n), "successive differences")


def _root(square: float, half: float, n: int, method: str) -> Estimate:
    low, high = math.sqrt(max(square - half, 0.0)), math.sqrt(square + half)
    return Estimate(math.sqrt(square), low, high, n, LEVEL, method)


def bins(task: Task, windows: Iterable[Window], events: Sequence[Window], width: int) -> tuple[Bin, ...]:
    """Traffic and error by event time; bins in which nothing happened are left out."""
    rows: dict[int, int] = {}
    spent: dict[int, float] = {}
    timed: dict[int, float] = {}
    labelled: dict[int, Sums] = {}
    for w in windows:
        at = w.start // width
        rows[at] = rows.get(at, 0) + w.rows
        if "latency_us" in w.sums:
            spent[at] = spent.get(at, 0.0) + w.sums["latency_us"]
            timed[at] = timed.get(at, 0.0) + w.sums.get("requests", 0.0)
    for w in events:
        at = w.start // width
        labelled[at] = labelled.get(at, Sums()) + Sums.of(w)
    spread = relative_spread(events)
    found = []
    for at in sorted(rows.keys() | labelled.keys()):
        sums = labelled.get(at, Sums())
        error = error_of(task, sums, spread)
        found.append(
            Bin(
                start=at * width,
                end=(at + 1) * width,
                rows=rows.get(at, 0),
                labelled=int(sums.n),
                latency_ms=spent[at] / timed[at] / 1000 if timed.get(at) else None,
                error=error.value if error else None,
                low=error.low if error else None,
                high=error.high if error else None,
            )
        )
    return tuple(found)


def measured(output: Output, events: Sequence[Window], promised: Mapping[str, Any] | None) -> Performance | None:
    """Error over these labelled windows beside what the release promised (`value`, `low`, `high`)."""
    found = _overall(output.task, [w for w in events if w.sums.get("n", 0.0) > 0])
    if found is None:
        return None
    value, low, high = ((promised or {}).get(name) for name in ("value", "low", "high"))
    return Performance(
        metric=error_metric(output),
        value=found.value,
        low=found.low,
        high=found.high,
        n=found.n,
        level=LEVEL,
        since=min(w.start for w in events),
        reference=value,
        reference_low=low,
        reference_high=high,
        verdict=_verdict(found, value, low, high),
    )


def _overall(task: Task, events: Sequence[Window]) -> Estimate | None:
    """Whole windows are the units once there are enough: the rows of a day resemble one another."""
    sums = sum((Sums.of(w) for w in events), Sums())
    if len(events) < ENOUGH_WINDOWS:
        return error_of(task, sums, relative_spread(events))
    name = "loss2" if task == "regression" else "errors"
    found = ratio([w.sums.get(name, 0.0) for w in events], [w.sums["n"] for w in events], level=LEVEL)
    if task == "regression":
        return _root(found.value, found.high - found.value, int(sums.n), "t by windows")
    return Estimate(found.value, max(found.low, 0.0), min(found.high, 1.0), int(sums.n), LEVEL, "t by windows")


def _verdict(found: Estimate, value: float | None, low: float | None, high: float | None) -> Verdict:
    if value is None:
        return "no reference"
    if found.low > (value if high is None else high):
        return "worse"
    return "better" if found.high < (value if low is None else low) else "as promised"
