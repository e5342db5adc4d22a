"""Tracks above each other on one time axis: what was live, what alarmed, how many, how wrong, how strong the evidence.

The eye does the joining that a table cannot: a step in the error under a release's line, an alarm's interval over a column
that moves. Every track has its own vertical axis and unit; release and alarm markers run through all of them.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal, NamedTuple

from holdfast.figures.markup import Html, Table, element, figure, svg
from holdfast.figures.scales import day, linear_ticks, minute, number, percent, time_ticks

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["LineTrack", "Marker", "Point", "Span", "SpanTrack", "timeline"]

WIDTH = 960.0
LEFT, RIGHT = 64.0, 14.0
TITLE, LINE_HEIGHT, LANE, GAP, AXIS = 20.0, 76.0, 20.0, 14.0, 26.0
TEXT_WIDTH = 6.4
"""Average width of a letter at the figure's text size; only decides whether a label fits into its bar."""
HEAD_WIDTH = 7.8
"""The same for the bold letters of a track's title."""
MOST_LANES = 8
"""With more, labels beside bars are left out: they are what needs the room (titles and table still have them)."""


class Span(NamedTuple):
    """Something that lasted. `onset` is drawn as a diamond on the whisker from `low` to `high`."""

    start: int
    end: int
    label: str
    kind: Literal["live", "canary", "open", "closed"]
    title: str = ""
    onset: int | None = None
    low: int | None = None
    high: int | None = None


class SpanTrack(NamedTuple):
    """Bars, in as many lanes as they need."""

    title: str
    spans: Sequence[Span]
    empty: str = "none"


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


class _Axis(NamedTuple):
    start: int
    end: int

    def x(self, at: int) -> float:
        share = (at - self.start) / max(self.end - self.start, 1)
        return LEFT + min(max(share, 0.0), 1.0) * (WIDTH - LEFT - RIGHT)


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
    axis = _Axis(start, max(end, start + 1))
    y, body = 4.0, []
    for track in tracks:
        drawn, height = _span_track(track, axis, y) if isinstance(track, SpanTrack) else _line_track(track, axis, y)
        body.append(drawn)
        y += height + GAP
    bottom = y - GAP / 2
    ticks = time_ticks(axis.start, axis.end)
    grid = [element("line", {"class": "hf-grid", "x1": axis.x(at), "x2": axis.x(at), "y1": 4.0, "y2": bottom})
            for at, _ in ticks]  # fmt: skip
    labels = [_label(axis.x(at), bottom + 16, text, "middle") for at, text in ticks]
    rule = element("line", {"class": "hf-rule", "x1": LEFT, "x2": WIDTH - RIGHT, "y1": bottom, "y2": bottom})
    image = svg(
        name, title, _describe(tracks, axis), WIDTH, bottom + AXIS,
        *grid, *(_marker(m, axis, bottom) for m in markers), *body, rule, *labels,
        class_="hf-timeline",
    )  # fmt: skip
    return figure(image, caption, [*_span_tables(tracks), _line_table(tracks)])


def _describe(tracks: Sequence[SpanTrack | LineTrack], axis: _Axis) -> str:
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


def _label(x: float, y: float, text: str, anchor: str = "start", class_: str = "hf-text") -> Html:
    return element("text", {"class": class_, "x": x, "y": y, "text-anchor": anchor}, text)


def _marker(marker: Marker, axis: _Axis, bottom: float) -> Html:
    x = axis.x(marker.at)
    line = element("line", {"class": f"hf-marker hf-{marker.kind}", "x1": x, "x2": x, "y1": 4.0, "y2": bottom},
                   element("title", {}, f"{marker.label}, {minute(marker.at)} UTC"))  # fmt: skip
    return element("g", {}, line)


# ------------------------------------------------------------------------------------------ bars


def _span_track(track: SpanTrack, axis: _Axis, top: float) -> tuple[Html, float]:
    parts = [_label(LEFT, top + 12, track.title, class_="hf-head")]
    if not track.spans:
        parts.append(_label(LEFT + 10 + HEAD_WIDTH * len(track.title), top + 12, track.empty, class_="hf-muted"))
        return element("g", {}, *parts), TITLE
    bars = [_bar(span, axis, beside=True) for span in track.spans]
    lanes = _lanes(bars)
    if max(lanes) >= MOST_LANES:
        bars = [_bar(span, axis, beside=False) for span in track.spans]
        lanes = _lanes(bars)
    parts += [
        _span(span, bar, axis, top + TITLE + lane * LANE)
        for span, bar, lane in zip(track.spans, bars, lanes, strict=True)
    ]
    return element("g", {}, *parts), TITLE + (max(lanes) + 1) * LANE


class _Bar(NamedTuple):
    """Where a span and its label stand: inside the bar if it fits, else beside it."""

    left: float
    right: float
    x: float
    width: float
    label_x: float
    anchor: str
    label: Literal["inside", "beside", "none"]


def _bar(span: Span, axis: _Axis, *, beside: bool) -> _Bar:
    x, width = axis.x(span.start), max(axis.x(span.end) - axis.x(span.start), 3.0)
    times = [axis.x(t) for t in (span.onset, span.low, span.high) if t is not None]
    left, right = min(x, *times) if times else x, max(x + width, *times) if times else x + width
    text = len(span.label) * TEXT_WIDTH + 10
    if text <= width:
        return _Bar(left, right, x, width, x + 5, "start", "inside")
    if not beside:
        return _Bar(left, right, x, width, x, "start", "none")
    if right + text <= WIDTH - RIGHT:
        return _Bar(left, right + text, x, width, right + 5, "start", "beside")
    return _Bar(max(left - text, 0.0), right, x, width, left - 8, "end", "beside")


def _lanes(bars: Sequence[_Bar]) -> list[int]:
    """Greedy: the first lane that is free."""
    ends: list[float] = []
    lanes: list[int] = []
    for bar in bars:
        lane = next((i for i, end in enumerate(ends) if end <= bar.left + 0.5), len(ends))
        if lane == len(ends):
            ends.append(0.0)
        ends[lane] = bar.right
        lanes.append(lane)
    return lanes


def _span(span: Span, bar: _Bar, axis: _Axis, y: float) -> Html:
    middle = y + (LANE - 4) / 2
    box = {"x": bar.x, "y": y, "width": bar.width, "height": LANE - 4, "rx": 3}
    parts = [element("title", {}, span.title or span.label)]
    if span.onset is not None:
        parts += _onset(span, axis, middle)
    parts.append(element("rect", {"class": f"hf-span hf-{span.kind}", **box}))
    if bar.label != "none":
        class_ = "hf-onbar" if bar.label == "inside" else "hf-text hf-beside"
        parts.append(_label(bar.label_x, y + 12, span.label, bar.anchor, class_=class_))
    return element("g", {}, *parts)


def _onset(span: Span, axis: _Axis, middle: float) -> list[Html]:
    """Diamond at the change date, whisker over its interval, a thin line to the bar that tells when it was noticed."""
    at = axis.x(span.onset or 0)
    line = {"y1": middle, "y2": middle}
    parts = [element("line", {"class": "hf-delay", "x1": at, "x2": axis.x(span.start), **line})]
    if span.low is not None and span.high is not None:
        low, high = axis.x(span.low), max(axis.x(span.high), axis.x(span.low) + 1)
        parts.append(element("line", {"class": "hf-whisker", "x1": low, "x2": high, **line}))
        parts += [
            element("line", {"class": "hf-whisker", "x1": end, "x2": end, "y1": middle - 4, "y2": middle + 4})
            for end in (low, high)
        ]
    return [*parts, element("path", {"class": "hf-onset", "d": f"M{at:.1f} {middle - 5:.1f}l5 5l-5 5l-5 -5z"})]


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


def _line_track(track: LineTrack, axis: _Axis, top: float) -> tuple[Html, float]:
    parts = [_label(LEFT, top + 12, track.title, class_="hf-head")]
    drawable = [p for p in track.points if math.isfinite(p.value)]
    if not drawable:
        parts.append(_label(LEFT + 10 + HEAD_WIDTH * len(track.title), top + 12, track.empty, class_="hf-muted"))
        return element("g", {}, *parts), TITLE
    low, high = _range(track)
    place = _Vertical(low, high, top + TITLE, top + TITLE + LINE_HEIGHT)
    write: Callable[[float], str] = percent if track.shares else number
    for tick in linear_ticks(low, high, 4):
        y = place.y(tick)
        parts.append(element("line", {"class": "hf-grid", "x1": LEFT, "x2": WIDTH - RIGHT, "y1": y, "y2": y}))
        parts.append(_label(LEFT - 6, y + 3.5, write(tick), "end"))
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
        _label(WIDTH - RIGHT, top + 12, text, "end", class_=f"hf-text {kind}-note"),
    ]


def _bars(points: Sequence[Point], axis: _Axis, place: _Vertical) -> list[Html]:
    path = []
    for p in points:
        x, right, y = axis.x(p.start), axis.x(p.end), place.y(p.value)
        gap = 1.0 if right - x > 4 else 0.0
        path.append(f"M{x:.1f} {place.bottom:.1f}V{y:.1f}H{max(right - gap, x + 0.6):.1f}V{place.bottom:.1f}z")
    return [element("path", {"class": "hf-bars", "d": "".join(path)})]


def _curve(points: Sequence[Point], axis: _Axis, place: _Vertical, form: str) -> list[Html]:
    """Runs of neighbouring bins: a gap in the data is a gap in the line."""
    parts: list[Html] = []
    for run in _runs(points):
        if all(p.low is not None and p.high is not None for p in run):
            upper = _path(run, [p.high or 0.0 for p in run], axis, place, form)
            lower = _path(list(reversed(run)), [p.low or 0.0 for p in reversed(run)], axis, place, form)
            parts.append(element("path", {"class": "hf-band", "d": f"M{upper}L{lower}z"}))
        values = [p.value for p in run]
        if len(run) == 1 and form == "line":
            x = (axis.x(run[0].start) + axis.x(run[0].end)) / 2
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


def _path(run: Sequence[Point], values: Sequence[float], axis: _Axis, place: _Vertical, form: str) -> str:
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
