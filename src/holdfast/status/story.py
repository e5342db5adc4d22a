"""The story of one deployment on one time axis: releases, alarms, traffic, labels, error, evidence and columns."""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING

from holdfast.core.profile import HOUR
from holdfast.errors import HoldfastError
from holdfast.stats.counts import Counts
from holdfast.status import series
from holdfast.status.columns import Dated, columns, specs_of
from holdfast.status.overview import read_state, row_of
from holdfast.status.sources import answering, server
from holdfast.status.values import DeploymentView, Evidence, Stay
from holdfast.trail import tenures

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from holdfast.core.alarm import Alarm
    from holdfast.core.event import Event
    from holdfast.core.window import Window
    from holdfast.status.sources import ReleaseView, Sources

__all__ = ["story"]

NOW_WINDOWS = 30
"""Newest windows compared with the reference while no open alarm dates a change."""


def story(sources: Sources, name: str, now: int) -> DeploymentView:
    """Everything about one deployment; `now` is the wall clock in microseconds. Raises NotFound."""
    with sources.database.begin() as stores:
        state = read_state(stores, stores.deployments.get(name), now)
        d = state.deployment
        events = stores.trail.read(name)
        releases = list(dict.fromkeys(r for r in (*(e.release for e in events), *d.previous, d.live, d.canary) if r))
        windows = [w for r in releases for w in answering(stores, name, r, "windows")]
        labelled = [w for r in releases for w in answering(stores, name, r, "events")]
        judged = answering(stores, name, d.live, "labels")
        evidence = {r: stores.monitors.evidence(name, r) for r in releases}
    opened = {r: release for r in releases if (release := _opened(sources, r))}
    live = sources.release(d.live)
    stays = _stays(events, name)
    start, end = _span(windows, labelled, state.alarms, stays, now)
    width = series.bin_width(start, end, live.profile.rule.length_us)
    newest = state.evidence[-1].get("columns", {}) if state.evidence else {}
    return DeploymentView(
        at=now,
        row=row_of(sources, state, server(sources.run)),
        start=start,
        end=end,
        error_metric=series.error_metric(live.contract.output),
        stays=stays,
        events=tuple(reversed(events)),
        alarms=tuple(reversed(state.alarms)),
        bins=series.bins(live.contract.output.task, windows, labelled, width),
        evidence=_evidence(evidence, width),
        columns=columns(
            live.profile,
            live.contract,
            state.alarms,
            {column: float(value) for column, value in newest.items()},
            {
                stream: _now(found, state.alarms, live)
                for stream, found in (("windows", state.windows), ("labels", judged))
            },
            {stream: _dated(found, width, opened) for stream, found in (("windows", windows), ("labels", labelled))},
        ),
    )


def _opened(sources: Sources, digest: str) -> ReleaseView | None:
    """An earlier release may be gone from disk; its windows are then not drawn column by column."""
    try:
        return sources.release(digest)
    except HoldfastError:
        return None


def _stays(events: Sequence[Event], name: str) -> tuple[Stay, ...]:
    live = [
        Stay(release=t.release, track="live", since=t.since, until=t.until, verb=t.verb) for t in tenures(events, name)
    ]
    canaries: list[Stay] = []
    for event in events:
        if canaries and canaries[-1].until is None and event.verb in {"deploy", "promote", "rollback", "undeploy"}:
            last = canaries.pop()
            canaries.append(
                Stay(release=last.release, track="canary", since=last.since, until=event.at, verb=last.verb)
            )
        if event.verb == "canary":
            canaries.append(Stay(release=event.release, track="canary", since=event.at, until=None, verb=event.verb))
    return (*live, *canaries)


def _span(
    windows: Sequence[Window], labelled: Sequence[Window], alarms: Sequence[Alarm], stays: Sequence[Stay], now: int
) -> tuple[int, int]:
    """From the first window to the last thing that happened; an onset may lie before, in the reference."""
    ends = [w.end for w in windows] + [w.end for w in labelled] + [a.opened for a in alarms] + [s.since for s in stays]
    starts = [w.start for w in windows] or [s.since for s in stays] or [now]
    starts += [a.onset for a in alarms if a.onset is not None]
    start, end = min(starts), max(ends, default=now)
    return start, max(end, start + HOUR)


def _evidence(by_release: dict[str, list[dict[str, Any]]], width: int) -> tuple[Evidence, ...]:
    """The strongest of each display bin: a peak must not vanish in an average."""
    strongest: dict[tuple[str, int], float] = {}
    for release, points in by_release.items():
        for point in points:
            key = (release, (int(point["at"]) - 1) // width)  # a window that ends with the bin belongs to it
            strongest[key] = max(float(point["evidence"]), strongest.get(key, -math.inf))
    found = (
        Evidence(start=at * width, end=(at + 1) * width, release=release, log10=value)
        for (release, at), value in strongest.items()
    )
    return tuple(sorted(found, key=lambda e: e.start))


def _now(windows: Sequence[Window], alarms: Sequence[Alarm], release: ReleaseView) -> list[Dated]:
    """Windows since the oldest open alarm's onset; without one, or with none since, the newest `NOW_WINDOWS`."""
    onsets = [a.onset for a in alarms if a.open and a.onset is not None]
    chosen = [w for w in windows if w.start >= min(onsets)] if onsets else []
    specs = specs_of(release.profile)
    return [Dated(w.start, w.end, Counts.from_bytes(w.counts), specs) for w in chosen or windows[-NOW_WINDOWS:]]


def _dated(windows: Sequence[Window], width: int, releases: dict[str, ReleaseView]) -> list[Dated]:
    """Display bins of counts. Releases cut their columns differently, so a bin belongs to the one with most rows."""
    specs = {digest: specs_of(release.profile) for digest, release in releases.items()}
    found: list[Dated] = []
    ordered = sorted((w for w in windows if w.release in specs), key=lambda w: (w.start // width, w.release))
    for at, of_bin in itertools.groupby(ordered, key=lambda w: w.start // width):
        totals = {
            release: Counts.total(Counts.from_bytes(w.counts) for w in group)
            for release, group in itertools.groupby(of_bin, key=lambda w: w.release)
        }
        most = max(totals, key=lambda release: totals[release].rows)
        found.append(Dated(at * width, (at + 1) * width, totals[most], specs[most]))
    return found
