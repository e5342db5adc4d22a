"""One column, reference against now: the picture of drift.

Both are shares, so that a year can be compared with a day. The reference is a filled shape, now is an outline: they differ in
form, not only in colour. What has no place on the axis (missing, unseen, beyond the reference's range) stands beside it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from holdfast.figures.markup import Html, Table, element, figure, svg
from holdfast.figures.scales import linear_ticks, number, percent

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["Bin", "histogram", "sparkline"]

WIDTH, HEIGHT = 340.0, 170.0
LEFT, RIGHT, TOP, BOTTOM = 40.0, 6.0, 10.0, 24.0


class Bin(NamedTuple):
    """Shares of the reference's and of the present rows. `low`, `high` where the bin is a range on a number axis."""

    label: str
    reference: float
    now: float
    low: float | None = None
    high: float | None = None


def histogram(name: str, title: str, caption: str, bins: Sequence[Bin]) -> Html:
    """Ranges share a number axis, whatever has none gets a bar of its own to the right of it."""
    ranges = [b for b in bins if b.low is not None and b.high is not None]
    others = [b for b in bins if b.low is None or b.high is None]
    top = max((max(b.reference, b.now) for b in bins), default=0.0) or 1.0
    floor, right = HEIGHT - BOTTOM, WIDTH - RIGHT
    slot = min(46.0, (right - LEFT) / max(len(others), 1)) if ranges else (right - LEFT) / max(len(others), 1)
    edge = right - slot * len(others) - (10.0 if ranges and others else 0.0)

    def y(share: float) -> float:
        return floor - share / (top * 1.05) * (floor - TOP)

    parts: list[Html] = []
    for tick in linear_ticks(0.0, top, 3):
        parts.append(element("line", {"class": "hf-grid", "x1": LEFT, "x2": right, "y1": y(tick), "y2": y(tick)}))
        parts.append(_text(LEFT - 6, y(tick) + 3.5, percent(tick), "end"))
    if ranges:
        parts += _shapes(ranges, LEFT, edge, y, floor)
        parts += _axis(ranges, edge, floor)
    bars_from = right - slot * len(others)
    for i, b in enumerate(others):
        parts += _pair(b, bars_from + i * slot, slot, y, floor)
    parts.append(element("line", {"class": "hf-rule", "x1": LEFT, "x2": right, "y1": floor, "y2": floor}))
    most = max(bins, key=lambda b: abs(b.now - b.reference), default=None)
    about = (
        f"Largest difference at {most.label}: reference {percent(most.reference)}, now {percent(most.now)}."
        if most
        else "No rows."
    )
    image = svg(name, title, about, WIDTH, HEIGHT, *parts, class_="hf-histogram")
    rows = [(b.label, percent(b.reference), percent(b.now)) for b in bins]
    return figure(image, caption, [Table(title, ("Bin", "Reference", "Now"), rows)])


def _text(x: float, y: float, text: str, anchor: str = "middle", class_: str = "hf-text") -> Html:
    return element("text", {"class": class_, "x": x, "y": y, "text-anchor": anchor}, text)


def _shapes(ranges: Sequence[Bin], left: float, right: float, y: Callable[[float], float], floor: float) -> list[Html]:
    low, high = ranges[0].low or 0.0, ranges[-1].high or 0.0

    def x(value: float | None) -> float:
        return left + ((value or 0.0) - low) / ((high - low) or 1.0) * (right - left)

    filled = "".join(f"L{x(b.low):.1f} {y(b.reference):.1f}L{x(b.high):.1f} {y(b.reference):.1f}" for b in ranges)
    outline = "L".join(f"{x(b.low):.1f} {y(b.now):.1f}L{x(b.high):.1f} {y(b.now):.1f}" for b in ranges)
    return [
        element("path", {"class": "hf-ref", "d": f"M{left:.1f} {floor:.1f}{filled}L{right:.1f} {floor:.1f}z"}),
        element("path", {"class": "hf-now", "d": f"M{left:.1f} {floor:.1f}L{outline}L{right:.1f} {floor:.1f}"}),
    ]


def _axis(ranges: Sequence[Bin], right: float, floor: float) -> list[Html]:
    low, high = ranges[0].low or 0.0, ranges[-1].high or 0.0
    parts = []
    for tick in linear_ticks(low, high, 4):
        x = LEFT + (tick - low) / ((high - low) or 1.0) * (right - LEFT)
        parts.append(element("line", {"class": "hf-rule", "x1": x, "x2": x, "y1": floor, "y2": floor + 4}))
        parts.append(_text(x, floor + 15, number(tick)))
    return parts


def _pair(b: Bin, x: float, slot: float, y: Callable[[float], float], floor: float) -> list[Html]:
    width = max((slot - 8) / 2, 1.5)
    room = max(int(slot / 5.8), 1)
    text = b.label if len(b.label) <= room else b.label[: max(room - 1, 1)] + "…"
    left = x + (slot - 2 * width) / 2
    return [
        element(
            "g",
            {},
            element("title", {}, f"{b.label}: reference {percent(b.reference)}, now {percent(b.now)}"),
            element("rect", {"class": "hf-ref", "x": left, "y": y(b.reference), "width": width,
                             "height": floor - y(b.reference)}),
            element("rect", {"class": "hf-now hf-bar", "x": left + width, "y": y(b.now), "width": width,
                             "height": floor - y(b.now)}),
            _text(x + slot / 2, floor + 15, text),
        )
    ]  # fmt: skip


def sparkline(name: str, title: str, values: Sequence[float], *, width: float = 120.0, height: float = 28.0) -> Html:
    """A word-sized picture of the latest values; the title says what and how much. No table: the row beside it is one."""
    top = max(values, default=0.0) or 1.0
    step = width / max(len(values), 1)
    path = "".join(
        f"M{i * step:.1f} {height:.1f}V{height - max(v / top, 0.0) * (height - 2):.1f}H{(i + 1) * step - 0.6:.1f}V{height:.1f}z"
        for i, v in enumerate(values)
    )
    about = f"{len(values)} windows, latest {number(values[-1])}, largest {number(top)}" if values else "no data yet"
    return svg(name, title, about, width, height, element("path", {"class": "hf-bars", "d": path}), class_="hf-spark")
