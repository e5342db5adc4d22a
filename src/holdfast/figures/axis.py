"""The shared horizontal axis of a timeline, and where its text stands."""

from __future__ import annotations

from typing import NamedTuple

from holdfast.figures.markup import Html, element

__all__ = ["GAP", "HEAD_WIDTH", "LEFT", "RIGHT", "TEXT_WIDTH", "TITLE", "TOP", "WIDTH", "Axis", "heading", "label"]

WIDTH, LEFT, RIGHT, TOP = 960.0, 64.0, 14.0, 4.0
TITLE, GAP = 20.0, 14.0
"""Height of a track's title, and the room between tracks."""
TEXT_WIDTH = 6.4
"""Average width of a letter at the figure's text size; only decides whether a label fits into its bar."""
HEAD_WIDTH = 7.8
"""The same for the bold letters of a track's title."""


class Axis(NamedTuple):
    """From `start` to `end`, microseconds UTC."""

    start: int
    end: int

    def x(self, at: int) -> float:
        """Where a time stands; beyond the ends at the ends."""
        share = (at - self.start) / max(self.end - self.start, 1)
        return LEFT + min(max(share, 0.0), 1.0) * (WIDTH - LEFT - RIGHT)


def label(x: float, y: float, text: str, anchor: str = "start", class_: str = "hf-text") -> Html:
    """A word or two."""
    return element("text", {"class": class_, "x": x, "y": y, "text-anchor": anchor}, text)


def heading(top: float, title: str, empty: str | None = None) -> list[Html]:
    """A track's title; `empty` says why nothing is drawn below it."""
    parts = [label(LEFT, top + 12, title, class_="hf-head")]
    if empty is not None:
        parts.append(label(LEFT + 10 + HEAD_WIDTH * len(title), top + 12, empty, class_="hf-muted"))
    return parts
