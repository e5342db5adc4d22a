"""One look: judge every window that has become complete, open alarms, and keep the open ones up to date.

Everything happens in one database transaction with the progress it makes, so that a killed keeper neither judges a window
twice nor forgets an alarm. Many windows take several transactions, so that nobody waits long to begin his own. Time is the
deployment clock, handed in; the wall clock is never asked.
"""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING

import msgspec

from holdfast.core.profile import DAY
from holdfast.monitor.life import AlarmChange, close_superseded, follow, open_alarm
from holdfast.monitor.look import Look, Step
from holdfast.monitor.watch import STREAMS, Progress, Watch

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from holdfast.core.alarm import Alarm
    from holdfast.core.deployment import Deployment
    from holdfast.core.ports import Database, Stores
    from holdfast.core.profile import Profile
    from holdfast.stats.panel import Evidence

__all__ = ["Runner"]

YEAR = 365.25 * DAY
STEPS = 32
"""Windows that are judged in one transaction."""
GAP_S = 0.01
"""Between two transactions; longer than others wait between looks whether it is their turn."""


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
        self._rest: dict[tuple[str, str], tuple[bytes | None, list[Step]]] = {}
        """Windows of this look that are still to be judged, and the progress that they follow."""

    def look(self, clocks: Mapping[str, int], *, enough: Callable[[], bool] = lambda: False) -> list[AlarmChange]:
        """Look once at every deployment that has a clock (microseconds UTC on the deployment clock), or until `enough`."""
        self._rest.clear()
        with self._database.read() as stores:  # there may be thousands of windows: nobody waits while they are read
            due = [deployment for deployment in stores.deployments.all() if deployment.name in clocks]
            for deployment in due:
                self._find(stores, deployment, clocks[deployment.name])
        names = [deployment.name for deployment in due]
        changes: list[AlarmChange] = []
        while names:
            try:
                changes += self._some(names, clocks)
            except BaseException:
                self._watches.clear()  # they have gone on, and what they remember was not stored
                raise
            if enough():
                break
            if names:
                time.sleep(GAP_S)
        return changes

    def _some(self, names: list[str], clocks: Mapping[str, int]) -> list[AlarmChange]:
        """One transaction; names of which nothing is left to judge are taken out."""
        changes: list[AlarmChange] = []
        room = STEPS
        with self._database.begin(durable=False) as stores:
            standing = {deployment.name: deployment for deployment in stores.deployments.all()}
            while names and room:
                if names[0] in standing:
                    found, judged = self._look_at(stores, standing[names[0]], clocks[names[0]], room)
                    changes += found
                    room -= judged
                if room:
                    names.pop(0)
        return changes

    def _look_at(self, stores: Stores, deployment: Deployment, clock: int, room: int) -> tuple[list[AlarmChange], int]:
        """What changed, and how many windows were judged: at most `room`, the others are left for the next time."""
        changes = close_superseded(stores, deployment, clock)
        name = (deployment.name, deployment.live)
        stored = stores.monitors.load(*name)
        if name not in self._rest or self._rest[name][0] != stored:  # another release or keeper came in between
            self._find(stores, deployment, clock)
        steps, rest = self._rest[name][1][:room], self._rest[name][1][room:]
        if not steps:
            return changes, 0
        look = Look(stores, deployment, self._watch(deployment, stored), clock)
        half = look.watch.profile.rule.length_us // 2
        opened: set[str] = set()
        for i, step in enumerate(steps):
            look.clock = step.at
            opened |= {alarm.id for alarm in _judge(look, step)}
            if i + 1 == len(steps) or steps[i + 1].at - step.at > half:
                followed = follow(look)
                changes += [
                    msgspec.structs.replace(change, state="opened") if change.alarm.id in opened else change
                    for change in followed
                ]
                opened -= {change.alarm.id for change in followed}
        saved = msgspec.msgpack.encode(look.watch.progress)
        stores.monitors.save(*name, saved)
        self._watches[name] = (saved, look.watch)
        self._rest[name] = (saved, rest)
        return changes, len(steps)

    def _find(self, stores: Stores, deployment: Deployment, clock: int) -> None:
        """What is to be judged, and by what."""
        name = (deployment.name, deployment.live)
        stored = stores.monitors.load(*name)
        look = Look(stores, deployment, self._watch(deployment, stored), clock)
        self._watches[name] = (stored, look.watch)
        self._rest[name] = (stored, self._steps(look))
        look.watch.panel()

    def _watch(self, deployment: Deployment, stored: bytes | None) -> Watch:
        """The watch of the last look, unless somebody else (a rollback, another keeper) has moved the progress since."""
        name = (deployment.name, deployment.live)
        before = self._watches.get(name)
        if before and before[0] == stored:
            return before[1]
        progress = msgspec.msgpack.decode(stored, type=Progress) if stored else Progress()
        profile = before[1].profile if before else self._profile_of(deployment.live)
        return Watch(profile, self._per_year, progress)

    def _steps(self, look: Look) -> list[Step]:
        """The windows that are complete and not judged yet, in the order in which they would have been judged in time.

        When labels of a year come at once, each is taken to have come as long after its prediction as the newest: so a late
        look gives what a look every day would have given. None is judged before the window of event time in which its last
        row lies is over: an alarm is dated on such windows, and must find its own rows there.
        """
        length = look.watch.profile.rule.length_us
        steps: list[Step] = []
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
                steps.append(Step(at, stream, window))
        return sorted(steps, key=lambda step: step.at)


def _judge(look: Look, step: Step) -> list[Alarm]:
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
    return [open_alarm(look, panel, state, evidence)] if evidence.crossed else []


def _point(step: Step, evidence: Evidence) -> dict[str, object]:
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
