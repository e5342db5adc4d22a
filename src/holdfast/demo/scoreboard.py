"""Truth against what Holdfast said: pure, from the changes that really happened, the alarms, the promotes and the calendar.

An alarm is *true* if it opens on a monitor that a change moves, while that change is unresolved, and at most `HORIZON` days
after it has settled; every other alarm is *false*. A change is unresolved from its onset until the world is as before (a
repaired feed) or until a release is promoted most of whose training window lies after the change had settled: a promote does
not resolve a change that still moves. What is read of a change is its first true alarm, as it stood when it closed or when the
story ended.

False alarms are held against the stated rate, so only days count on which one was stated: days whose inputs were judged (the
first windows of a retrained release are learned, not judged). `quiet_days` are those among them on which every alarm would have
been false.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import msgspec

from holdfast.core.alarm import Alarm
from holdfast.core.profile import DAY, LOSS, RESIDUAL
from holdfast.demo.worlds import DAY_ZERO, Truth, date_of, day_start

__all__ = ["HORIZON", "Calendar", "Marked", "Promote", "Scoreboard", "Verdict", "mark"]

HORIZON: Final = 120
"""Days after a change has settled within which an alarm may still be about it."""


class Promote(NamedTuple):
    """A release went live: when, and on which days it was trained."""

    day: int
    trained_from: int
    trained_until: int


class Calendar(NamedTuple):
    """The days of the story."""

    first: int
    last: int
    rated: frozenset[int]
    """Days on which a false-alarm rate was stated."""
    label_lag: float
    """Mean days until a label is known."""
    first_label: int
    """Days until the first label of a day is known."""


class Marked(msgspec.Struct, frozen=True, kw_only=True):
    """One change: what was true, and what Holdfast said of it."""

    name: str
    onset: str
    true_shape: str
    true_cause: str
    found: bool = False
    alarm: str = ""
    delay_days: float | None = None
    delay_net_of_label_lag_days: float | None = None
    interval: tuple[str, str] | None = None
    covers: bool = False
    shape: str = ""
    shape_right: bool = False
    cause: str = ""
    cause_right: bool = False


class Verdict(msgspec.Struct, frozen=True):
    """One alarm: which change it told of, or none."""

    alarm: str
    opened: str
    change: str
    """Name of the change; empty: a false alarm."""
    rated: bool
    """Whether it counts: a rate was stated that day."""


class Scoreboard(msgspec.Struct, frozen=True):
    """The whole mark sheet."""

    changes: tuple[Marked, ...]
    false_alarms: int
    quiet_days: int
    horizon_days: int
    alarms: tuple[Verdict, ...]


def mark(
    truths: Sequence[Truth], alarms: Sequence[Alarm], promotes: Sequence[Promote], calendar: Calendar
) -> Scoreboard:
    """Mark every change and every alarm."""
    ends = {truth.name: _unresolved_until(truth, promotes) for truth in truths}
    told: dict[str, Alarm] = {}
    verdicts = []
    for alarm in sorted(alarms, key=lambda a: (a.opened, a.id)):
        change = _about(alarm, truths, ends, calendar)
        if change is not None:
            told.setdefault(change.name, alarm)
        day = (alarm.opened - 1 - DAY_ZERO) // DAY
        verdicts.append(Verdict(alarm.id, date_of(alarm.opened), change.name if change else "", day in calendar.rated))
    quiet = [
        day
        for day in range(calendar.first, calendar.last + 1)
        if day in calendar.rated and not any(t.onset <= day < ends[t.name] for t in truths)
    ]
    return Scoreboard(
        changes=tuple(_marked(truth, told.get(truth.name), calendar) for truth in truths),
        false_alarms=sum(v.rated and not v.change for v in verdicts),
        quiet_days=len(quiet),
        horizon_days=HORIZON,
        alarms=tuple(verdicts),
    )


def _unresolved_until(truth: Truth, promotes: Sequence[Promote]) -> int:
    """First day on which an alarm can no longer be about this change."""
    limit = (truth.ended if truth.ended is not None else truth.settled) + HORIZON
    if truth.ended is not None:
        return limit
    learned = [p.day for p in promotes if _mostly_after(p, truth.settled)]
    return min([limit, *learned])


def _mostly_after(promote: Promote, settled: int) -> bool:
    return 2 * (promote.trained_until - settled) >= promote.trained_until - promote.trained_from


def _about(alarm: Alarm, truths: Sequence[Truth], ends: dict[str, int], calendar: Calendar) -> Truth | None:
    """The newest unresolved change that can have moved what this alarm names."""
    found = None
    for truth in truths:
        moved = truth.moves & set(alarm.columns)
        wait = calendar.first_label if moved <= {LOSS, RESIDUAL} else 0
        if moved and day_start(truth.onset + wait) < alarm.opened <= day_start(ends[truth.name] + 1):
            found = truth
    return found


def _marked(truth: Truth, alarm: Alarm | None, calendar: Calendar) -> Marked:
    onset = day_start(truth.onset)
    plain = Marked(name=truth.name, onset=date_of(onset), true_shape=truth.shape, true_cause=truth.cause)
    if alarm is None:
        return plain
    delay = (alarm.opened - onset) / DAY
    labelled = set(alarm.columns) <= {LOSS, RESIDUAL}
    dated = alarm.onset_low is not None and alarm.onset_high is not None
    low, high = alarm.onset_low or 0, alarm.onset_high or 0
    return msgspec.structs.replace(
        plain,
        found=True,
        alarm=alarm.id,
        delay_days=round(delay, 2),
        delay_net_of_label_lag_days=round(max(delay - calendar.label_lag, 0.0) if labelled else delay, 2),
        interval=(date_of(low), date_of(high)) if dated else None,
        covers=dated and low <= onset <= high,
        shape=alarm.shape,
        shape_right=alarm.shape == truth.shape,
        cause=alarm.cause,
        cause_right=alarm.cause == truth.cause,
    )
