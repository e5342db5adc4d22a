"""Variants of a model as a picture: time to the right, quality lost upwards, size as the area of the point.

What stands lower and further to the left is better; coloured are those that no other beats in size, time, cost and quality at
once. Time is on a logarithmic scale, because variants differ by factors. The bar through a point is its 95 % interval.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

from holdfast.figures.axis import label
from holdfast.figures.markup import Html, Table, element, figure, svg
from holdfast.figures.scales import linear_ticks, number

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Candidate", "tradeoff"]

WIDTH, HEIGHT = 720.0, 330.0
LEFT, RIGHT, TOP, BOTTOM = 64.0, 110.0, 26.0, 44.0
LARGEST = 11.0
LETTER, LINE = 6.4, 13.0


class Candidate(NamedTuple):
    """One variant."""

    name: str
    p99_ms: float
    loss: float
    low: float
    high: float
    mb: float
    front: bool = False
    chosen: bool = False


def tradeoff(name: str, title: str, caption: str, candidates: Sequence[Candidate]) -> Html:
    """The figure: the picture, what it means, and its numbers."""
    rows = [
        (one.name, number(one.p99_ms), number(one.loss), f"{number(one.low)} to {number(one.high)}", number(one.mb))
        for one in candidates
    ]
    table = Table("Variants", ("variant", "p99, ms", "loss", "95 % interval", "MiB"), rows)
    return figure(picture(name, title, candidates), caption, [table])


def picture(name: str, title: str, candidates: Sequence[Candidate], *children: str) -> Html:
    """The picture alone; `children` go in first: a stylesheet, for a file of its own."""
    times = [math.log10(one.p99_ms) for one in candidates]
    ends = [end for one in candidates for end in (one.low, one.high, one.loss) if math.isfinite(end)] or [0.0]
    left, right = min(times) - 0.05, max(times) + 0.05
    low, high = min(*ends, 0.0), max(*ends, 1e-4)
    heaviest = max(one.mb for one in candidates) or 1.0

    def x(ms: float) -> float:
        return LEFT + (math.log10(ms) - left) / (right - left) * (WIDTH - LEFT - RIGHT)

    def y(loss: float) -> float:
        return TOP + (high - loss) / (high - low) * (HEIGHT - TOP - BOTTOM)

    floor = HEIGHT - BOTTOM
    parts = [*children]
    for tick in linear_ticks(low, high):
        parts.append(
            element("line", {"class": "hf-grid", "x1": LEFT, "x2": WIDTH - RIGHT, "y1": y(tick), "y2": y(tick)})
        )
        parts.append(label(LEFT - 6, y(tick) + 4, number(tick), "end"))
    for tick in _ticks(left, right):
        parts.append(element("line", {"class": "hf-grid", "x1": x(tick), "x2": x(tick), "y1": TOP, "y2": floor}))
        parts.append(label(x(tick), floor + 16, f"{tick:g}", "middle"))
    parts.append(label(LEFT, TOP - 12, "quality lost, with its interval; area: size of the file"))
    parts.append(label(WIDTH - RIGHT, HEIGHT - 8, "p99, milliseconds", "end"))
    taken: list[tuple[float, float, float]] = []
    for one in sorted(candidates, key=lambda one: one.p99_ms):
        at, up = x(one.p99_ms), y(one.loss)
        if math.isfinite(one.low) and math.isfinite(one.high):
            bar = {"class": "hf-interval", "x1": at, "x2": at, "y1": y(one.low), "y2": y(one.high)}
            parts.append(element("line", bar))
        radius = max(LARGEST * math.sqrt(one.mb / heaviest), 2.5)
        kind = "hf-dot" if one.front else "hf-bars"
        parts.append(element("circle", {"class": kind, "cx": at, "cy": up, "r": round(radius, 1)}))
        text = one.name + (" (chosen)" if one.chosen else "")
        left_edge = at + radius + 3
        place = _free(taken, left_edge, left_edge + LETTER * len(text), up)
        parts.append(label(left_edge, place + 4, text, class_="hf-head" if one.chosen else "hf-text"))
    best = next((one.name for one in candidates if one.chosen), "none")
    about = f"{len(candidates)} variants, {sum(one.front for one in candidates)} that no other beats; chosen: {best}."
    return svg(name, title, about, WIDTH, HEIGHT, *parts, class_="hf-tradeoff")


def _free(taken: list[tuple[float, float, float]], left: float, right: float, wanted: float) -> float:
    """The height nearest to `wanted` at which a label covers no other; it is taken then."""
    steps = [sign * LINE * number for number in range(8) for sign in (-1, 1)]
    clear = (
        wanted + step
        for step in steps
        if all(right < a or left > b or abs(wanted + step - at) >= LINE for a, b, at in taken)
    )
    found = next(clear, wanted)
    taken.append((left, right, found))
    return found


def _ticks(left: float, right: float) -> list[float]:
    """1, 2 and 5 times powers of ten."""
    found = [
        factor * 10.0**power for power in range(math.floor(left), math.ceil(right) + 1) for factor in (1.0, 2.0, 5.0)
    ]
    return [tick for tick in found if left <= math.log10(tick) <= right]
