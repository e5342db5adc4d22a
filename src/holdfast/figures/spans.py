"""Bars on a time axis: what lasted from when until when, with its change date where it has one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

from holdfast.figures.axis import RIGHT, TEXT_WIDTH, TITLE, WIDTH, Axis, heading, label
from holdfast.figures.markup import Html, element

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Span", "SpanTrack", "draw"]

LANE = 20.0
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


def draw(track: SpanTrack, axis: Axis, top: float) -> tuple[Html, float]:
    """The track and its height."""
    if not track.spans:
        return element("g", {}, *heading(top, track.title, track.empty)), TITLE
    parts = heading(top, track.title)
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


def _bar(span: Span, axis: Axis, *, beside: bool) -> _Bar:
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


def _span(span: Span, bar: _Bar, axis: Axis, y: float) -> Html:
    middle = y + (LANE - 4) / 2
    box = {"x": bar.x, "y": y, "width": bar.width, "height": LANE - 4, "rx": 3}
    parts = [element("title", {}, span.title or span.label)]
    if span.onset is not None:
        parts += _onset(span, axis, middle)
    parts.append(element("rect", {"class": f"hf-span hf-{span.kind}", **box}))
    if bar.label != "none":
        class_ = "hf-onbar" if bar.label == "inside" else "hf-text hf-beside"
        parts.append(label(bar.label_x, y + 12, span.label, bar.anchor, class_=class_))
    return element("g", {}, *parts)


def _onset(span: Span, axis: Axis, middle: float) -> list[Html]:
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
