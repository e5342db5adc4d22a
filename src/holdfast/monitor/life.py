"""The life of an alarm: it opens, is dated and explained again as evidence grows, and closes.

An open alarm silences only the columns that it names. It closes when the values are back, when a new release brings a new
reference, or when a person accepts the new normal. Alarms that may tell of the same change are explained together.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np

from holdfast.core.alarm import Alarm
from holdfast.monitor.dating import is_due, moved_since, redate
from holdfast.monitor.diagnosis import diagnose, tell
from holdfast.monitor.look import Look
from holdfast.monitor.watch import STREAMS, Progress, Watch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from holdfast.core.deployment import Deployment
    from holdfast.core.ports import Database, Stores
    from holdfast.core.profile import Profile
    from holdfast.stats.panel import Evidence, Panel, PanelState

__all__ = ["AlarmChange", "accept", "close_superseded", "fault_intervals", "follow", "open_alarm"]

ERRORS_KNOWN_WINDOWS = 5
"""Labelled windows after the onset from which a quiet loss says something."""


class AlarmChange(msgspec.Struct, frozen=True):
    """What a look changed about an alarm."""

    alarm: Alarm
    state: str
    """opened, updated, closed."""


def open_alarm(look: Look, panel: Panel, state: PanelState, evidence: Evidence) -> Alarm:
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
    alarm = redate(look, panel, state, alarm)
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


def follow(look: Look) -> list[AlarmChange]:
    """Date, explain and, where the values are back, close the alarms that are open on the live release."""
    panel = look.watch.panel()
    standing = [a for a in look.stores.alarms.find(look.name, only_open=True) if a.release == look.release]
    if panel is None or not standing:
        return []
    state = look.watch.state(panel)
    standing = [redate(look, panel, state, a) if is_due(look, a) else a for a in standing]
    standing = [_with_shape(a, standing) for a in standing]
    moved = {a.id: moved_since(look, panel, state, a) for a in standing}
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


def _with_shape(alarm: Alarm, standing: Sequence[Alarm]) -> Alarm:
    """Several alarms of one change: what the best-dated one shows of its shape holds for those that cannot tell."""
    if alarm.shape != "unknown" or alarm.onset_low is None or alarm.onset_high is None:
        return alarm
    known = [
        (other.onset_high - other.onset_low, other)
        for other in standing
        if other.shape != "unknown"
        and other.onset is not None
        and other.onset_low is not None
        and other.onset_high is not None
        and alarm.onset_low <= other.onset <= alarm.onset_high
    ]
    if not known:
        return alarm
    best = min(known, key=lambda pair: pair[0])[1]
    return msgspec.structs.replace(alarm, shape=best.shape, ramp_days=best.ramp_days)


def _errors_known(look: Look, alarm: Alarm) -> bool:
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


def close_superseded(stores: Stores, deployment: Deployment, clock: int) -> list[AlarmChange]:
    """A new live release brings a new reference: alarms of the old one end; after a rollback they stand again."""
    changes = []
    for alarm in stores.alarms.find(deployment.name):
        if alarm.open and alarm.release != deployment.live:
            told = msgspec.structs.replace(alarm, closed=clock, closing="new release")
        elif alarm.closing == "new release" and alarm.release == deployment.live:
            told = msgspec.structs.replace(alarm, closed=None, closing=None)
        else:
            continue
        stores.alarms.save(told)
        changes.append(AlarmChange(told, "opened" if told.open else "closed"))
    return changes


def fault_intervals(alarms: Sequence[Alarm]) -> list[tuple[int, int]]:
    """Event-time intervals [from, to) whose rows are known to be broken: they stay out of training, loss and residual."""
    forever = 2**62
    return [
        (a.onset, a.ended if a.ended is not None else forever)
        for a in alarms
        if a.cause == "pipeline fault" and a.onset is not None and (a.open or a.ended is not None)
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
        look = Look(stores, deployment, Watch(profile, per_year, progress), clock)
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


def _rebased(look: Look, panel: Panel, alarm: Alarm) -> PanelState:
    state = look.watch.state(panel)
    onset = alarm.onset if alarm.onset is not None else alarm.opened
    for stream in STREAMS:
        named = [s.name for s in look.watch.specs[stream] if s.name in alarm.columns]
        after = [look.decode(w.counts) for w in look.windows(stream) if w.start >= onset]
        if named and after:
            state = panel.rebase(state, named, after)
    return state
