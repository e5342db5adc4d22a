"""The overview: every deployment of a workspace in a line, and every release.

Pure reads: one short transaction, then arithmetic. The same values are printed by `holdfast status`, sent by the control API
and drawn by the console, so that no two doors can tell different stories.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import msgspec

from holdfast.core.profile import DAY, HOUR
from holdfast.errors import HoldfastError
from holdfast.monitor.watch import Progress
from holdfast.predictions.compact import clock
from holdfast.stats.calibration import MIN_WINDOWS
from holdfast.status import series
from holdfast.status.sources import answering, disk_bytes, log_state, server
from holdfast.status.values import LabelCounts, Latency, Monitoring, Overview, ReleaseSummary, Row, Server, State
from holdfast.status.waiting import advice

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from holdfast.core.alarm import Alarm
    from holdfast.core.deployment import Deployment
    from holdfast.core.event import Event
    from holdfast.core.ports import Stores
    from holdfast.core.profile import Profile
    from holdfast.core.window import Window
    from holdfast.status.sources import ReleaseView, Sources

__all__ = ["DeploymentState", "overview", "read_state", "release_summaries", "release_summary", "row_of"]

RECENT = 40
"""Windows in a sparkline."""
MEASURED_WINDOWS = 60
"""Newest labelled windows behind the measured error."""
HARMLESS = frozenset({"benign covariate"})


class DeploymentState(NamedTuple):
    """All that the database says about one deployment."""

    deployment: Deployment
    alarms: list[Alarm]
    labels: dict[str, int]
    windows: list[Window]
    """Of the live release, answering tracks."""
    events: list[Window]
    evidence: list[dict[str, Any]]
    progress: Progress
    clock: int
    """The deployment's own now."""
    record: list[Event]
    """Its lines in the append-only record."""


def overview(sources: Sources, now: int) -> Overview:
    """Every deployment in a line; `now` is the wall clock in microseconds."""
    serving = server(sources.run)
    with sources.database.begin() as stores:
        states = [read_state(stores, d, now) for d in stores.deployments.all()]
        log = log_state(stores, sources.run)
    rows = tuple(row_of(sources, state, serving) for state in states)
    return Overview(at=now, server=serving, log=log, deployments=rows)


def release_summaries(sources: Sources) -> list[ReleaseSummary]:
    """Every release of the workspace; one that cannot be opened is left to `holdfast verify`."""
    with sources.database.begin() as stores:
        every = stores.deployments.all()
    where: dict[str, list[str]] = {}
    for d in every:
        for route in d.routes:
            where.setdefault(route.release, []).append(f"{d.name}@{route.track}")
    found = []
    for digest in sources.digests():
        try:
            found.append(release_summary(sources.release(digest), tuple(where.get(digest, ()))))
        except HoldfastError:
            continue
    return found


def release_summary(release: ReleaseView, deployments: tuple[str, ...] = ()) -> ReleaseSummary:
    """One release in a line."""
    profile = release.profile
    return ReleaseSummary(
        digest=release.digest,
        name=release.manifest.name,
        task=release.manifest.task,
        model=release.manifest.model.uri,
        flavour=release.manifest.model.flavour,
        reference_rows=profile.rows,
        start=profile.start,
        end=profile.end,
        performance=profile.performance,
        deployments=deployments,
    )


# ------------------------------------------------------------------------------------------ reading


def read_state(stores: Stores, state: Deployment, now: int) -> DeploymentState:
    """All that the database says about it."""
    stored = stores.monitors.load(state.name, state.live)
    return DeploymentState(
        state,
        stores.alarms.find(state.name),
        stores.labels.summary(state.name),
        answering(stores, state.name, state.live, "windows"),
        answering(stores, state.name, state.live, "events"),
        stores.monitors.evidence(state.name, state.live),
        msgspec.msgpack.decode(stored, type=Progress) if stored else Progress(),
        clock(stores, state.name, now),
        stores.trail.read(state.name),
    )


# ------------------------------------------------------------------------------------------ a line


def row_of(sources: Sources, state: DeploymentState, serving: Server) -> Row:
    """One deployment in a line; a live release that cannot be opened is what is wrong, not a reason to say nothing."""
    d = state.deployment
    open_alarms = tuple(a for a in reversed(state.alarms) if a.open)
    row = Row(
        name=d.name,
        state="alarm",
        reason="",
        clock=state.clock,
        task="",
        model="",
        live=d.live,
        since=d.since,
        previous=d.previous[-1] if d.previous else "",
        canary=d.canary,
        canary_share=d.canary_share,
        rows=sum(w.rows for w in state.windows),
        refused=int(sum(w.sums.get("refused", 0.0) for w in state.windows)),
        recent=_recent(state.windows),
        window="",
        last_prediction=max((w.end for w in state.windows), default=None),
        latency=_latency(state.windows[-RECENT:]),
        performance=None,
        alarms=open_alarms,
        labels=_labels(state),
        disk_bytes=disk_bytes(sources.log / d.name),
        monitoring=Monitoring(running=serving.keeping, looked_until=None, behind=0, rate=""),
    )
    try:
        release = sources.release(d.live)
        return _of_release(row, release, state, sources.per_year, serving)
    except HoldfastError as bad:
        return msgspec.structs.replace(row, reason=f"the live release cannot be used: {bad}")


def _of_release(row: Row, release: ReleaseView, state: DeploymentState, per_year: float, serving: Server) -> Row:
    """The line with what only the release knows: task, promise, and what the monitors watch."""
    task = release.manifest.task
    promised = release.profile.performance.get("rmse" if task == "regression" else "error_rate")
    monitoring = _monitoring(release.profile, state, per_year, running=serving.keeping)
    health, reason = _health(state, row.alarms, monitoring, serving.trouble)
    return msgspec.structs.replace(
        row,
        state=health,
        reason=reason,
        task=task,
        model=release.manifest.model.uri,
        window=_window_words(release.profile),
        performance=series.measured(release.contract.output, state.events[-MEASURED_WINDOWS:], promised),
        monitoring=monitoring,
        advice=advice(state.record, row.name, release),
    )


def _health(
    state: DeploymentState, open_alarms: Sequence[Alarm], monitoring: Monitoring, trouble: str
) -> tuple[State, str]:
    harmful = [a for a in open_alarms if a.cause not in HARMLESS]
    if harmful:
        more = f" (and {len(harmful) - 1} more)" if len(harmful) > 1 else ""
        return "alarm", (harmful[0].sentence or f"{', '.join(harmful[0].columns)} changed") + more
    if not state.windows:
        return "no data", "no prediction has been answered yet"
    if not monitoring.running:
        return "unwatched", "no keeper is running, so nobody looks at new windows: holdfast serve"
    if trouble:
        return "unwatched", f"the keeper says: {trouble}"
    if monitoring.behind > 2:
        return "unwatched", f"the monitor is {monitoring.behind} windows behind"
    if open_alarms:
        return "note", open_alarms[0].sentence or "a harmless change is open"
    return "ok", "no open alarm"


def _monitoring(profile: Profile, state: DeploymentState, per_year: float, *, running: bool) -> Monitoring:
    done = state.progress.done.get("windows")
    looked = max((w.end for w in state.windows if done is not None and w.number <= done), default=None)
    live = [w.number for w in state.windows if w.track == "live"]  # a canary is compared, not watched
    behind = {number for number in live[:-1] if done is None or number > done}
    return Monitoring(running=running, looked_until=looked, behind=len(behind), rate=_rate(profile, per_year))


def _rate(profile: Profile, per_year: float) -> str:
    """What is promised about false alarms, as the release's calibration replay found it."""
    found = profile.calibration
    if found.get("too_short") or not profile.windows.starts:
        return f"no false-alarm rate is stated: fewer than {MIN_WINDOWS} reference windows"
    unrated = set(found.get("not_guaranteed", ()))
    rated = len(profile.columns) - len(unrated)
    rate = "one false alarm" if per_year == 1 else f"{per_year:.3g} false alarms"
    promise = f"at most {rate} a year on average over {rated} columns"
    return promise + (f"; no rate for {', '.join(sorted(unrated))}" if unrated else "")


def _recent(windows: Sequence[Window]) -> tuple[int, ...]:
    """Rows per window number: tracks of one window belong together."""
    rows: dict[int, int] = {}
    for w in windows:
        rows[w.number] = rows.get(w.number, 0) + w.rows
    return tuple(rows[number] for number in sorted(rows)[-RECENT:])


def _window_words(profile: Profile) -> str:
    rule = profile.rule
    if rule.kind == "count":
        return f"{rule.rows} predictions"
    return {HOUR: "an hour", DAY: "a day"}.get(rule.length_us, f"{rule.length_us / HOUR:g} hours")


def _latency(windows: Sequence[Window]) -> Latency | None:
    requests = sum(w.sums.get("requests", 0.0) for w in windows)
    spent = sum(w.sums.get("latency_us", 0.0) for w in windows)
    return Latency(mean_ms=spent / requests / 1000, requests=int(requests)) if requests else None


def _labels(state: DeploymentState) -> LabelCounts:
    rows = sum(w.rows for w in state.windows)
    labelled = [w for w in state.events if w.sums.get("n", 0.0) > 0]
    n = sum(w.sums["n"] for w in labelled)
    return LabelCounts(
        **state.labels,
        coverage=min(n / rows, 1.0) if rows else None,
        until=max((w.end for w in labelled), default=None),
    )
