"""Dating an alarm: which of its monitors tell when the change began, on which windows, and how far each column has moved."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np

from holdfast.monitor.diagnosis import Moved
from holdfast.monitor.onset import date_change, returned_at, timeline
from holdfast.stats.counts import ColumnSpec, Counts

if TYPE_CHECKING:
    from holdfast.core.alarm import Alarm
    from holdfast.core.window import Window
    from holdfast.monitor.look import Look
    from holdfast.stats.panel import Panel, PanelState

__all__ = ["is_due", "moved_since", "redate"]

MANY_BINS = 16
RARE = frozenset({"missing", "unseen", "out_of_range"})
DATED_BY = 6


def redate(look: Look, panel: Panel, state: PanelState, alarm: Alarm) -> Alarm:
    """Fit onset and shape of the named monitor that moved most, on everything that event time has so far."""
    fits = []
    for column, score in _dating(alarm):
        windows = _event_windows(look, column)
        line = timeline(panel, state, look.watch.profile, (column, score), windows, look.decode)
        found = date_change(line)
        if found is not None:
            fits.append((abs(found.change.size), found, line))
    if not fits:
        return alarm
    _, onset, line = max(fits, key=lambda fit: fit[0])
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


def _dating(alarm: Alarm) -> list[tuple[str, str]]:
    """The named monitors (column, score) by which the change is dated.

    Shares of what hardly occurs (missing, unseen, out of range) say when only where they lead: their reference has next to no
    variation, so a few rows look like a mountain.
    """
    pairs = [(m.partition(":")[0], m.partition(":")[2]) for m in alarm.monitors]
    if pairs[0][1] in RARE:
        return pairs[:1]
    return [pair for pair in pairs if pair[1] not in RARE][:DATED_BY]


def _event_windows(look: Look, column: str) -> list[Window]:
    """The windows that tell when this alarm's change began; what an earlier alarm has told, and is over, is left out."""
    labelled = {s.name for s in look.watch.specs["labels"]}
    if column in labelled:
        windows = look.windows("events")
    else:
        windows = look.watch.complete("windows", look.windows("windows"), look.clock, 0.0)
    past = [
        (a.onset, a.ended)
        for a in look.stores.alarms.find(look.name)
        if a.release == look.release and a.closing == "returned" and column in a.columns
    ]
    return [
        w for w in windows if not any(on is not None and end is not None and on <= w.start < end for on, end in past)
    ]


def is_due(look: Look, alarm: Alarm) -> bool:
    """Every look while it is young, then each time the evidence has grown by a twentieth."""
    fitted = int(alarm.details.get("fitted_windows", 0))
    age = (look.clock - alarm.opened) / max(look.watch.profile.rule.length_us, 1)
    seen = sum(1 for w in _event_windows(look, alarm.columns[0]) if w.rows)
    return alarm.onset is None or age < 20 or alarm.cause == "pipeline fault" or seen >= fitted + max(1, age / 20)


def moved_since(look: Look, panel: Panel, state: PanelState, alarm: Alarm) -> list[Moved]:
    """How each named column looks since the onset, against its reference."""
    onset = alarm.onset if alarm.onset is not None else alarm.opened
    since = [w for w in look.windows("windows") if w.end > onset]
    now = Counts.total(look.decode(w.counts) for w in since)
    labelled = {s.name for s in look.watch.specs["labels"]}
    before = Counts.total(look.watch.reference["windows"])
    found = []
    for column in alarm.columns:
        spec = next(s for s in (*look.watch.specs["windows"], *look.watch.specs["labels"]) if s.name == column)
        scores = tuple(m.partition(":")[2] for m in alarm.monitors if m.partition(":")[0] == column)
        faulty = [_faulty(c, spec) for c in (before, now)]
        crowded = [_crowded(c, spec) for c in (before, now)]
        dated = [w for w in look.windows("events") if w.end > onset] if column in labelled else since
        series = panel.series(state, column, scores[0], [look.decode(w.counts) for w in dated])
        seen = (series.n > 0) & ~np.isnan(series.z)
        size = float(np.average(series.z[seen], weights=series.n[seen])) if seen.any() else 0.0
        found.append(Moved(column, spec.group, scores, size, *faulty, *crowded))
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
