"""Status values as figures: which tracks a page draws, and the sentence under each picture."""

from __future__ import annotations

from typing import TYPE_CHECKING

from holdfast.console.words import column, shape
from holdfast.core.names import short
from holdfast.figures import Bin, Html, LineTrack, Marker, Point, Span, SpanTrack, histogram, sparkline, timeline
from holdfast.figures.scales import day, number, percent

if TYPE_CHECKING:
    from collections.abc import Sequence

    from holdfast.core.alarm import Alarm
    from holdfast.status.values import Column, DeploymentView, Row

__all__ = ["DRAWN_COLUMNS", "column_figure", "spark", "story_figure"]

DRAWN_COLUMNS = 4
"""Columns on the time axis; all of them stand below, reference against now."""
WEAKEST, STRONGEST = -4.0, 3.0
"""Powers of ten around the alarm line that are drawn; what is further away is at the edge."""


def spark(row: Row) -> Html:
    """Predictions per window."""
    return sparkline(f"spark-{row.name}", f"Predictions per window of {row.window}", row.recent)


def story_figure(view: DeploymentView) -> Html:
    """Everything about a deployment above one time axis."""
    row = view.row
    tracks: list[SpanTrack | LineTrack] = [
        SpanTrack("Releases", [_stay(view, i) for i in range(len(view.stays))], "none recorded"),
        SpanTrack("Alarms", [_alarm(a, view.end) for a in reversed(view.alarms)], "none so far"),
        LineTrack(
            f"Predictions per {_width(view)}",
            [Point(b.start, b.end, float(b.rows)) for b in view.bins],
            form="bars",
            scale="zero",
            empty="no predictions yet",
        ),
        LineTrack(
            "Labelled share of predictions",
            [Point(b.start, b.end, min(b.labelled / b.rows, 1.0)) for b in view.bins if b.rows],
            form="steps",
            scale="share",
            shares=True,
            empty="no labels yet",
        ),
        _error(view),
        *(_column_track(c) for c in view.columns[:DRAWN_COLUMNS]),
        LineTrack(
            "Evidence for a change, in powers of ten",
            [Point(e.start, e.end, min(max(e.log10, WEAKEST), STRONGEST)) for e in view.evidence],
            reference=0.0,
            reference_label="alarm line",
            alarm=True,
            empty="no window judged yet",
        ),
    ]
    markers = [Marker(s.since, f"{s.verb} {short(s.release)}", "release") for s in view.stays if s.track == "live"]
    markers += [Marker(a.opened, f"alarm {a.id} opened", "alarm") for a in view.alarms]
    return timeline(
        "story",
        f"{row.name} over time",
        "All tracks share one time axis (event time, UTC). Green dashes: a release went live; red dots: an alarm opened. "
        "A diamond is the estimated change date, its whisker the interval. The error is shown for the day a prediction was "
        "made, with a 95 % interval; grey dashes are the reference.",
        tracks,
        start=view.start,
        end=view.end,
        markers=[m for m in markers if view.start <= m.at <= view.end],
    )


def column_figure(view: DeploymentView, index: int) -> Html:
    """One column, reference against now."""
    c = view.columns[index]
    since = f" since {day(c.now_since)}" if c.now_since is not None else ""
    return histogram(
        f"column-{index}",
        f"{c.title}: reference against now",
        f"Filled: {c.reference_rows:,} reference rows. Outline: {c.now_rows:,} rows{since}.",
        [Bin(b.label, b.reference, b.now, b.low, b.high) for b in c.bins],
    )


def _width(view: DeploymentView) -> str:
    if not view.bins:
        return "day"
    hours = (view.bins[0].end - view.bins[0].start) / 3.6e9
    names = {1: "hour", 24: "day", 168: "week"}
    return names.get(int(hours)) or (f"{hours / 24:.0f} days" if hours > 24 else f"{hours:.0f} hours")


def _stay(view: DeploymentView, i: int) -> Span:
    stay = view.stays[i]
    until = view.end if stay.until is None else stay.until
    label = short(stay.release) if stay.track == "live" else f"canary {short(stay.release)}"
    return Span(stay.since, until, label, stay.track, f"{stay.track} {short(stay.release)} ({stay.verb})")


def _alarm(alarm: Alarm, end: int) -> Span:
    cause = alarm.cause if alarm.cause != "unknown" else "cause not yet known"
    named = ", ".join(column(c) for c in alarm.columns)
    return Span(
        alarm.opened,
        end if alarm.closed is None else alarm.closed,
        f"{cause}: {named}",
        "open" if alarm.open else "closed",
        f"{alarm.id}: {cause}, {shape(alarm)}; {named}",
        alarm.onset,
        alarm.onset_low,
        alarm.onset_high,
    )


def _error(view: DeploymentView) -> LineTrack:
    performance = view.row.performance
    points = [
        Point(b.start, b.end, b.error, b.low, b.high, b.labelled)
        for b in view.bins
        if b.error is not None and b.labelled
    ]
    band = None
    if performance and performance.reference_low is not None and performance.reference_high is not None:
        band = (performance.reference_low, performance.reference_high)
    reference = performance.reference if performance else None
    return LineTrack(
        f"Error: {view.error_metric}",
        points,
        shares=view.error_metric == "error rate",
        reference=reference,
        reference_label=f"promised {(percent if view.error_metric == 'error rate' else number)(reference)}"
        if reference is not None
        else "",
        reference_band=band,
        empty="no labels yet",
    )


def _column_track(c: Column) -> LineTrack:
    share = c.follows.startswith("share")
    mark = " (alarm)" if c.alarms else ""
    points: Sequence[Point] = [Point(q.start, q.end, q.middle, q.low, q.high) for q in c.series]
    return LineTrack(
        f"{c.title}{mark}: {c.follows}",
        points,
        shares=share,
        reference_label=f"reference {(percent if share else number)(c.reference.middle)}" if c.reference else "",
        reference=c.reference.middle if c.reference else None,
        reference_band=None if share or not c.reference or c.reference.low is None or c.reference.high is None
        else (c.reference.low, c.reference.high),
    )  # fmt: skip
