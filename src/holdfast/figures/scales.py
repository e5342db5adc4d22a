"""From values to places on an axis: round ticks for numbers, calendar ticks for time, and short text for both."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta

__all__ = ["EPOCH", "day", "linear_ticks", "minute", "number", "percent", "time_ticks"]

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
HOUR = 3_600_000_000
DAY = 24 * HOUR
MONTH = 30 * DAY

_STEPS = (
    *((n * HOUR, "hour") for n in (1, 3, 6, 12)),
    *((n * DAY, "day") for n in (1, 2, 7, 14)),
)
_MONTHS = (1, 2, 3, 6, 12, 24, 60, 120)


def when(us: int) -> datetime:
    """Microseconds since 1970 as a date in UTC."""
    return EPOCH + timedelta(microseconds=us)


def day(us: int) -> str:
    """2026-03-14."""
    return when(us).strftime("%Y-%m-%d")


def minute(us: int) -> str:
    """2026-03-14 09:26."""
    return when(us).strftime("%Y-%m-%d %H:%M")


def number(value: float) -> str:
    """Three significant digits, thousands grouped, millions shortened: for labels, never for data."""
    if not math.isfinite(value):
        return "–"
    size = abs(value)
    if size >= 1e6:
        for limit, letter in ((1e12, "T"), (1e9, "G"), (1e6, "M")):
            if size >= limit:
                return f"{value / limit:.3g} {letter}"
    if size >= 1000 or value == int(value):
        return f"{value:,.0f}"
    return f"{value:.3g}" if size >= 0.001 else f"{value:.1e}"


def percent(share: float) -> str:
    """A share as per cent."""
    if not math.isfinite(share):
        return "–"
    return f"{100 * share:.0f} %" if share >= 0.0995 or share == 0 else f"{100 * share:.2g} %"


def linear_ticks(low: float, high: float, wanted: int = 4) -> list[float]:
    """Round numbers inside [low, high], for ranges above a billionth of the values: steps of 1, 2 or 5 times a power of ten."""
    if not high > low:
        return [low]
    rough = (high - low) / max(wanted, 1)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(f * power for f in (1, 2, 5, 10) if f * power >= rough * 0.999)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [round(i * step, 12) for i in range(first, last + 1)]


def time_ticks(start: int, end: int, wanted: int = 8) -> list[tuple[int, str]]:
    """Calendar ticks inside [start, end] with their labels."""
    rough = max(end - start, 1) / max(wanted, 1)
    for step, unit in _STEPS:
        if step >= rough:
            first = -(-start // step) * step
            return [(at, _short(at, unit)) for at in range(first, end + 1, step)]
    months = next((m for m in _MONTHS if m * MONTH >= rough), _MONTHS[-1])
    return [(at, _short(at, "month")) for at in _month_starts(start, end, months)]


def _month_starts(start: int, end: int, step: int) -> list[int]:
    first = when(start)
    index = first.year * 12 + first.month - 1
    index -= index % step
    found: list[int] = []
    while True:
        at = (datetime(index // 12, index % 12 + 1, 1, tzinfo=UTC) - EPOCH) // timedelta(microseconds=1)
        if at > end:
            return found
        if at >= start:
            found.append(at)
        index += step


def _short(at: int, unit: str) -> str:
    date = when(at)
    if unit == "hour":
        return date.strftime("%d %b") if date.hour == 0 else date.strftime("%H:%M")
    if unit == "day":
        return f"{date.day} {date.strftime('%b')}"
    return date.strftime("%Y") if date.month == 1 else date.strftime("%b")
