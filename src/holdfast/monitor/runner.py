"""One look: judge every window that has become complete, open alarms, and keep the open ones up to date.

Everything happens in one database transaction with the progress it makes, so that a killed keeper neither judges a window
twice nor forgets an alarm. Time is the deployment clock, handed in; the wall clock is never asked.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from holdfast.core.alarm import Alarm
from holdfast.core.profile import DAY
from holdfast.monitor.diagnosis import Moved, diagnose, tell
from holdfast.monitor.onset import date_change, returned_at, timeline
from holdfast.monitor.watch import STREAMS, Progress, Watch
from holdfast.stats.counts import ColumnSpec, Counts

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from holdfast.core.deployment import Deployment
    from holdfast.core.ports import Database, Stores
    from holdfast.core.profile import Profile
    from holdfast.core.window import Stream, Window
    from holdfast.stats.panel import Evidence, Panel, PanelState, StreamName

__all__ = ["AlarmChange", "Runner", "accept", "fault_intervals"]

YEAR = 365.25 * DAY
ERRORS_KNOWN_WINDOWS = 5
"""Labelled windows after the onset from which a quiet loss says something."""


MANY_BINS = 16


class AlarmChange(msgspec.Struct, frozen=True):
    """What a look changed about an alarm."""

    alarm: Alarm
    state: str
    """opened, updated, closed."""


@dataclass
class _Look:
    """What one look at one deployment works with; what it has read and decoded is kept for its many steps."""

    stores: Stores
    deployment: Deployment
    watch: Watch
    clock: int
    decode: Callable[[bytes], Counts] = field(default_factory=lambda: cache(Counts.from_bytes))
    read: dict[Stream, list[Window]] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return self.deployment.name

    @property
    def release(self) -> str:
        return self.deployment.live

    def windows(self, stream: Stream) -> list[Window]:
        """All live windows of a stream up to the step's clock, oldest first."""
        if stream not in self.read:
            self.read[stream] = self.stores.windows.read(self.name, self.release, stream, track="live")
        return [w for w in self.read[stream] if w.end <= self.clock]


@dataclass(frozen=True)
class _Step:
    """One window to judge, and the deployment clock at which it was complete."""

    at: int
    stream: StreamName
    window: Window


class Runner:
    """Keeps what is expensive to build (a panel per release) between looks; all truth is in the database."""

    def __init__(
        self, database: Database, profile_of: Callable[[str], Profile], *, per_year: float, lateness: float
    ) -> None:
        self._database = database
        self._profile_of = profile_of
        self._per_year = per_year
        self._lateness = lateness
        self._watches: dict[tuple[str, str], tuple[bytes | None, Watch]] = {}

    def look(self, clocks: Mapping[str, int]) -> list[AlarmChange]:
        """Look once at every deployment that has a clock (microseconds UTC on the deployment clock)."""
        changes: list[AlarmChange] = []
        with self._database.begin() as stores:
            for deployment in stores.deployments.all():
                if deployment.name in clocks:
                    changes += self._look_at(stores, deployment, clocks[deployment.name])
        return changes

    def _look_at(self, stores: Stores, deployment: Deployment, clock: int) -> list[AlarmChange]:
        changes = _close_superseded(stores, deployment, clock)
        stored = stores.monitors.load(deployment.name, deployment.live)
        look = _Look(stores, deployment, self._watch(deployment, stored), clock)
        steps = self._steps(look)
        if not steps:
            return changes
        half = look.watch.profile.rule.length_us // 2
        opened: set[str] = set()
        for i, step in enumerate(steps):
            look.clock = step.at
            opened |= {alarm.id for alarm in _judge(look, step)}
            if i + 1 == len(steps) or steps[i + 1].at - step.at > half:
                followed = _follow(look)
                changes += [
                    msgspec.structs.replace(change, state="opened") if change.alarm.id in opened else change
                    for change in followed
                ]
                opened -= {change.alarm.id for change in followed}
        saved = msgspec.msgpack.encode(look.watch.progress)
        stores.monitors.save(deployment.name, deployment.live, saved)
        self._watches[deployment.name, deployment.live] = (saved, look.watch)
        return changes

    def _watch(self, deployment: Deployment, stored: bytes | None) -> Watch:
        """The watch of the last look, unless somebody else (a rollback, another keeper) has moved the progress since."""
        name = (deployment.name, deployment.live)
        before = self._watches.get(name)
        if before and before[0] == stored:
            return before[1]
        progress = msgspec.msgpack.decode(stored, type=Progress) if stored else Progress()
        profile = before[1].profile if before else self._profile_of(deployment.live)
        return Watch(profile, self._per_year, progress)

    def _steps(self, look: _Look) -> list[_Step]:
        """The windows that are complete and not judged yet, in the order in which they would have been judged in time.

        When labels of a year come at once, each is taken to have come as long after its prediction as the newest: so a late
        look gives what a look every day would have given. None is judged before the window of event time in which its last
        row lies is over: an alarm is dated on such windows, and must find its own rows there.
        """
        length = look.watch.profile.rule.length_us
        steps: list[_Step] = []
        for stream in STREAMS:
            if not look.watch.specs[stream]:
                continue
            after = look.watch.progress.done.get(stream)
            windows = look.stores.windows.read(look.name, look.release, stream, after=after, track="live")
            fresh = look.watch.complete(stream, windows, look.clock, self._lateness)
            at = look.watch.progress.clock.get(stream, 0)
            over = [w.end if stream == "windows" else (w.end // length + 1) * length for w in fresh]
            lag = look.clock - max(over, default=0) if stream == "labels" else 0
            for window, end in zip(fresh, over, strict=True):
                # Labels are judged in the order in which they came, whatever their event times.
                at = max(at, min(end + max(lag, 0), look.clock))
                steps.append(_Step(at, stream, window))
        return sorted(steps, key=lambda step: step.at)


def _judge(look: _Look, step: _Step) -> list[Alarm]:
    """Step the panel through one window; returns the alarm, if one opened."""
    progress, stream, window = look.watch.progress, step.stream, step.window
    since = progress.clock.get(stream, min(look.deployment.since, step.at - look.watch.profile.rule.length_us))
    progress.done[stream], progress.clock[stream] = window.number, step.at
    if look.watch.missing(stream):
        look.watch.learn(stream, window.counts)
        return []
    panel = look.watch.panel()
    if panel is None or stream not in panel.streams:
        return []
    years = max(step.at - since, 0) / YEAR
    state, evidence = panel.step(look.watch.state(panel), stream, look.decode(window.counts), years)
    look.stores.monitors.record(look.name, look.release, [_point(step, evidence)])
    look.watch.keep(state)
    return [_open(look, panel, state, evidence)] if evidence.crossed else []


def _point(step: _Step, evidence: Evidence) -> dict[str, object]:
    """What pages draw: log10 of the evidence over the alarm line, whole and by column."""
    columns: dict[str, float] = {}
    for monitor, value in zip(evidence.monitors, evidence.log_weighted, strict=True):
        columns[monitor.column] = max(columns.get(monitor.column, -math.inf), float(value) - evidence.log_threshold)
    scale = 1.0 / math.log(10.0)
    return {
        "stream": step.stream,
        "number": step.window.number,
        "at": step.at,
        "evidence": (evidence.log_total - evidence.log_threshold) * scale,
        "columns": {name: value * scale for name, value in columns.items() if math.isfinite(value)},
    }


def _open(look: _Look, panel: Panel, state: PanelState, evidence: Evidence) -> Alarm:
    """A new alarm: name it, date it, silence the columns that it names."""
    number = len(look.stores.alarms.find(look.name)) + 1
    alarm = Alarm(
        id=f"{look.name}-{number}",
        deployment=look.name,
        release=look.release,
        opened=look.clock,
        monitors=tuple(m.key for m in evidence.named),
        columns=evidence.named_columns,
        evidence=float(np.exp(min(evidence.log_total - evidence.log_threshold, 300.0))),
        threshold=panel.sentence(state),
        details={"log_evidence": evidence.log_total, "log_threshold": evidence.log_threshold},
    )
    alarm = _redate(look, panel, state, alarm)
    for stream in STREAMS:
        named = [s.name for s in look.watch.specs[stream] if s.name in alarm.columns]
        if named:
            onset = alarm.onset if alarm.onset is not None else look.clock
            since = [
                w
                for w in look.windows(stream)
                if w.end > onset and w.number <= look.watch.progress.done.get(stream, -1)
            ]
            state = panel.mute(state, named, [look.decode(w.counts) for w in since])
    look.watch.keep(state)
    look.stores.alarms.save(alarm)
    return alarm


def _redate(look: _Look, panel: Panel, state: PanelState, alarm: Alarm) -> Alarm:
    """Fit onset and shape of the leading monitor on everything that event time has so far."""
    line = timeline(panel, state, look.watch.profile, _leading(alarm), _event_windows(look, alarm), look.decode)
    onset = date_change(line)
    if onset is None:
        return alarm
    ended = returned_at(line, onset)
    if ended is not None:
        onset = date_change(line, end=ended) or onset
    rows = int(np.count_nonzero(line.n[line.n_ref :] > 0))
    return msgspec.structs.replace(
        alarm,
        onset=onset.at,
        onset_low=onset.low,
        onset_high=onset.high,
        shape=onset.change.shape,
        ramp_days=onset.ramp_days,
        ended=ended,
        details=alarm.details | {"size": onset.change.size, "fitted_windows": rows, "rss_gap": onset.change.gap},
    )


def _leading(alarm: Alarm) -> tuple[str, str]:
    column, _, score = alarm.monitors[0].partition(":")
    return column, score


def _event_windows(look: _Look, alarm: Alarm) -> list[Window]:
    """The windows that tell when this alarm's change began; what an earlier alarm has told, and is over, is left out."""
    labelled = {s.name for s in look.watch.specs["labels"]}
    if alarm.columns[0] in labelled:
        windows = look.windows("events")
    else:
        windows = look.watch.complete("windows", look.windows("windows"), look.clock, 0.0)
    past = [
        (a.onset, a.ended)
        for a in look.stores.alarms.find(look.name)
        if a.release == look.release and a.closing == "returned" and alarm.columns[0] in a.columns
    ]
    return [
        w for w in windows if not any(on is not None and end is not None and on <= w.start < end for on, end in past)
    ]


def _follow(look: _Look) -> list[AlarmChange]:
    """Date, explain and, where the values are back, close the alarms that are open on the live release."""
    panel = look.watch.panel()
    standing = [a for a in look.stores.alarms.find(look.name, only_open=True) if a.release == look.release]
    if panel is None or not standing:
        return []
    state = look.watch.state(panel)
    standing = [_redate(look, panel, state, a) if _is_due(look, a) else a for a in standing]
    moved = {a.id: _moved(look, a) for a in standing}
    changes: list[AlarmChange] = []
    for alarm in standing:
        together = [m for other in standing if _overlap(alarm, other) for m in moved[other.id]]
        verdict = diagnose(together, errors_known=_errors_known(look, alarm), name=look.name)
        told = msgspec.structs.replace(alarm, cause=verdict.cause, action=verdict.action)
        told = msgspec.structs.replace(told, sentence=tell(told, moved[alarm.id], verdict))
        if told.ended is not None:
            told = msgspec.structs.replace(told, closed=look.clock, closing="returned")
            state = panel.unmute(state, told.columns)
        look.stores.alarms.save(told)
        changes.append(AlarmChange(told, "closed" if told.closed is not None else "updated"))
    look.watch.keep(state)
    return changes


def _is_due(look: _Look, alarm: Alarm) -> bool:
    """Every look while it is young, then each time the evidence has grown by a twentieth."""
    fitted = int(alarm.details.get("fitted_windows", 0))
    age = (look.clock - alarm.opened) / max(look.watch.profile.rule.length_us, 1)
    seen = sum(1 for w in _event_windows(look, alarm) if w.rows)
    return alarm.onset is None or age < 20 or _is_fault(alarm) or seen >= fitted + max(1, age / 20)


def _is_fault(alarm: Alarm) -> bool:
    return alarm.cause == "pipeline fault"


def _moved(look: _Look, alarm: Alarm) -> list[Moved]:
    """How each named column looks since the onset, against its reference."""
    onset = alarm.onset if alarm.onset is not None else alarm.opened
    since = [w for w in look.windows("windows") if w.end > onset]
    now = Counts.total(look.decode(w.counts) for w in since)
    before = Counts.total(look.watch.reference["windows"])
    found = []
    for column in alarm.columns:
        spec = next(s for s in (*look.watch.specs["windows"], *look.watch.specs["labels"]) if s.name == column)
        scores = tuple(m.partition(":")[2] for m in alarm.monitors if m.partition(":")[0] == column)
        faulty = [_faulty(c, spec) for c in (before, now)]
        crowded = [_crowded(c, spec) for c in (before, now)]
        found.append(Moved(column, spec.group, scores, float(alarm.details.get("size", 0.0)), *faulty, *crowded))
    return found


def _faulty(counts: Counts, spec: ColumnSpec) -> float:
    """Share of rows that are missing, unseen or out of range."""
    if spec.name not in counts.columns:
        return 0.0
    shares = counts.shares(spec.name)
    return float(shares[0] + shares[-1] + (shares[1] if spec.kind == "numeric" else 0.0))


def _crowded(counts: Counts, spec: ColumnSpec) -> float:
    """Share of rows in the fullest bin, for columns cut into many."""
    if spec.kind != "numeric" or spec.inner < MANY_BINS or spec.name not in counts.columns:
        return 0.0
    return float(counts.shares(spec.name)[2:-1].max())


def _errors_known(look: _Look, alarm: Alarm) -> bool:
    onset = alarm.onset if alarm.onset is not None else alarm.opened
    labelled = [w for w in look.windows("events") if w.start >= onset and w.rows]
    return len(labelled) >= ERRORS_KNOWN_WINDOWS


def _overlap(one: Alarm, other: Alarm) -> bool:
    """Whether two alarms may tell of the same change; undated ones may."""
    if one.id == other.id:
        return True
    if one.onset_low is None or other.onset_low is None or one.onset_high is None or other.onset_high is None:
        return True
    return one.onset_low <= other.onset_high and other.onset_low <= one.onset_high


def _close_superseded(stores: Stores, deployment: Deployment, clock: int) -> list[AlarmChange]:
    """A new live release brings a new reference: alarms of the old one end."""
    changes = []
    for alarm in stores.alarms.find(deployment.name, only_open=True):
        if alarm.release != deployment.live:
            closed = msgspec.structs.replace(alarm, closed=clock, closing="new release")
            stores.alarms.save(closed)
            changes.append(AlarmChange(closed, "closed"))
    return changes


def fault_intervals(alarms: Sequence[Alarm]) -> list[tuple[int, int]]:
    """Event-time intervals [from, to) whose rows are known to be broken: they stay out of training, loss and residual."""
    forever = 2**62
    return [
        (a.onset, a.ended if a.ended is not None else forever)
        for a in alarms
        if _is_fault(a) and a.onset is not None and (a.open or a.ended is not None)
    ]


def accept(database: Database, profile: Profile, alarm_id: str, clock: int, *, per_year: float) -> Alarm:
    """A person says that this is the new normal: the named monitors are re-based on the windows after the change."""
    with database.begin() as stores:
        alarm = stores.alarms.get(alarm_id)
        if not alarm.open:
            return alarm
        deployment = stores.deployments.get(alarm.deployment)
        stored = stores.monitors.load(alarm.deployment, alarm.release)
        progress = msgspec.msgpack.decode(stored, type=Progress) if stored else Progress()
        look = _Look(stores, deployment, Watch(profile, per_year, progress), clock)
        panel = look.watch.panel()
        if panel is not None and alarm.release == deployment.live:
            look.watch.keep(_rebased(look, panel, alarm))
            stores.monitors.save(alarm.deployment, alarm.release, msgspec.msgpack.encode(progress))
        closed = msgspec.structs.replace(alarm, closed=clock, closing="accepted")
        stores.alarms.save(closed)
        stores.trail.append(
            "accept", at=clock, deployment=alarm.deployment, release=alarm.release, data={"alarm": alarm_id}
        )
        return closed


def _rebased(look: _Look, panel: Panel, alarm: Alarm) -> PanelState:
    state = look.watch.state(panel)
    onset = alarm.onset if alarm.onset is not None else alarm.opened
    for stream in STREAMS:
        named = [s.name for s in look.watch.specs[stream] if s.name in alarm.columns]
        after = [look.decode(w.counts) for w in look.windows(stream) if w.start >= onset]
        if named and after:
            state = panel.rebase(state, named, after)
    return state
