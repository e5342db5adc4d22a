"""Values as words: dates, ages, shares, sizes. One place, so that a page never says the same thing in two ways."""

from __future__ import annotations

from typing import TYPE_CHECKING

from holdfast.core.names import short
from holdfast.figures.scales import day, minute, number, percent
from holdfast.status.columns import TITLES

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from holdfast.core.alarm import Alarm
    from holdfast.status.values import Performance

__all__ = ["FILTERS", "ago", "column", "duration", "onset", "shape", "size"]

SECOND = 1_000_000
UNITS = ((86_400 * 365, "year"), (86_400 * 30, "month"), (86_400, "day"), (3600, "hour"), (60, "minute"), (1, "second"))
STATES = {
    "ok": ("✓", "all well"),
    "note": ("i", "note"),
    "alarm": ("!", "alarm"),
    "unwatched": ("?", "unwatched"),
    "no data": ("…", "no data"),
}
MANY = 1e6
SHAPES = {"sudden": "sudden", "gradual": "gradual", "unknown": "not yet known"}


def duration(us: int) -> str:
    """The largest unit that fits, rounded down."""
    seconds = abs(us) // SECOND
    for length, unit in UNITS:
        count = seconds // length
        if count:
            return f"{count} {unit}{'s' if count > 1 else ''}"
    return "now"


def ago(at: int, now: int) -> str:
    """How long before `now`; ahead of it counts as now."""
    words = duration(max(now - at, 0))
    return words if words == "now" else f"{words} ago"


def size(count: int) -> str:
    """Bytes in the unit that people read."""
    value = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.3g} {unit}"
        value /= 1000
    return f"{value:.3g} TB"


def column(name: str) -> str:
    """A column's name for people: `__residual__` is our own."""
    return TITLES.get(name, name)


def monitor(key: str) -> str:
    """A monitor's key, `column:score`, for people."""
    name, _, score = key.partition(":")
    return f"{column(name)} ({score.replace(':', ' ').replace('_', ' ')})" if score else column(name)


def times(ratio: float) -> str:
    """How many times the alarm line: nobody needs the digits of a catastrophe."""
    return f"{number(ratio)} times" if ratio < MANY else "more than a million times"


def onset(alarm: Alarm) -> str:
    """The change date with its interval."""
    if alarm.onset is None:
        return "not dated yet"
    if alarm.onset_low is None or alarm.onset_high is None or alarm.onset_high - alarm.onset_low <= 86_400 * SECOND:
        return day(alarm.onset)
    return f"{day(alarm.onset)} ({day(alarm.onset_low)} to {day(alarm.onset_high)})"


def shape(alarm: Alarm) -> str:
    """Sudden, or gradual over so many days."""
    if alarm.shape == "gradual" and alarm.ramp_days:
        return f"gradual, over {alarm.ramp_days:.0f} days or more"
    return SHAPES[alarm.shape]


def error(performance: Performance) -> str:
    """A measured error in the form of its metric."""
    return _error(performance.metric, performance.value)


def interval(performance: Performance) -> str:
    """Its interval."""
    return f"{_error(performance.metric, performance.low)} to {_error(performance.metric, performance.high)}"


def reference(performance: Performance) -> str:
    """What the release promised."""
    return "none" if performance.reference is None else _error(performance.metric, performance.reference)


def _error(metric: str, value: float) -> str:
    return f"{100 * value:.3g} %" if metric == "error rate" else number(value)


def state(name: str) -> tuple[str, str]:
    """Icon and word of a state: never colour alone."""
    return STATES[name]


FILTERS: dict[str, Callable[..., Any]] = {
    "ago": ago,
    "column": column,
    "day": day,
    "duration": duration,
    "error": error,
    "interval": interval,
    "minute": minute,
    "monitor": monitor,
    "number": number,
    "onset": onset,
    "percent": percent,
    "reference": reference,
    "shape": shape,
    "short": short,
    "size": size,
    "state": state,
    "times": times,
}
