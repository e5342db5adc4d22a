"""Tracks above each other on one time axis: what was live, what alarmed, how many, how wrong, how strong the evidence.

The eye does the joining that a table cannot: a step in the error under a release's line, an alarm's interval over a column
that moves. Every track has its own vertical axis and unit; release and alarm markers run through all of them.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal, NamedTuple

from holdfast.figures import spans
from holdfast.figures.axis import GAP, LEFT, RIGHT, TEXT_WIDTH, TITLE, TOP, WIDTH, Axis, heading, label
from holdfast.figures.markup import Html, Table, element, figure, svg
from holdfast.figures.scales import day, linear_ticks, minute, number, percent, time_ticks
from holdfast.figures.spans import Span, SpanTrack

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["LineTrack", "Marker", "Point", "Span", "SpanTrack", "timeline"]


LINE_HEIGHT, AXIS = 76.0, 26.0


class Point(NamedTuple):
    """A value of the bin [start, end), with an interval where there is one."""

    start: int
    end: int
    value: float
    low: float | None = None
    high: float | None = None
    n: int | None = None


class LineTrack(NamedTuple):
    """A curve with its band and a line to compare it with."""

    title: str
    points: Sequence[Point]
    form: Literal["line", "bars", "steps"] = "line"
    scale: Literal["linear", "zero", "share"] = "linear"
    """zero: the axis begins at 0; share: 0 to 100 %."""
    shares: bool = False
    """Values are shares: written as per cent."""
    reference: float | None = None
    reference_label: str = "reference"
    reference_band: tuple[float, float] | None = None
    alarm: bool = False
    """The reference is a line that must not be crossed."""
    empty: str = "no data yet"


class Marker(NamedTuple):
    """A vertical line through all tracks."""

    at: int
    label: str
    kind: Literal["release", "alarm"]


def timeline(
    name: str,
    title: str,
    caption: str,
    tracks: Sequence[SpanTrack | LineTrack],
    *,
    start: int,
    end: int,
    markers: Sequence[Marker] = (),
) -> Html:
    """The figure. Times are microseconds UTC; `name` must be unique on its page."""
    axis = Axis(start, max(end, start + 1))
    y, body = TOP, []
    for track in tracks:
        drawn, height = spans.draw(track, axis, y) if isinstance(track, SpanTrack) else _line_track(track, axis, y)
        body.append(drawn)
        y += height + GAP
    bottom = y - GAP / 2
    ticks = time_ticks(axis.start, axis.end)
    grid = [element("line", {"class": "hf-grid", "x1": axis.x(at), "x2": axis.x(at), "y1": TOP, "y2": bottom})
            for at, _ in ticks]  # fmt: skip
    labels = [label(axis.x(at), bottom + 16, text, "middle") for at, text in ticks]
    rule = element("line", {"class": "hf-rule", "x1": LEFT, "x2": WIDTH - RIGHT, "y1": bottom, "y2": bottom})
    image = svg(
        name, title, _describe(tracks, axis), WIDTH, bottom + AXIS,
        *grid, *(_marker(m, axis, bottom) for m in markers), *body, rule, *labels,
        class_="hf-timeline",
    )  # fmt: skip
    return figure(image, caption, [*_span_tables(tracks), _line_table(tracks)])


def _describe(tracks: Sequence[SpanTrack | LineTrack], axis: Axis) -> str:
    parts = []
    for track in tracks:
        if isinstance(track, SpanTrack):
            parts.append(f"{track.title}: {len(track.spans) or track.empty}")
        elif track.points:
            values = [p.value for p in track.points if math.isfinite(p.value)]
            span = f"from {number(min(values))} to {number(max(values))}" if values else track.empty
            parts.append(f"{track.title}: {span}")
        else:
            parts.append(f"{track.title}: {track.empty}")
    return f"{day(axis.start)} to {day(axis.end)} UTC. " + "; ".join(parts) + "."


def _marker(marker: Marker, axis: Axis, bottom: float) -> Html:
    x = axis.x(marker.at)
    line = element("line", {"class": f"hf-marker hf-{marker.kind}", "x1": x, "x2": x, "y1": TOP, "y2": bottom},
                   element("title", {}, f"{marker.label}, {minute(marker.at)} UTC"))  # fmt: skip
    return element("g", {}, line)


# ------------------------------------------------------------------------------------------ curves


class _Vertical(NamedTuple):
    """Where a value stands between `top` and `bottom`."""

    low: float
    high: float
    top: float
    bottom: float

    def y(self, value: float) -> float:
        share = (min(max(value, self.low), self.high) - self.low) / (self.high - self.low)
        return self.bottom - share * (self.bottom - self.top)


def _range(track: LineTrack) -> tuple[float, float]:
    if track.scale == "share":
        return 0.0, 1.0
    extra = (track.reference, *(track.reference_band or ()))
    values = [v for p in track.points for v in (p.value, p.low, p.high) if v is not None and math.isfinite(v)]
    values += [v for v in extra if v is not None]
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    if track.scale == "zero":
        return min(low, 0.0), (high * 1.08 if high > 0 else 1.0)
    margin = (high - low) * 0.08 or abs(high) * 0.1 or 1.0
    return low - margin, high + margin


def _line_track(track: LineTrack, axis: Axis, top: float) -> tuple[Html, float]:
    drawable = [p for p in track.points if math.isfinite(p.value)]
    if not drawable:
        return element("g", {}, *heading(top, track.title, track.empty)), TITLE
    parts = heading(top, track.title)
    low, high = _range(track)
    place = _Vertical(low, high, top + TITLE, top + TITLE + LINE_HEIGHT)
    write: Callable[[float], str] = percent if track.shares else number
    for tick in linear_ticks(low, high, 4):
        y = place.y(tick)
        parts.append(element("line", {"class": "hf-grid", "x1": LEFT, "x2": WIDTH - RIGHT, "y1": y, "y2": y}))
        parts.append(label(LEFT - 6, y + 3.5, write(tick), "end"))
    if track.reference_band:
        a, b = (place.y(v) for v in track.reference_band)
        parts.append(element("rect", {"class": "hf-reference-band", "x": LEFT, "width": WIDTH - LEFT - RIGHT,
                                      "y": min(a, b), "height": abs(a - b)}))  # fmt: skip
    parts += _bars(drawable, axis, place) if track.form == "bars" else _curve(drawable, axis, place, track.form)
    if track.reference is not None:
        y = place.y(track.reference)
        kind = "hf-limit" if track.alarm else "hf-reference"
        parts.append(element("line", {"class": kind, "x1": LEFT, "x2": WIDTH - RIGHT, "y1": y, "y2": y}))
        parts += _legend(track.reference_label, kind, top)
    return element("g", {}, *parts), TITLE + LINE_HEIGHT


def _legend(text: str, kind: str, top: float) -> list[Html]:
    """A piece of the line and what it is, right of the title: inside the plot it would cover the newest values."""
    x = WIDTH - RIGHT - TEXT_WIDTH * len(text) - 8
    return [
        element("line", {"class": kind, "x1": x - 24, "x2": x, "y1": top + 8, "y2": top + 8}),
        label(WIDTH - RIGHT, top + 12, text, "end", class_=f"hf-text {kind}-note"),
    ]


def _bars(points: Sequence[Point], axis: Axis, place: _Vertical) -> list[Html]:
    path = []
    for p in points:
        x, right, y = axis.x(p.start), axis.x(p.end), place.y(p.value)
        gap = 1.0 if right - x > 4 else 0.0
        path.append(f"M{x:.1f} {place.bottom:.1f}V{y:.1f}H{max(right - gap, x + 0.6):.1f}V{place.bottom:.1f}z")
    return [element("path", {"class": "hf-bars", "d": "".join(path)})]


def _curve(points: Sequence[Point], axis: Axis, place: _Vertical, form: str) -> list[Html]:
    """Runs of neighbouring bins: a gap in the data is a gap in the line."""
    parts: list[Html] = []
    for run in _runs(points):
        if all(p.low is not None and p.high is not None for p in run):
            upper = _path(run, [p.high or 0.0 for p in run], axis, place, form)
            lower = _path(list(reversed(run)), [p.low or 0.0 for p in reversed(run)], axis, place, form)
            parts.append(element("path", {"class": "hf-band", "d": f"M{upper}L{lower}z"}))
        values = [p.value for p in run]
        if len(run) == 1 and form == "line":
            x, alone = (axis.x(run[0].start) + axis.x(run[0].end)) / 2, run[0]
            if alone.low is not None and alone.high is not None:
                ends = {"y1": place.y(alone.low), "y2": place.y(alone.high)}
                parts.append(element("line", {"class": "hf-interval", "x1": x, "x2": x, **ends}))
            parts.append(element("circle", {"class": "hf-dot", "cx": x, "cy": place.y(values[0]), "r": 2.5}))
        else:
            parts.append(element("path", {"class": "hf-line", "d": f"M{_path(run, values, axis, place, form)}"}))
    return parts


def _runs(points: Sequence[Point]) -> list[list[Point]]:
    runs: list[list[Point]] = []
    for p in points:
        if runs and p.start >= runs[-1][-1].end and p.start - runs[-1][-1].end <= (p.end - p.start) / 2:
            runs[-1].append(p)
        else:
            runs.append([p])
    return runs


def _path(run: Sequence[Point], values: Sequence[float], axis: Axis, place: _Vertical, form: str) -> str:
    places: list[str] = []
    for p, value in zip(run, values, strict=True):
        left, right, y = axis.x(p.start), axis.x(p.end), place.y(value)
        if form == "steps":
            places += [f"{left:.1f} {y:.1f}", f"{right:.1f} {y:.1f}"]
        else:
            places.append(f"{(left + right) / 2:.1f} {y:.1f}")
    return "L".join(places)


# ------------------------------------------------------------------------------------------ numbers


def _span_tables(tracks: Sequence[SpanTrack | LineTrack]) -> list[Table]:
    return [
        Table(
            track.title,
            ("What", "From (UTC)", "To (UTC)", "Onset", "Onset interval"),
            [
                (
                    s.title or s.label,
                    minute(s.start),
                    minute(s.end),
                    day(s.onset) if s.onset is not None else "",
                    f"{day(s.low)} to {day(s.high)}" if s.low is not None and s.high is not None else "",
                )
                for s in track.spans
            ],
        )
        for track in tracks
        if isinstance(track, SpanTrack)
    ]


def _line_table(tracks: Sequence[SpanTrack | LineTrack]) -> Table:
    lines = [t for t in tracks if isinstance(t, LineTrack) and t.points]
    cells: dict[int, list[str]] = {}
    for column, track in enumerate(lines):
        for p in track.points:
            band = f" ({number(p.low)} to {number(p.high)})" if p.low is not None and p.high is not None else ""
            value = percent(p.value) if track.shares else number(p.value)
            cells.setdefault(p.start, [""] * len(lines))[column] = value + band
    return Table("Series", ("From (UTC)", *(t.title for t in lines)),
                 [(minute(at), *row) for at, row in sorted(cells.items())])  # fmt: skip
